"""CondInst and SOLOv2: their parts against the formulas of the papers by hand, and FCOS against torchvision's."""

import math

import numpy as np
import pytest
import torch
import torchvision
from random_models import card_of, sharp
from test_batch_independence import picture
from torchvision.models.detection import FCOS
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from segkit.config.train import TrainConfig
from segkit.data.masks import rle_to_mask
from segkit.data.records import Category, Image
from segkit.errors import ConfigError
from segkit.models.adapt import freeze
from segkit.models.condinst import NUM_WEIGHTS, dynamic_masks
from segkit.models.fcos import detections, fcos_losses, match_places, places_of
from segkit.models.image_masks import dice_losses, in_boxes, stride_masks, taught_places, tight_boxes
from segkit.models.pyramid import LastLevelsByConvolution
from segkit.models.solov2 import match_cells, matrix_nms
from segkit.models.tensors import prediction_to_results
from segkit.models.weights import load_weights

ONE_STAGE = ("condinst", "solov2")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def two_targets():
    targets = []
    for number in range(2):
        masks = torch.zeros(2, 64, 96, dtype=torch.uint8)
        masks[0, 10:40, 10:50], masks[1, 20 + number : 60, 60:90] = 1, 1
        boxes = torch.tensor([[10.0, 10, 50, 40], [60, 20 + number, 90, 60]])
        targets.append({"boxes": boxes, "labels": torch.tensor([1, 2]), "masks": masks, "seed": 5 + number})
    return targets


@pytest.mark.parametrize("name", ONE_STAGE)
def test_the_loss_of_a_batch_is_the_mean_of_its_pictures(name):
    """So that micro-batches and ranks do not change it, also where the batch is padded."""
    torch.manual_seed(0)
    module = card_of(name, "group").build().train()
    images = [picture(0, (64, 96)), picture(1, (64, 96))]
    targets = [target | {"frame": (96, 128)} for target in two_targets()]
    whole = module(images, targets)
    each = [module([image], [target]) for image, target in zip(images, targets, strict=True)]
    for loss, value in whole.items():
        assert value.item() == pytest.approx(
            (each[0][loss] + each[1][loss]).item() / 2, rel=1e-3
        )  # norms of small maps round
    assert whole["loss_mask"] > 0


def fcos_of_torchvision(ours):
    extractor = torchvision.models.resnet18(weights=None, norm_layer=torchvision.ops.FrozenBatchNorm2d)
    backbone = _resnet_fpn_extractor(extractor, 5, returned_layers=[2, 3, 4], extra_blocks=LastLevelP6P7(256, 256))
    theirs = FCOS(backbone, num_classes=3, min_size=64, max_size=96, score_thresh=0.05, detections_per_img=20)
    given = {k: v for k, v in ours.state_dict().items() if not k.startswith(("mask_branch", "head.controller"))}
    theirs.load_state_dict(given)
    return theirs


def test_boxes_and_their_losses_are_those_of_torchvisions_fcos():
    ours = sharp(card_of("condinst", "frozen"))
    with torch.no_grad():
        ours.head.classification_head.cls_logits.weight[0] = 0  # the label that is never used
        ours.head.classification_head.cls_logits.bias[0] = -99
    theirs = fcos_of_torchvision(ours).eval()
    image = picture(3, (64, 96))
    with torch.inference_mode():
        maps = list(ours.backbone(ours.transform.padded([image], None)).values())
        outputs, places = ours.head(maps), places_of(maps, (8, 16, 32, 64, 128))
        found, expected = detections(outputs, 0, places, (64, 96), 0.6, 20), theirs([image.float() / 255])[0]
    assert len(found.boxes) > 3
    assert torch.allclose(found.boxes, expected["boxes"], atol=1e-4)
    assert torch.allclose(found.scores, expected["scores"], atol=1e-5)
    assert torch.equal(found.labels, expected["labels"])
    target = two_targets()[0]
    losses = theirs.train()([image.float() / 255], [{name: target[name] for name in ("boxes", "labels")}])
    own = fcos_losses(outputs, 0, places, match_places(places, target["boxes"]), target)
    pairs = {"classification": "loss_classifier", "bbox_regression": "loss_box_reg", "bbox_ctrness": "loss_centerness"}
    for name, other in pairs.items():
        assert own[other].item() == pytest.approx(losses[name].item(), rel=1e-4)


