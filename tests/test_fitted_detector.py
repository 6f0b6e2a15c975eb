"""A detector is fitted to the data, says what it chose, and every choice can be named by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from random_models import card_of
from real_steps import dataset_of, plan_of
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou

from segkit.config.fields import load_config, write_toml
from segkit.config.train import TrainConfig
from segkit.data.geometry import Framing
from segkit.errors import ConfigError
from segkit.models.card import read_card
from segkit.models.detector_settings import DetectorSettings
from segkit.training.defaults import DataFacts, resolve_defaults
from segkit.training.detector_defaults import settings_for, with_settings
from segkit.training.fit_anchors import boxes_of, fitted, shares
from segkit.training.optim import learning_rate

USUAL = ((32, 64, 128, 256, 512), (0.5, 1.0, 2.0))
LEVELS = (2, 3, 4, 5)


def random_boxes(count, low, high, tall=1.0):
    """Centres and sizes of boxes in an image of 512 x 512."""
    rng = np.random.default_rng(0)
    width, height = np.exp(rng.uniform(np.log(low), np.log(high), (2, count)))
    centres = rng.uniform(high, 512 - high, (count, 2))
    return np.column_stack([centres, width, height * tall])


def test_shares_are_those_of_torchvisions_anchors():
    boxes = random_boxes(200, 12, 120)
    maps = [torch.zeros(1, 1, 512 // 2**level, 512 // 2**level) for level in (*LEVELS, 6)]
    generator = AnchorGenerator(tuple((size,) for size in USUAL[0]), (USUAL[1],) * 5)
    (anchors,) = generator(ImageList(torch.zeros(1, 3, 512, 512), [(512, 512)]), maps)
    corners = np.column_stack([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2])
    best = box_iou(torch.from_numpy(corners).float(), anchors).amax(dim=1).numpy()
    found = shares(boxes, USUAL, LEVELS)
    assert found.half == pytest.approx((best >= 0.5).mean(), abs=0.011)
    assert found.most == pytest.approx((best >= 0.7).mean(), abs=0.011)


def test_anchors_follow_the_boxes():
    small = random_boxes(300, 8, 24)
    best = fitted(small, USUAL, LEVELS)
    assert best[0][0] < 32
    assert sum(shares(small, best, LEVELS)) > sum(shares(small, USUAL, LEVELS)) + 0.2
    tall = random_boxes(300, 24, 60, tall=3.5)
    assert max(fitted(tall, USUAL, LEVELS)[1]) > 2
    usual = random_boxes(300, 40, 200)
    assert fitted(usual, USUAL, LEVELS)[0] == USUAL[0]
    assert fitted(np.zeros((0, 4)), USUAL, LEVELS) == USUAL


def test_boxes_are_taken_at_the_size_of_the_model():
    data = dataset_of((100, 200, 5), (400, 300, 2))
    boxes = boxes_of(data, Framing("instances", 200, 1000))
    first = data.annotations[0].bbox
    assert boxes.shape == (7, 4)
    assert boxes[0] == pytest.approx([2 * (first[0] + first[2] / 2), 2 * (first[1] + first[3] / 2), 2 * first[2],
                                      2 * first[3]])  # fmt: skip


def test_a_plan_says_what_was_chosen_and_keeps_it_in_the_config():
    plan = plan_of(dataset_of((128, 160, 150), (96, 128, 100)), "cpu", size=96)
    settings = plan.card.settings
    assert plan.notes[0].startswith("for at most 150 instances in an image, usually 150: detections 100 -> 225")
    assert plan.notes[1].startswith("anchors: ")
    assert "boxes with an anchor of IoU 0.5: " in plan.notes[1]
    for name in ("anchor_sizes", "anchor_ratios", "fpn_levels", "roi_size", "proposals", "rois", "detections", "nms"):
        assert getattr(plan.config, name) == getattr(settings, name)


def test_every_choice_can_be_named(tmp_path):
    named = {
        "anchor_sizes": (10, 20, 40, 80), "anchor_ratios": (0.3, 1.0, 3.0), "fpn_levels": (2, 3, 4), "roi_size": 5,
        "roi_sampling": 1, "proposals": 77, "rois": 33, "detections": 44, "nms": 0.6,
    }  # fmt: skip
    plan = plan_of(dataset_of((128, 160, 5)), "cpu", size=64, **named)
    assert {name: getattr(plan.card.settings, name) for name in named} == named
    write_toml(plan.config, tmp_path / "config.toml")
    assert load_config(TrainConfig, tmp_path / "config.toml") == plan.config
    model = plan.card.build()
    assert model.roi_heads.nms_thresh == 0.6
    assert model.roi_heads.box_roi_pool.scales == [1 / 4, 1 / 8, 1 / 16]
    assert [len(cell) for cell in model.rpn.anchor_generator.cell_anchors] == [3] * 4
    with torch.inference_mode():
        model.eval()([torch.zeros(3, 64, 64, dtype=torch.uint8)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "unet", "anchor_ratios": (1.0,)}, "--anchor-ratios is for detectors; unet has none"),
        ({"fpn_levels": (2, 4)}, "--fpn-levels 2,4: levels from 2 to 5"),
        ({"fpn_levels": (1, 2)}, "--fpn-levels 1,2: levels from 2 to 5"),
        (
            {"anchor_sizes": (16, 32)},
            "--anchor-sizes: 2 sizes for 4 levels of the pyramid and the one above: 5 are needed",
        ),
        ({"lr_steps": (3, 6)}, "--lr-steps and --lr-gamma go with --schedule step"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, message):
    with pytest.raises(ConfigError) as caught:
        TrainConfig(**options)
    assert message in caught.value.message


def test_proposals_are_chosen_among_as_many_anchors_as_in_torchvision():
    """An older segkit took twice as many before suppression, and its models go on to."""
    plan = plan_of(dataset_of((800, 1000, 5)), size=800)
    model = plan.card.build()
    assert (plan.card.settings.proposals, plan.card.settings.before_nms) == (2000, 2000)
    assert model.rpn._pre_nms_top_n == {"training": 2000, "testing": 1000}
    assert model.rpn._post_nms_top_n == {"training": 2000, "testing": 1000}
    assert DetectorSettings().before_nms == 0


def test_the_rate_falls_at_the_epochs_that_are_named():
    plan = plan_of(
        dataset_of(*[(64, 64, 1)] * 10),
        "cpu",
        batch=2,
        epochs=8,
        schedule="step",
        lr_steps=(3, 6),
        lr_gamma=0.5,
        warmup=0,
    )
    rates = [plan.learning_rate(step / 40, step) / plan.lr for step in range(40)]
    assert rates == [1.0] * 15 + [0.5] * 15 + [0.25] * 10
    assert learning_rate("step", 1.0, 0.7, 50, 0) == pytest.approx(0.1)  # by default at 2/3 and 8/9


@pytest.mark.parametrize("model", ["maskrcnn", "condinst"])
def test_what_is_chosen_for_a_very_crowded_dataset_can_be_given_again(tmp_path, model):
    data = dataset_of((64, 96, 3))
    facts = replace(DataFacts.of(data), most_instances=60_000, usual_instances=50_000)
    filled = resolve_defaults(TrainConfig(model=model, weights="none"), facts, torch.device("cpu"), 1)
    settings, _ = settings_for(filled, facts, False, data)
    write_toml(with_settings(filled, settings), tmp_path / "config.toml")
    assert load_config(TrainConfig, tmp_path / "config.toml").detections == settings.detections == 20_000
    assert read_card(card_of(model, settings=settings).to_plain(), tmp_path).settings == settings
