"""Conversion between files and tensors, and between their coordinates."""

import numpy as np
import pytest
import torch
from torchvision.models.detection.roi_heads import paste_masks_in_image

from segkit.data.geometry import Warp, resized_dimensions
from segkit.data.masks import mask_to_rle, polygons_to_rle, rle_to_mask
from segkit.data.records import Category, Image
from segkit.models.mask_targets import mask_targets
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
    results = prediction_to_results(found, Image(1, "p", height, width), height, width, CATEGORIES, aligned_masks=False)
    pasted = paste_masks_in_image(found["masks"][:, None], found["boxes"], (height, width)) > 0.5
    assert [r.segmentation for r in results] == [mask_to_rle(mask[0].numpy()) for mask in pasted]
    assert {r.category_id for r in results} == {3, 7}


def test_boxes_are_scaled_back_to_the_pixels_of_the_image():
    found = prediction(5, 50, 100)
    results = prediction_to_results(found, Image(1, "p", 100, 300), 50, 100, CATEGORIES, aligned_masks=True)
    x1, y1, x2, y2 = (found["boxes"][0] * torch.tensor([3.0, 2.0, 3.0, 2.0])).tolist()
    assert results[0].bbox == pytest.approx((x1, y1, x2 - x1, y2 - y1))


def test_no_detections_give_no_results():
    for aligned in (True, False):
        none = prediction(0, 9, 9)
        assert prediction_to_results(none, Image(1, "p", 9, 9), 9, 9, CATEGORIES, aligned_masks=aligned) == []


def taught_and_read(outline, size, *, aligned):
    """A mask that the mask head is taught at half the size of the image, as predict would write it, and the truth."""
    polygon = [outline.ravel().tolist()]
    top, left, bitmap = Warp(size // 2, size // 2).box_mask(polygon, size, size)
    target = box_masks_to_target([BoxMask(1, top, left, bitmap)])
    masks = mask_targets(
        target, target["boxes"], torch.zeros(1, dtype=torch.int64), (size // 2,) * 2, 28, aligned=aligned
    )
    found = {"boxes": target["boxes"], "labels": target["labels"], "scores": torch.ones(1), "masks": masks}
    record = Image(1, "p", size, size)
    (result,) = prediction_to_results(found, record, size // 2, size // 2, CATEGORIES, aligned_masks=aligned)
    return rle_to_mask(result.segmentation), rle_to_mask(polygons_to_rle(polygon, size, size))


@pytest.mark.parametrize("radius", [9, 20, 41])
def test_a_mask_that_a_head_was_taught_comes_back_to_its_place(radius):
    """Masks of torchvision's convention lie aside by more than half a pixel of the model: a pixel of this image."""
    angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    off, overlaps = [], []
    for shift in (0.0, 0.3, 0.9, 1.4):
        outline = np.stack([62.2 + shift + radius * np.cos(angles), 71.4 - shift + radius * np.sin(angles)], 1)
        read, truth = taught_and_read(outline, 140, aligned=True)
        off.append(np.argwhere(read).mean(axis=0) - np.argwhere(truth).mean(axis=0))
        overlaps.append((read & truth).sum() / (read | truth).sum())
        as_torchvision, _ = taught_and_read(outline, 140, aligned=False)
        assert (as_torchvision & truth).sum() / (as_torchvision | truth).sum() < overlaps[-1]
    assert np.abs(np.mean(off, axis=0)).max() < 0.2
    assert np.mean(overlaps) > 0.85


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
