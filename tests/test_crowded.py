"""One crowded image among many does not make every step slow, and all of its instances can be found."""

from pathlib import Path

import pytest
import torch

from segkit.config.train import TrainConfig
from segkit.data.records import Annotation, Category, Dataset, Image
from segkit.training.plan import plan_without_folder


def with_instances(*counts):
    """A dataset of images with so many instances each; no files."""
    images = tuple(Image(number, f"{number}.png", 256, 256) for number, _ in enumerate(counts, 1))
    square = [[0.0, 0.0, 9.0, 0.0, 9.0, 9.0, 0.0, 9.0]]
    owners = [image.id for image, count in zip(images, counts, strict=True) for _ in range(count)]
    annotations = tuple(Annotation(n, owner, 1, square, (0, 0, 9, 9), 81) for n, owner in enumerate(owners, 1))
    return Dataset(images, annotations, (Category(1, "a"),), Path("nowhere"))


def planned(dataset, model="maskrcnn"):
    config = TrainConfig(dataset=Path("nowhere"), model=model, weights="none", size=64)
    return plan_without_folder(config, dataset, None, torch.device("cpu"), 1).card


@pytest.mark.parametrize("model", ["maskrcnn", "fasterrcnn"])
def test_a_crowded_image_changes_what_can_be_found_and_not_what_a_step_costs(model):
    even, crowded = planned(with_instances(*[24] * 30), model), planned(with_instances(*[24] * 29, 313), model)
    assert (crowded.settings.proposals, crowded.settings.rois) == (even.settings.proposals, even.settings.rois)
    assert crowded.settings.detections == pytest.approx(1.5 * 313, abs=1)
    built = crowded.build().eval()
    assert built.rpn.post_nms_top_n() >= 470
    assert built.rpn.pre_nms_top_n() >= 2 * 470
    assert built.roi_heads.detections_per_img >= 469


def test_many_instances_in_most_images_are_learnt_from():
    assert planned(with_instances(*[60] * 8, 3, 3)).settings.rois == 4 * 60
