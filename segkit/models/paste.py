"""Mask probabilities in the frames of boxes -> RLE in the pixels of an image.

Two conventions: aligned, to a fraction of a pixel, and that of torchvision, whose very decisions are taken.
"""

import numpy as np

from segkit.data.records import Rle
from segkit.data.soft_masks import Doubles, Floats, Frames, Ints, soft_masks_to_rles
from segkit.models.pytorch_pixels import as_pytorch
from segkit.runtime.loaded_torch import torch_if_loaded


def aligned_to_rles(masks: Floats, boxes: Floats, height: int, width: int) -> list[Rle]:
    """A pixel takes the probability at its centre, interpolated between the centres of the mask's cells.

    Towards zero outside, as detectron2's ``paste_masks_in_image`` does.

    Args:
        masks: Probabilities [N, M, M] in the frames of the boxes.
        boxes: xyxy [N, 4] in pixels of the image.
        height: Of the image.
        width: Likewise.
    """
    cells = masks.shape[-1]
    ends = boxes.astype(np.float64)
    down, across = (_aligned(ends[:, low], ends[:, low + 2], cells) for low in (1, 0))
    return soft_masks_to_rles(masks, down, across, height, width)


def _aligned(low: Doubles, high: Doubles, cells: int) -> Frames:
    first = np.ceil(low - 0.5).astype(np.int64)  # the first pixel whose centre is between the two
    count = np.ceil(high - 0.5).astype(np.int64) - first
    return Frames(first, count, first + 0.5 - low, cells / (high - low).clip(min=1e-6), 0.5)


def as_torchvision_to_rles(masks: Floats, boxes: Floats, height: int, width: int) -> list[Rle]:
    """The same, with the runs of torchvision, whose box is a pixel wider on average.

    As its ``paste_masks_in_image`` does: masks get a border of zeros and boxes grow with it, whose corners are cut to
    whole pixels; then cells are interpolated. Where PyTorch is loaded, its own ``interpolate`` decides for the pixels
    that rounding could decide, so that all runs are the same on every processor; elsewhere double precision does.
    """
    cells = masks.shape[-1] + 2
    half = (boxes[:, 2:] - boxes[:, :2]) * np.float32(0.5)
    centre = (boxes[:, 2:] + boxes[:, :2]) * np.float32(0.5)
    half *= np.float32(cells / max(masks.shape[-1], 1))
    low, high = (centre - half).astype(np.int64), (centre + half).astype(np.int64)
    counts = (high - low + 1).clip(min=1)
    across, down = (
        Frames(low[:, axis], counts[:, axis], np.full(len(masks), 0.5), _steps(cells, counts[:, axis]), -0.5)
        for axis in (0, 1)
    )
    near = None
    if (torch := torch_if_loaded()) is not None:
        near = as_pytorch(torch, masks, down, across)
    return soft_masks_to_rles(masks, down, across, height, width, near)


def _steps(cells: int, pixels: Ints) -> Doubles:
    """Cells a pixel, rounded to float32 as PyTorch does."""
    return (np.float32(cells) / pixels.astype(np.float32)).astype(np.float64)