def test_places_are_matched_a_few_instances_at_a_time_as_all_at_once(monkeypatch):
    maps = [torch.zeros(1, 1, -(-64 // s), -(-96 // s)) for s in (8, 16, 32, 64, 128)]
    places = places_of(maps, (8, 16, 32, 64, 128))
    low = torch.rand(50, 2, generator=generator()) * 60
    boxes = torch.cat([low, low + 4 + torch.rand(50, 2, generator=generator(1)) * 60], dim=1)
    whole = match_places(places, boxes)
    monkeypatch.setattr("segkit.models.fcos._BLOCK", 3 * len(places.points))
    assert torch.equal(match_places(places, boxes), whole)
    assert len(whole[whole >= 0].unique()) > 5


def test_a_dynamic_mask_is_the_formula_of_the_paper():
    """Three 1x1 convolutions over 8 maps and coordinates relative to the place, of 169 weights; one pixel by hand."""
    assert NUM_WEIGHTS == 169
    weights, shared = torch.randn(2, 169, generator=generator()), torch.randn(8, 5, 6, generator=generator(1))
    points, strides = torch.tensor([[16.0, 8], [32, 24]]), torch.tensor([8.0, 16])
    found = dynamic_masks(weights, shared, points, strides)
    row, column, one = 2, 4, 1
    w = weights[one].tolist()
    where = [(32 - (column + 0.5) * 8) / (8 * 16), (24 - (row + 0.5) * 8) / (8 * 16)]
    x = [*shared[:, row, column].tolist(), *where]
    first = [max(0, sum(w[10 * o + i] * x[i] for i in range(10)) + w[152 + o]) for o in range(8)]
    second = [max(0, sum(w[80 + 8 * o + i] * first[i] for i in range(8)) + w[160 + o]) for o in range(8)]
    expected = sum(w[144 + i] * second[i] for i in range(8)) + w[168]
    assert found[one, row, column].item() == pytest.approx(expected, rel=1e-4)


def test_the_dice_loss_by_hand():
    logits, truth = torch.tensor([[[0.0, 100.0]], [[0.0, -100.0]]]), torch.tensor([[[1.0, 1.0]], [[0.0, 1.0]]])
    expected = [1 - 2 * 1.5 / (1.25 + 2), 1 - 0.0]  # probabilities are 0.5 and 1, and 0.5 and 0
    assert dice_losses(logits, truth).tolist() == pytest.approx(expected, abs=1e-5)


def test_targets_at_a_stride_are_shares_of_cells_in_both_forms():
    masks = torch.zeros(2, 16, 20, dtype=torch.uint8)
    masks[0, 2:9, 3:14] = torch.randint(0, 2, (7, 11), dtype=torch.uint8, generator=generator())
    masks[0, 2, 3] = masks[0, 8, 13] = 1
    masks[1, 12:16, 18:20] = 1
    boxes = torch.tensor([[3.0, 2, 14, 9], [18, 12, 20, 16]])
    labels = torch.tensor([1, 1])
    flat = torch.cat([masks[0, 2:9, 3:14].flatten(), masks[1, 12:16, 18:20].flatten()])
    whole = stride_masks({"boxes": boxes, "labels": labels, "masks": masks}, 8, 8, 4)
    cut = stride_masks({"boxes": boxes, "labels": labels, "box_masks": flat}, 8, 8, 4)
    expected = torch.nn.functional.avg_pool2d(masks.float()[None], 4)[0]
    assert torch.equal(whole, cut)
    assert (whole[:, :4, :5] / 255 - expected).abs().max() < 0.003
    assert not whole[:, 4:].any()


def test_of_each_instance_the_best_place_is_taught_before_a_second_one():
    matches = torch.tensor([-1, 0, 0, 0, 1, 1, 2, -1])
    scores = torch.tensor([9.0, 1, 3, 2, 1, 2, 1, 9])
    target = {"labels": torch.ones(3, dtype=torch.int64), "seed": 1}
    order = [taught_places(matches, scores, target, most).tolist() for most in range(1, 9)]
    assert sorted(order[2]) == [2, 5, 6]
    assert sorted(order[4]) == [2, 3, 4, 5, 6]
    assert sorted(order[7]) == [1, 2, 3, 4, 5, 6]
    assert len({tuple(taught_places(matches, scores, target | {"seed": s}, 1).tolist()) for s in range(20)}) == 3


def test_masks_of_the_image_keep_their_outline_in_boxes():
    """A disc at stride 4, as a prediction of 56x56, is the disc in the pixels of the image."""
    y, x = (torch.arange(side) * 4 + 2 for side in (24, 30))
    distance = ((x[None] - 61.3) ** 2 + (y[:, None] - 44.8) ** 2).sqrt()
    masks = torch.stack([((20.5 - distance) / 2).sigmoid(), torch.zeros(24, 30)])
    boxes, found = in_boxes(masks, 4, 56, (95, 118), torch.tensor([[0.0, 0, 8, 8], [1, 2, 3, 4]]))
    assert boxes[0].tolist() == pytest.approx([61.3 - 20.5, 44.8 - 20.5, 61.3 + 20.5, 44.8 + 20.5], abs=0.5)
    assert boxes[1].tolist() == [1, 2, 3, 4]
    prediction = {"boxes": boxes[:1], "labels": torch.tensor([1]), "scores": torch.ones(1), "masks": found[:1]}
    record = Image(1, "p", 95, 118)
    (result,) = prediction_to_results(prediction, record, 95, 118, (Category(1, "a"),), aligned_masks=True)
    mask = np.asarray(rle_to_mask(result.segmentation)).astype(bool)
    rows, columns = np.mgrid[:95, :118] + 0.5
    truth = (columns - 61.3) ** 2 + (rows - 44.8) ** 2 < 20.5**2
    assert (mask & truth).sum() / (mask | truth).sum() > 0.97


def test_tight_boxes_are_interpolated_and_reach_the_border():
    masks = torch.zeros(1, 4, 6)
    masks[0, 1:3, 2:4] = 1.0
    masks[0, 1, 4] = 0.25  # 0.5 is crossed two thirds of the way from the centre at 3.5 to that at 4.5
    masks[0, 3, 3] = 0.75
    found = tight_boxes(masks, torch.zeros(1, 4))[0].tolist()
    assert found == pytest.approx([2.0, 1.0, 3.5 + 2 / 3, 4.0])


def test_cells_are_those_around_the_centre_at_the_sizes_of_their_grid():
    """An image of 800 x 800: an instance of 60 belongs to the ranges 1 to 96 and 48 to 192."""
    boxes, centres = torch.tensor([[370.0, 370, 430, 430]]), torch.tensor([[400.0, 402]])
    matches = match_cells(boxes, centres, (800, 800)).split([s * s for s in (40, 36, 24, 16, 12)])
    assert [int((each >= 0).sum()) for each in matches] == [4, 4, 0, 0, 0]
    cells = [divmod(cell, 40) for cell in torch.where(matches[0] >= 0)[0].tolist()]
    assert cells == [(19, 19), (19, 20), (20, 19), (20, 20)]  # 394 to 406 and 396 to 408, in cells of 20 pixels
    small = torch.tensor([[390.0, 390, 410, 410]])
    both = match_cells(torch.cat([boxes, small]), torch.tensor([[400.0, 402], [405, 405]]), (800, 800))
    assert set(both[:1600][both[:1600] >= 0].tolist()) == {0, 1}
    assert both[20 * 40 + 20] == 1  # the smaller one
    assert (match_cells(boxes[:0], centres[:0], (800, 800)) == -1).all()


def test_matrix_nms_is_the_formula_of_the_paper():
    masks = (torch.rand(6, 40, generator=generator()) > 0.4).float()
    labels = torch.tensor([1, 1, 2, 1, 2, 1])
    m = masks.bool().tolist()

    def iou(i, j):
        if labels[i] != labels[j]:
            return 0.0
        return sum(a and b for a, b in zip(m[i], m[j], strict=True)) / sum(
            a or b for a, b in zip(m[i], m[j], strict=True)
        )

    def f(value):
        return math.exp(-2 * value**2)

    expected = []
    for j in range(6):
        most = [max([iou(k, i) for k in range(i)], default=0.0) for i in range(j)]
        expected.append(min([f(iou(i, j)) / f(most[i]) for i in range(j)], default=1.0))
    assert matrix_nms(masks, labels).tolist() == pytest.approx([min(each, 1.0) for each in expected], rel=1e-4)
    assert matrix_nms(masks[:0], labels[:0]).shape == (0,)


@pytest.mark.parametrize("name", ONE_STAGE)
def test_limits_can_be_raised(name):
    module = sharp(card_of(name))
    image = picture(2, (64, 96))
    with torch.inference_mode():
        before = module([image])[0]
        module.set_limits(1.0, 200)
        after = module([image])[0]
    assert module.limits() == (1.0, 200)
    assert len(after["boxes"]) > len(before["boxes"])


def test_torchvisions_weights_of_fcos_teach_a_condinst(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    torch.manual_seed(1)
    theirs = torchvision.models.detection.fcos_resnet50_fpn(weights=None, weights_backbone=None)
    torch.save(theirs.state_dict(), tmp_path / "hub/checkpoints/fcos_resnet50_fpn_coco-99b0c9b7.pth")
    settings = card_of("condinst").settings
    categories = (Category(1, "person"), Category(2, "nothing"))
    card = card_of("condinst", "frozen", settings, categories)
    from dataclasses import replace

    module = replace(card, backbone="resnet50").build()
    text = load_weights(module, "coco", "condinst", "resnet50", ("person", "nothing")).text
    own, given = module.state_dict(), theirs.state_dict()
    assert all(torch.equal(own[name], given[name]) for name in own if name in given and "cls_logits" not in name)
    assert torch.equal(own["head.classification_head.cls_logits.weight"][1], given[
        "head.classification_head.cls_logits.weight"][1])  # fmt: skip
    assert "head.controller" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"model": "condinst", "anchor_sizes": (8, 16)},
            "--anchor-sizes is for --model maskrcnn, ",
        ),
        (
            {"model": "solov2", "nms": 0.5},
            "fasterrcnn, panoptic, condinst or rfdetr; solov2 has none",
        ),
        (
            {"model": "condinst", "mask_head": "pointrend"},
            "is for --model maskrcnn or panoptic; condinst has none",
        ),
    ],
)
def test_options_of_other_models_are_refused(options, message):
    with pytest.raises(ConfigError) as caught:
        TrainConfig(**options)
    assert message in caught.value.message


