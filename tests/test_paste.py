"""Soft masks in boxes as run lengths: those of torchvision to the last pixel, and those that are aligned."""

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from torchvision.models.detection.roi_heads import expand_boxes, expand_masks, paste_masks_in_image

from segkit.data.masks import crop_to_rle, mask_to_rle, rle_to_mask
from segkit.data.run_text import read_runs, write_runs
from segkit.models import paste
from segkit.models.paste import aligned_to_rles, as_torchvision_to_rles
from segkit.models.tensors import mask_in_box


def blobs(count, seed, cells=28):
    g = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 1, 7, 7, generator=g)
    return torch.nn.functional.interpolate(coarse, size=(cells, cells), mode="bicubic")[:, 0].clamp(0, 1)


def boxes_in(count, height, width, seed, least=0.02, most=0.9):
    g = torch.Generator().manual_seed(seed)
    sides = torch.rand(count, 2, generator=g) * (most - least) + least
    corners = torch.rand(count, 2, generator=g) * (1.1 - sides) - 0.05
    return torch.cat([corners, corners + sides], 1) * torch.tensor([width, height] * 2)


def as_torchvision(masks, boxes, height, width):
    pasted = paste_masks_in_image(masks[:, None], boxes, (height, width))[:, 0]
    return [mask_to_rle((each > 0.5).numpy()) for each in pasted]


def same(masks, boxes, height, width):
    found = as_torchvision_to_rles(masks.numpy(), boxes.numpy(), height, width)
    return [a == b for a, b in zip(found, as_torchvision(masks, boxes, height, width), strict=True)]


def with_ties(masks, boxes, seed):
    """Masks multiplied so that, in each, some pixel's value is 0.5 but for the rounding."""
    random, tied = np.random.default_rng(seed), masks.clone()
    padded, scale = expand_masks(masks[:, None], padding=1)
    for number, (x1, y1, x2, y2) in enumerate(expand_boxes(boxes, scale).long().tolist()):
        size = (max(y2 - y1 + 1, 1), max(x2 - x1 + 1, 1))
        values = torch.nn.functional.interpolate(padded[number : number + 1], size=size, mode="bilinear")[0, 0]
        near = torch.nonzero((values > 0.5) & (values < 0.55))
        if len(near):
            y, x = near[random.integers(len(near))].tolist()
            tied[number] *= 0.5 / values[y, x]
    return tied


@pytest.mark.parametrize(("height", "width", "count"), [(120, 150, 40), (700, 900, 30), (3000, 200, 6), (200, 3000, 6)])
def test_pixels_at_the_threshold_are_decided_as_torchvision_does(height, width, count):
    """Run lengths are identical although in each mask a pixel lies so near 0.5 that rounding decides it."""
    boxes = boxes_in(count, height, width, seed=height).clamp(min=0)
    boxes = boxes.minimum(torch.tensor([width, height] * 2))
    masks = blobs(count, seed=width)
    for seed in range(2):
        assert all(same(with_ties(masks, boxes, seed), boxes, height, width))


@pytest.mark.parametrize("cells", [1, 2, 14, 28, 56])
def test_plateaus_and_steps_are_those_of_torchvision(cells):
    """Whole regions of 0.5, values beside it, binary cells, and boxes smaller than their cells."""
    g = torch.Generator().manual_seed(cells)
    levels = torch.tensor([0, 0.25, 0.5, np.nextafter(np.float32(0.5), np.float32(1)), 1 - 2.0**-24, 1])
    masks = levels[torch.randint(0, len(levels), (24, cells, cells), generator=g)]
    masks[0], masks[1], masks[2] = 0.5, 1, 0
    masks[3] = levels[3]
    boxes = boxes_in(24, 200, 260, seed=cells)
    boxes[4] = torch.tensor([3.0, 4.0, 3.0, 4.0])  # empty
    boxes[5] = torch.tensor([0.0, 0.0, 260.0, 200.0])
    assert all(same(masks, boxes, 200, 260))


def test_values_that_are_no_probabilities_are_those_of_torchvision():
    masks = blobs(6, seed=5)
    masks[0, 3, 4], masks[1, 9, 9], masks[2, 5, 5] = torch.nan, torch.inf, -torch.inf
    masks[3] = masks[3] * 40 - 20
    assert all(same(masks, boxes_in(6, 300, 400, seed=5, least=0.4), 300, 400))
    assert aligned_to_rles(masks[:1].numpy(), np.float32([[5, 5, 25, 25]]), 30, 30)[0]["size"] == [30, 30]


def test_without_pytorch_only_pixels_at_the_threshold_may_differ(monkeypatch):
    masks, boxes = blobs(30, seed=2), boxes_in(30, 300, 400, seed=2)
    truth = as_torchvision(masks, boxes, 300, 400)
    values = paste_masks_in_image(masks[:, None], boxes, (300, 400))[:, 0].numpy()
    monkeypatch.setattr(paste, "torch_if_loaded", lambda: None)
    found = as_torchvision_to_rles(masks.numpy(), boxes.numpy(), 300, 400)
    differ = np.stack([rle_to_mask(a) != rle_to_mask(b) for a, b in zip(found, truth, strict=True)])
    assert np.abs(values[differ] - 0.5).max(initial=0) < 1e-5
    assert differ.sum() < 10


def test_aligned_masks_take_the_probability_at_the_centre_of_each_pixel():
    for seed, cells in ((0, 28), (1, 1), (2, 14)):
        masks = blobs(30, seed, cells) * 0.9 if cells > 1 else torch.rand(30, 1, 1)
        boxes = boxes_in(30, 90, 130, seed, least=0.01)
        found = aligned_to_rles(masks.numpy(), boxes.numpy(), 90, 130)
        for mask, box, rle in zip(masks, boxes.tolist(), found, strict=True):
            top, left, inside = mask_in_box(mask, box)
            truth = rle_to_mask(crop_to_rle(inside, top, left, 90, 130))
            assert (rle_to_mask(rle) != truth).sum() <= 1  # of a pixel whose value is 0.5 but for the rounding


def test_a_mask_of_a_whole_image_ends_with_its_run():
    box = np.float32([[0, 0, 7, 5]])
    (rle,) = aligned_to_rles(np.ones((1, 4, 4), np.float32), box, 5, 7)
    assert rle == mask_to_rle(np.ones((5, 7)))
    (rle,) = aligned_to_rles(np.ones((1, 4, 4), np.float32), box + 20, 5, 7)
    assert rle == mask_to_rle(np.zeros((5, 7)))


def test_texts_of_run_lengths_are_those_of_cocoapi():
    random, runs = np.random.default_rng(0), [np.array([30]), np.array([0, 30]), np.array([0, 4000000000, 5, 1, 2])]
    runs += [random.integers(0, 10 ** random.integers(1, 7), random.integers(1, 40)) for _ in range(200)]
    texts = write_runs(np.concatenate(runs), np.array([len(each) for each in runs]))
    for counts, text in zip(runs, texts, strict=True):
        size = (int(counts.sum()), 1)
        expected = coco_mask.frPyObjects({"size": size, "counts": counts.tolist()}, *size)["counts"].decode()
        assert text == expected
        assert np.array_equal(read_runs(text), counts)
