"""PointRend against the formulas of the paper, and against torch's own sampling."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from random_models import SETTINGS, card_of, sharp
from real_steps import dataset_of, plan_of
from test_batch_independence import picture

from segkit.config.fields import load_config, write_toml
from segkit.config.train import TrainConfig
from segkit.errors import ConfigError
from segkit.exporting.graphs import graph_of
from segkit.exporting.onnx import write_onnx
from segkit.models.mask_points import features_at, mask_values
from segkit.models.pointrend import PointHead, PointRend, coarse_at, in_pixels, uncertain_points
from segkit.runtimes.onnx_model import OnnxModel


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_points_are_those_of_the_paper():
    """Of k N random points the beta N with logits nearest to 0, and (1 - beta) N random ones; here N = 8, k = 3."""
    logits = torch.linspace(-3, 3, 7).expand(2, 7, 7).contiguous()  # 0 in the column in the middle
    points = uncertain_points(logits, generator(), count=8, oversampled=3, important=0.75)
    again = generator()
    candidates = torch.rand(2, 24, 2, generator=again)
    rest = torch.rand(2, 2, 2, generator=again)
    for region in range(2):
        distance = [(abs(x - 0.5), x, y) for x, y in candidates[region].tolist()]
        expected = sorted((x, y) for _, x, y in sorted(distance)[:6])
        assert sorted(map(tuple, points[region, :6].tolist())) == expected
        assert torch.equal(points[region, 6:], rest[region])


def test_values_at_points_are_those_of_grid_sample():
    maps = torch.randn(1, 5, 9, 14, generator=generator())
    points = torch.rand(3, 20, 2, generator=generator()) * torch.tensor([16.0, 11.0]) - 1  # some outside
    grid = (2 * points / torch.tensor([14.0, 9.0]) - 1)[None]
    expected = F.grid_sample(maps, grid, align_corners=False, padding_mode="border")[0].permute(1, 2, 0)
    assert torch.allclose(features_at(maps[0], points), expected, atol=1e-5)
    coarse, inside = torch.randn(3, 4, 7, 7, generator=generator()), torch.rand(3, 20, 2, generator=generator())
    expected = F.grid_sample(coarse, 2 * inside[:, None] - 1, align_corners=False, padding_mode="border")[:, :, 0]
    assert torch.allclose(coarse_at(coarse, inside), expected, atol=1e-5)


def test_masks_at_points_are_alike_in_both_forms():
    masks = torch.zeros(2, 12, 20, dtype=torch.uint8)
    masks[0, 3:9, 4:15] = torch.randint(0, 2, (6, 11), dtype=torch.uint8, generator=generator())
    masks[0, 3, 4] = masks[0, 8, 14] = 1
    masks[1, 0:4, 16:20] = 1  # in a corner of the image
    boxes = torch.tensor([[4.0, 3, 15, 9], [16, 0, 20, 4]])
    flat = torch.cat([masks[0, 3:9, 4:15].flatten(), masks[1, 0:4, 16:20].flatten()])
    points = torch.rand(3, 200, 2, generator=generator()) * torch.tensor([22.0, 14.0]) - 1
    which = torch.tensor([0, 1, 0])
    whole = mask_values({"boxes": boxes, "masks": masks}, which, points, (12, 20))
    cut = mask_values({"boxes": boxes, "box_masks": flat}, which, points, (12, 20))
    grid = 2 * points / torch.tensor([20.0, 12.0]) - 1
    expected = F.grid_sample(masks[which][:, None].float(), grid[:, None], align_corners=False, padding_mode="border")
    assert torch.allclose(whole, expected[:, 0, 0], atol=1e-5)
    assert torch.allclose(cut, whole, atol=1e-6)
    by_hand = mask_values({"boxes": boxes, "masks": masks}, torch.tensor([1]), torch.tensor([[[15.75, 2.0]]]), (12, 20))
    assert by_hand.item() == pytest.approx(0.25)  # a quarter of the way from the centre of a 0 to that of a 1


def test_the_coarse_mask_goes_into_every_layer_of_the_point_head():
    torch.manual_seed(0)
    head = PointHead(6, 3)
    fine, coarse = torch.randn(2, 4, 6), torch.randn(2, 4, 3)
    x = fine
    for layer in (head.fc1, head.fc2, head.fc3):
        x = (torch.cat([x, coarse], -1) @ layer.weight.T + layer.bias).clamp(min=0)
    expected = torch.cat([x, coarse], -1) @ head.predictor.weight.T + head.predictor.bias
    assert torch.allclose(head(fine, coarse), expected, atol=1e-5)


def test_a_subdivision_follows_an_outline_that_a_coarse_mask_cannot():
    """A point head that knows a circle: each doubling halves the error, with 784 points a time."""

    def circle(fine, boxes, coarse, points):
        return (20 * (20 - (in_pixels(points, boxes) - 40).norm(dim=-1)))[..., None].expand(-1, -1, 2)

    boxes, errors = torch.tensor([[10.0, 15, 70, 65]]), []
    for side in (28, 56, 112, 224):
        head = PointRend(4, 2, side, 4)
        head.at_points = circle
        mask = head.masks(torch.zeros(4, 20, 20), boxes, torch.tensor([1]))
        assert mask.shape == (1, 1, side, side)
        to_fine = F.interpolate(mask, size=(448, 448), mode="bilinear")[0, 0] > 0.5
        centres = (torch.arange(448) + 0.5) / 448
        x, y = 10 + 60 * centres[None, :], 15 + 50 * centres[:, None]
        errors.append(float((to_fine != ((x - 40) ** 2 + (y - 40) ** 2 < 400)).float().mean()))
    assert all(finer < 0.75 * coarser for coarser, finer in pairwise(errors))


def test_many_detections_are_subdivided_a_few_at_a_time():
    module = sharp(card_of("pointrend"))
    boxes = torch.rand(150, 4, generator=generator()) * 20 + torch.tensor([0.0, 0, 30, 30])
    labels = torch.randint(1, 3, (150,), generator=generator())
    fine, head = torch.randn(256, 16, 24, generator=generator()), module.roi_heads.mask_head
    with torch.inference_mode():
        whole, parts = head._masks(fine, boxes, labels), head.masks(fine, boxes, labels)
    differs = ((whole - parts).abs() > 1e-3).flatten(1).float().mean(dim=1)
    assert differs.max() < 0.005  # of cells that are equally uncertain, rounding decides


def test_a_graph_runs_on_an_image_without_detections(tmp_path):
    card = card_of("pointrend")
    module = card.build().eval()
    module.roi_heads.score_thresh = 2.0
    write_onnx(graph_of(module, card), {"segkit": json.dumps(card.to_plain())}, tmp_path / "m.onnx")
    (found,) = OnnxModel(tmp_path / "m.onnx")([picture(0, (64, 96))])
    assert [len(found[name]) for name in ("boxes", "labels", "scores", "masks")] == [0, 0, 0, 0]


def test_the_loss_of_a_batch_is_the_mean_of_its_pictures():
    """With the seed of each image, so that micro-batches and ranks do not change it."""
    module = card_of("pointrend", "group").build().train()
    images, targets = [], []
    for number in range(2):
        images.append(picture(number, (64, 96)))
        masks = torch.zeros(2, 64, 96, dtype=torch.uint8)
        masks[0, 10:40, 10:50], masks[1, 20 + number : 60, 60:90] = 1, 1
        boxes = torch.tensor([[10.0, 10, 50, 40], [60, 20 + number, 90, 60]])
        targets.append({"boxes": boxes, "labels": torch.tensor([1, 2]), "masks": masks, "seed": 5 + number})
    whole = module(images, targets)
    each = [module([image], [target]) for image, target in zip(images, targets, strict=True)]
    for name, value in whole.items():
        assert value.item() == pytest.approx((each[0][name] + each[1][name]).item() / 2, rel=1e-4)
    assert whole["loss_mask_point"] > 0


def test_the_size_of_masks_follows_the_instances_and_can_be_named(tmp_path):
    sizes = [plan_of(dataset_of((s, s, 5)), size=s, batch=1, mask_head="pointrend").card.settings for s in (64, 2400)]
    assert sizes[0].mask_size == 56 < sizes[1].mask_size
    plan = plan_of(dataset_of((64, 64, 2)), "cpu", size=64, mask_head="pointrend", mask_size=224)
    assert plan.card.settings.mask_size == 224
    write_toml(plan.config, tmp_path / "config.toml")
    assert load_config(TrainConfig, tmp_path / "config.toml") == plan.config
    plain = plan_of(dataset_of((64, 64, 2)), "cpu", size=64)
    assert (plain.config.mask_head, plain.config.mask_size) == ("conv", None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"model": "fasterrcnn", "mask_head": "pointrend"},
            "is for --model maskrcnn or panoptic; fasterrcnn",
        ),
        ({"model": "unet", "mask_size": 56}, "--mask-size is for detectors; unet has none"),
        ({"mask_head": "pointrend", "mask_size": 100}, "--mask-size 100: one of 56, 112, 224 is needed"),
        ({"mask_head": "conv", "mask_size": 56}, "--mask-size is for --mask-head pointrend; masks of conv have 28"),
    ],
)
def test_what_does_not_go_together_is_refused(options, message):
    with pytest.raises(ConfigError) as caught:
        TrainConfig(**options)
    assert message in caught.value.message


def test_the_heads_of_a_mask_rcnn_teach_one_with_pointrend():
    """All but the mask head is there, by the same names."""
    plain, fine = (card_of(name).build().state_dict() for name in ("maskrcnn", "pointrend"))
    shared = {name for name in plain if ".mask_" not in name}
    assert shared == {name for name in fine if ".mask_" not in name}
    assert replace(SETTINGS).mask_head == "conv"
