"""How many pixels of each instance lie under others, without a picture-sized mask."""

from collections.abc import Sequence

import numpy as np

from segkit.data.masks import Mask

Crop = tuple[int, int, Mask]  # top, left, bitmap [h, w]


def covered_pixels(crops: Sequence[Crop | None]) -> list[int]:
    """The pixels of each mask that masks before it cover; in an id mask they have the number of one of these.

    Args:
        crops: Masks cut to their boxes, the one on top first; None where one is empty.
    """
    boxes = np.array([_box(crop) for crop in crops], np.int64).reshape(-1, 4)
    out = []
    for number, crop in enumerate(crops):
        if crop is None:
            out.append(0)
            continue
        top, left, bottom, right = boxes[number].tolist()
        above = boxes[:number]
        meet = (above[:, 0] < bottom) & (above[:, 1] < right) & (above[:, 2] > top) & (above[:, 3] > left)
        under = np.zeros(crop[2].shape, bool)
        for other in np.flatnonzero(meet).tolist():
            _paint(under, (top, left), crops[other])
        out.append(int((under & (crop[2] > 0)).sum()))
    return out


def _box(crop: Crop | None) -> tuple[int, int, int, int]:
    if crop is None:
        return 0, 0, 0, 0
    top, left, bitmap = crop
    return top, left, top + bitmap.shape[0], left + bitmap.shape[1]


def _paint(window: np.ndarray, at: tuple[int, int], crop: Crop | None) -> None:
    """Set what a mask covers in a window of the picture whose corner is ``at``."""
    if crop is None:
        return
    top, left, bitmap = crop
    y0, x0 = max(top, at[0]), max(left, at[1])
    y1 = min(top + bitmap.shape[0], at[0] + window.shape[0])
    x1 = min(left + bitmap.shape[1], at[1] + window.shape[1])
    inside = bitmap[y0 - top : y1 - top, x0 - left : x1 - left] > 0
    window[y0 - at[0] : y1 - at[0], x0 - at[1] : x1 - at[1]] |= inside
