"""Conversion between files and tensors, and between their coordinates."""

import numpy as np
import pytest
import torch
from torchvision.models.detection.roi_heads import paste_masks_in_image

from segkit.data.geometry import resized_dimensions
from segkit.data.masks import mask_to_rle
from segkit.data.records import Category, Image
from segkit.models.tensors import BoxMask, box_masks_to_target, prediction_to_results

CATEGORIES = (Category(3, "a"), Category(7, "b"))


def prediction(count, height, width, seed=0):
    g = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, 2, generator=g) * torch.tensor([width, height]) * 1.2 - 5
    boxes = torch.cat([corners.amin(1), corners.amax(1) + 1], dim=1)
    boxes[:, 0::2] = boxes[:, 0::2].clamp(0, width)
    boxes[:, 1::2] = boxes[:, 1::2].clamp(0, height)
    return {
        "boxes": boxes,
        "labels": torch.randint(1, 3, (count,), generator=g),
        "scores": torch.rand(count, generator=g),
        "masks": torch.rand(count, 28, 28, generator=g),
    }


@pytest.mark.parametrize(("height", "width"), [(48, 64), (150, 200), (7, 300)])
def test_rle_of_masks_equals_that_of_torchvision(height, width):
    found = prediction(40, height, width)
    results = prediction_to_results(found, Image(1, "p", height, width), height, width, CATEGORIES)
    pasted = paste_masks_in_image(found["masks"][:, None], found["boxes"], (height, width)) > 0.5
    assert [r.segmentation for r in results] == [mask_to_rle(mask[0].numpy()) for mask in pasted]
    assert {r.category_id for r in results} == {3, 7}


def test_boxes_are_scaled_back_to_the_pixels_of_the_image():
    found = prediction(5, 50, 100)
    results = prediction_to_results(found, Image(1, "p", 100, 300), 50, 100, CATEGORIES)
    x1, y1, x2, y2 = (found["boxes"][0] * torch.tensor([3.0, 2.0, 3.0, 2.0])).tolist()
    assert results[0].bbox == pytest.approx((x1, y1, x2 - x1, y2 - y1))


def test_no_detections_give_no_results():
    assert prediction_to_results(prediction(0, 9, 9), Image(1, "p", 9, 9), 9, 9, CATEGORIES) == []


def test_targets_have_boxes_and_box_masks():
    some = [BoxMask(1, 3, 7, np.ones((2, 1), np.uint8)), BoxMask(2, 0, 0, np.array([[1, 0, 1]], np.uint8))]
    target = box_masks_to_target(some)
    assert target["boxes"].tolist() == [[7, 3, 8, 5], [0, 0, 3, 1]]
    assert target["labels"].tolist() == [1, 2]
    assert target["box_masks"].tolist() == [1, 1, 1, 0, 1]
    assert box_masks_to_target([])["boxes"].shape == (0, 4)


def test_resized_dimensions_keep_the_ratio_and_the_limits():
    assert resized_dimensions(600, 800, 300, 1000) == (300, 400)
    assert resized_dimensions(100, 1000, 300, 500) == (50, 500)
