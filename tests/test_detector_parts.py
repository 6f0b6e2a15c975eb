"""The parts that a detector has in the place of torchvision's give what torchvision's give."""

import pytest
import torch
from random_models import card_of
from test_models import batch
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler, BoxCoder
from torchvision.ops import MultiScaleRoIAlign, batched_nms

from segkit.models import heads
from segkit.models.box_codes import OF_ANCHORS, OF_REGIONS, decode_boxes, encode_boxes
from segkit.models.mask_predictor import MaskPredictor
from segkit.models.roi_align import PyramidRoIAlign
from segkit.models.sampling import SeededSampler
from segkit.models.suppress import suppress


def boxes(count, seed, side=200.0):
    random = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=random) * side
    return torch.cat([corner, corner + 1 + torch.rand(count, 2, generator=random) * side / 2], dim=1)


@pytest.mark.parametrize("weights", [OF_ANCHORS, OF_REGIONS])
def test_offsets_are_those_of_torchvision(weights):
    truth, regions = boxes(50, 0), boxes(50, 1)
    assert torch.equal(encode_boxes(truth, regions, weights), BoxCoder(weights).encode_single(truth, regions))


def test_boxes_of_offsets_are_those_of_torchvision():
    codes, regions = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)) * 3, boxes(50, 1)
    expected = BoxCoder(OF_ANCHORS).decode_single(codes, regions)
    assert torch.equal(decode_boxes(codes, regions), expected)
    assert codes.max() > 4.2  # growth that is limited


@pytest.mark.parametrize("count", [0, 5, 300, 1200])
def test_suppression_is_that_of_torchvision(count):
    """1000 boxes are the most that both of them suppress at once on a CPU."""
    groups = [count // 2, 0, count // 3, count - count // 2 - count // 3]
    own, scores = boxes(count, 2), torch.rand(count, generator=torch.Generator().manual_seed(3))
    number = torch.repeat_interleave(torch.arange(4), torch.tensor(groups))
    kept = suppress(own, scores, groups, 0.4, 1000)
    assert torch.equal(kept, batched_nms(own, scores, number, 0.4))
    assert count < 10 or len(kept) < count
    assert torch.equal(kept, suppress(own, scores, groups, 0.4, 10**6))
    assert torch.equal(kept, suppress(own, scores, groups, 0.4, -1) if count else kept)


def test_samples_are_those_of_torchvision():
    random = torch.Generator().manual_seed(4)
    labels = [torch.randint(-1, 2, (count,), generator=random) for count in (0, 7, 500)]
    labels.append(torch.zeros(300, dtype=torch.int64))
    torch.manual_seed(5)
    expected = BalancedPositiveNegativeSampler(64, 0.25)(labels)
    torch.manual_seed(5)
    found = SeededSampler(64, 0.25)(labels)
    for (positive, negative), *masks in zip(found, *expected, strict=True):
        assert torch.equal(positive, torch.where(masks[0])[0])
        assert torch.equal(negative, torch.where(masks[1])[0])
    assert [len(each) for pair in found for each in pair][4:] == [16, 48, 0, 64]


def test_pooling_in_training_is_that_of_torchvision():
    levels = {str(n): torch.randn(2, 8, 128 >> n, 128 >> n, requires_grad=True) for n in range(4)}
    ours, theirs = PyramidRoIAlign(7).train(), MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2)
    regions, sizes = [boxes(40, 6, 1200.0), boxes(9, 7, 300.0)], [(512, 512)] * 2
    outcomes = []
    for pool in (ours, theirs):
        out = pool(levels, regions, sizes)
        (out**2).sum().backward()
        outcomes.append([out, *(each.grad for each in levels.values())])
        for each in levels.values():
            each.grad = None
    assert all(torch.equal(*pair) for pair in zip(*outcomes, strict=True))
    assert ours(levels, [each[:0] for each in regions], sizes).shape == (0, 8, 7, 7)


def test_proposals_in_training_are_those_of_torchvision():
    torch.manual_seed(0)
    model = card_of("maskrcnn", "frozen").build().train()
    rpn = model.rpn
    levels, sizes = [96, 24, 6], [(64, 96), (40, 80)]
    anchors = boxes(sum(levels), 8, 80.0)
    codes = torch.randn(2, len(anchors), 4, generator=torch.Generator().manual_seed(9))
    codes[0, :20, 0] = 50.0  # far outside: nothing of them is left in the image
    objectness = torch.randn(2, len(anchors), generator=torch.Generator().manual_seed(10))
    decoded = rpn.box_coder.decode(codes.view(-1, 4), [anchors] * 2).view(2, -1, 4)
    expected, _ = rpn.filter_proposals(decoded, objectness, sizes, levels)
    found = rpn.choose_proposals(objectness, codes, anchors, levels, sizes)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours[: len(theirs)], theirs)
        assert ((ours[len(theirs) :, 2:] - ours[len(theirs) :, :2]).amin(dim=1) < 1e-3).all()


def test_nothing_is_learnt_from_regions_without_area():
    model = card_of("maskrcnn", "frozen").build().train()
    region = torch.tensor([[10.0, 10, 50, 40], [10, 10, 10, 40], [60, 0, 70, 9], [0, 0, float("nan"), 4]])
    _, (labels,) = model.roi_heads.assign_targets_to_proposals([region], [region[:1]], [torch.tensor([2])])
    assert labels.tolist() == [2, -1, 0, -1]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_mask_logits_of_the_own_label_are_those_of_the_whole_predictor(layout):
    torch.manual_seed(0)
    predictor = MaskPredictor(16, 16, 4).to(memory_format=layout)
    labels, outcomes = torch.tensor([1, 2, 0, 3, 1]), []
    features = torch.randn(5, 16, 6, 6).to(memory_format=layout).requires_grad_()
    for own in (True, False):
        logits = predictor(features, labels) if own else predictor(features)[range(5), labels]
        inputs = (features, *predictor.parameters())
        outcomes.append([logits, *torch.autograd.grad((logits**2).sum(), inputs)])
    for ours, theirs in zip(*outcomes, strict=True):
        assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def test_masks_of_many_detections_are_computed_in_parts(monkeypatch):
    torch.manual_seed(0)
    model = card_of("maskrcnn", "frozen").build().eval()
    model.roi_heads.score_thresh = 0.0
    sizes = []
    model.roi_heads.mask_head.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    with torch.inference_mode():
        whole = model(batch()[0])
        monkeypatch.setattr(heads, "_AT_ONCE", 3)
        parts = model(batch()[0])
    assert sizes[0] == sum(len(each["boxes"]) for each in whole) > 6
    assert max(sizes[1:]) == 3
    for one, other in zip(whole, parts, strict=True):
        assert torch.allclose(one["masks"], other["masks"], atol=1e-6)
        assert all(torch.equal(one[name], other[name]) for name in ("boxes", "labels", "scores"))
