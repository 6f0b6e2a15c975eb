"""Anchors fitted to the boxes of the training split.

A box teaches the RPN through the anchors that overlap it with an IoU of at least 0.7; a box without one is taught by
the best that there is, whatever it is (Ren et al. 2015, https://arxiv.org/abs/1506.01497). So anchors are judged by the
share of boxes that have an anchor of IoU 0.5, and of 0.7.
"""

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from segkit.data.geometry import Framing
from segkit.data.records import Dataset

Anchors = tuple[tuple[int, ...], tuple[float, ...]]
"""Sizes, one for each level, and ratios of height by width."""

_SMALLEST = (8, 11, 16, 23, 32)  # sizes that are tried for the finest level; each level above has twice as much
_SPREAD = (0.15, 0.5, 0.85)  # quantiles of the ratios of boxes that are tried as ratios
_MOST_BOXES = 4000
_NOISE = 0.02  # of a share
_BETTER = 0.02  # what the mean of both shares must gain: less is noise, and known anchors are better


class Shares(NamedTuple):
    """Shares of boxes that have an anchor of IoU 0.5, and of 0.7."""

    half: float
    most: float


def boxes_of(dataset: Dataset, framing: Framing) -> npt.NDArray[np.float64]:
    """Centres and sizes (x, y, width, height) of boxes [N, 4] at the size of the model, of at most 4000 of them."""
    frames = {image.id: (image.height, image.width) for image in dataset.images}
    some = [each for each in dataset.annotations if not each.iscrowd and each.bbox[2] > 0 and each.bbox[3] > 0]
    some = some[:: max(1, -(-len(some) // _MOST_BOXES))]
    rows = []
    for annotation in some:
        height, width = frames[annotation.image_id]
        scale = min(framing.size / min(height, width), framing.max_size / max(height, width))
        x, y, w, h = annotation.bbox
        rows.append((scale * (x + w / 2), scale * (y + h / 2), scale * w, scale * h))
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def shares(boxes: npt.NDArray[np.float64], anchors: Anchors, levels: Sequence[int]) -> Shares:
    """The shares of boxes [N, 4] (centres and sizes) that have an anchor.

    Args:
        boxes: In pixels of the model's images.
        anchors: The anchors of every place of the maps.
        levels: Of the pyramid; anchors lie on the corners of its cells, and on those of the level above.
    """
    best = np.zeros(len(boxes))
    strides = [2**level for level in (*levels, levels[-1] + 1)]
    for (size, stride), ratio in product(zip(anchors[0], strides, strict=True), anchors[1]):
        # as torchvision rounds them
        width, height = (2 * np.round(size * side / 2) for side in (ratio**-0.5, ratio**0.5))
        aside = np.abs(boxes[:, :2] - np.round(boxes[:, :2] / stride) * stride)  # from the nearest anchor
        both = [
            np.clip(np.minimum(np.minimum(boxes[:, 2 + k], side), (boxes[:, 2 + k] + side) / 2 - aside[:, k]), 0, None)
            for k, side in enumerate((width, height))
        ]
        common = both[0] * both[1]
        best = np.maximum(best, common / (boxes[:, 2] * boxes[:, 3] + width * height - common))
    if not len(best):
        return Shares(0.0, 0.0)
    return Shares(float((best >= 0.5).mean()), float((best >= 0.7).mean()))


def fitted(boxes: npt.NDArray[np.float64], known: Anchors, levels: Sequence[int]) -> Anchors:
    """The anchors with the highest shares; those that are known unless others are clearly better, by both shares."""
    usual = shares(boxes, known, levels)
    ratios = [known[1]]
    if len(boxes):
        own = np.quantile(boxes[:, 3] / boxes[:, 2], _SPREAD)
        three = tuple(float(each) for each in np.unique(np.clip(np.round(own, 2), 0.1, 10)))
        ratios += [three] if len(three) == len(known[1]) else []
    sizes = [tuple(small * 2**k for k in range(len(levels) + 1)) for small in _SMALLEST]

    def gain(anchors: Anchors) -> float:
        here = shares(boxes, anchors, levels)
        worse = here.half < usual.half - _NOISE or here.most < usual.most - _NOISE
        return 0.0 if worse else (sum(here) - sum(usual)) / 2

    best = max(product(sizes, ratios), key=gain)  # of equal ones the first
    return best if gain(best) > _BETTER else known