@pytest.mark.parametrize("name", ONE_STAGE)
def test_the_stem_can_be_frozen(name):
    """As it is by default with pretrained weights; the pyramid of CondInst has no map of the stem."""
    module = card_of(name).build()
    freeze(module, ("stem",))
    frozen = [key for key, parameter in module.named_parameters() if not parameter.requires_grad]
    assert frozen
    assert all(key.startswith(("backbone.body.conv1", "backbone.body.bn1", "backbone.body.layer1")) for key in frozen)


@pytest.mark.slow
@pytest.mark.parametrize("name", ONE_STAGE)
def test_it_learns_one_picture_by_heart(name):
    torch.manual_seed(0)
    module = card_of(name, "group").build().train()
    image, target = torch.full((3, 64, 96), 40, dtype=torch.uint8), two_targets()[0]
    for mask, colour in zip(target["masks"], (120, 220), strict=True):
        image[:, mask.bool()] = colour
    optimizer = torch.optim.AdamW(module.parameters(), 5e-4)
    for _ in range(40):
        optimizer.zero_grad()
        sum(module([image], [target]).values()).backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 10.0)
        optimizer.step()
    with torch.inference_mode():
        found = module.eval()([image])[0]
    record, categories = Image(1, "p", 64, 96), (Category(1, "a"), Category(2, "b"))
    results = prediction_to_results(found, record, 64, 96, categories, aligned_masks=True)
    for number, mask in enumerate(target["masks"].bool().numpy(), 1):
        best = next(result for result in results if result.category_id == number)
        mine = np.asarray(rle_to_mask(best.segmentation)).astype(bool)
        assert (mine & mask).sum() / (mine | mask).sum() > 0.8


def test_levels_of_a_single_cell_learn_the_same_in_bf16():
    """oneDNN left the gradients of their weights unset, on CPUs with bf16 instructions."""
    for seed in range(8):
        torch.manual_seed(seed)
        levels, last = LastLevelsByConvolution(64, 64), torch.randn(2, 64, 2, 2)
        gradients = []
        for bf16 in (False, True):
            levels.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                maps, names = levels([last], [last], ["2"])
            assert names == ["2", "p6", "p7"]
            sum((each.float() ** 2).sum() for each in maps).backward()
            gradients.append(levels.p7.weight.grad.clone())
        assert (gradients[0] - gradients[1]).abs().max() <= 0.02 * gradients[0].abs().max()
