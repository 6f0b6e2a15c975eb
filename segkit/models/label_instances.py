"""Instances from what a U-Net predicts of every pixel: connected components, parted where they touch."""

from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from segkit.choices import InstancesName
from segkit.data.touching import part
from segkit.models.tensors import ArrayPrediction

_MIN_PIXELS = 16  # smaller components are noise


def num_maps(num_categories: int, instances: InstancesName) -> int:
    """The number M of a U-Net's maps."""
    return num_categories + 1 + (instances == "distance")


def instances_in_maps(maps: npt.NDArray[Any], instances: InstancesName) -> ArrayPrediction:
    """The most probable label of every pixel, and the instances of each label; as ``segkit.models.unet`` has them.

    Args:
        maps: Float [M, H, W].
        instances: How they are made.
    """
    probabilities, distances = (maps, None) if instances == "components" else (maps[:-1], maps[-1])
    return instances_of(probabilities.argmax(axis=0).astype(np.uint8), probabilities.max(axis=0), distances)


class _Instance(NamedTuple):
    score: float
    label: int
    box: tuple[int, int, int, int]
    mask: npt.NDArray[np.bool_]


def instances_of(
    label_map: npt.NDArray[np.uint8], confidence: npt.NDArray[Any], distances: npt.NDArray[Any] | None = None
) -> ArrayPrediction:
    """The instances of each label, by falling score; their score is the mean probability of their pixels.

    Args:
        label_map: The most probable label of every pixel, [H, W].
        confidence: Its probability.
        distances: Normalised distances, which part connected components; None: nothing parts them.
    """
    found: list[_Instance] = []
    for label in np.unique(label_map[label_map > 0]).tolist():
        count, components, stats, _ = cv2.connectedComponentsWithStats((label_map == label).astype(np.uint8))
        for component in range(1, count):
            left, top, width, height, pixels = stats[component].tolist()
            if pixels >= _MIN_PIXELS:
                window = np.s_[top : top + height, left : left + width]
                inside = components[window] == component
                near = None if distances is None else distances[window].astype(np.float32)
                found += _parts(label, (top, left), inside, confidence[window].astype(np.float32), near)
    found.sort(key=lambda instance: -instance.score)
    return {
        "boxes": np.array([each.box for each in found], np.float32).reshape(-1, 4),
        "labels": np.array([each.label for each in found], np.int64),
        "scores": np.array([each.score for each in found], np.float32),
        "box_masks": [each.mask for each in found],
        "semantic": label_map,
    }


def _parts(
    label: int,
    corner: tuple[int, int],
    inside: npt.NDArray[np.bool_],
    confidence: npt.NDArray[np.float32],
    distances: npt.NDArray[np.float32] | None,
) -> list[_Instance]:
    """The instances of one connected component, in a window that begins at (top, left)."""
    numbers = None if distances is None else part(inside, distances)
    if numbers is None:
        numbers = inside.astype(np.int32)
    out = []
    for number, window in enumerate(ndimage.find_objects(numbers), 1):
        mask = numbers[window] == number
        if np.count_nonzero(mask) >= _MIN_PIXELS:
            top, left = corner[0] + window[0].start, corner[1] + window[1].start
            box = (left, top, left + mask.shape[1], top + mask.shape[0])
            out.append(_Instance(float(confidence[window][mask].mean()), label, box, mask))
    return out
