"""Which values of a dataset's images become black and white: found in a sample of them.

A hot pixel in an image, or a single odd image, does not matter: 0.1 % of the values may lie outside on either side.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from segkit.data.depth import Levels, Range
from segkit.data.pictures import MAX_PIXELS
from segkit.data.pixels import load_deep
from segkit.data.tiff_channels import look_at_channels, read_tiff_channels
from segkit.errors import InputError

Item = TypeVar("Item")

_LOOKED_AT, _DECODED = 512, 48  # images, spread over the dataset: to see whether they are deep, and for their values
_VALUES = 40_000  # of each image
_OUTSIDE = 0.1  # percent on either side
_TOP = 65535.0
_RGB = 3
_COUNTED, _MOST = 8, (5, 95)  # images whose grey levels are counted; between these percentiles
_FEW, _TIMES = 8, 4  # levels that are few, if there were so many times as many values


def find_levels(paths: Sequence[Path]) -> Levels:
    """The levels of a dataset; those of a kind of values that no image has are None.

    Values of 16 bits that use more than half of their range keep it whole. Images that cannot be read are passed over.
    """
    samples: dict[str, list[npt.NDArray[np.float64]]] = {"i": [], "f": []}
    for path in spread(paths, _LOOKED_AT):
        if len(samples["i"]) + len(samples["f"]) >= _DECODED:
            break
        try:
            values = load_deep(path)
        except InputError:
            continue
        if values is not None:
            samples["f" if values.dtype.kind == "f" else "i"].append(_sample(values))
    integer, floating = (_range(samples[kind]) for kind in ("i", "f"))
    if integer is not None and integer[0] >= 0 and _TOP / 2 < integer[1] <= _TOP:
        integer = (0.0, _TOP)
    return Levels(integer, floating)


def few_levels(paths: Sequence[Path], levels: Levels) -> tuple[int, int] | None:
    """Of how few grey levels nine tenths of an image's pixels are, where they had many more values; None elsewhere.

    It happens where a few bright objects stretch the range of a camera. What differs by less than a level is lost.

    Args:
        paths: Of the dataset's images.
        levels: Its levels.

    Returns:
        The grey levels, and the values that they were, in the middle one of the images that are looked at.
    """
    if levels.channels is not None or (levels.integer is None and levels.floating is None):
        return None
    found: list[tuple[int, int]] = []
    for path in spread(paths, _LOOKED_AT):
        if len(found) >= _COUNTED:
            break
        try:
            values = load_deep(path)
        except InputError:
            continue
        if values is not None and (ends := levels.of(values)) is not None:
            sample = _sample(values)
            low, high = np.percentile(sample, _MOST) if sample.size else (0.0, 0.0)
            some = np.unique(sample[(sample >= low) & (sample <= high)])
            grey = np.clip((some - ends[0]) * (255 / (ends[1] - ends[0])), 0, 255).round()
            found.append((len(np.unique(grey)), len(some)))
    if not found:
        return None
    few, many = sorted(found)[len(found) // 2]
    return (few, many) if few < _FEW and many >= _TIMES * few else None


def count_channels(paths: Sequence[Path]) -> int:
    """The channels of a dataset's images: those of its TIFF files where all that are looked at have as many, else 3."""
    found = [look_at_channels(path) for path in spread(paths, _DECODED)]
    counts = {_RGB if each is None else each.channels for each in found}
    return counts.pop() if len(counts) == 1 else _RGB


def find_channel_ranges(paths: Sequence[Path], count: int) -> tuple[Range, ...] | None:
    """The values of each channel that become black and white; None where no image has so many channels.

    Bytes stay as they are; of others, 0.1 % may lie outside on either side. Files that cannot be read are passed over.

    Args:
        paths: Of the dataset's images.
        count: Of channels.
    """
    samples: list[list[npt.NDArray[np.float64]]] = [[] for _ in range(count)]
    for path in spread(paths, _DECODED):
        try:
            values = read_tiff_channels(path, count, MAX_PIXELS)
        except InputError:
            continue
        if values.dtype == np.uint8:
            return ((0.0, 255.0),) * count
        for number in range(count):
            samples[number].append(_sample(values[:, :, number]))
    if not samples[0]:
        return None
    return tuple(_range(each) or (0.0, 255.0) for each in samples)


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """Items from all parts of a sequence, in an order of which every beginning is spread, too."""
    chosen = np.unique(np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int))
    order = np.random.default_rng(0).permutation(chosen)
    return [items[index] for index in order.tolist()]


def _sample(values: npt.NDArray[np.number]) -> npt.NDArray[np.float64]:
    flat = values.reshape(-1)
    some = np.asarray(flat[:: max(1, flat.size // _VALUES)], np.float64)
    return np.asarray(some[np.isfinite(some)])


def _range(samples: Sequence[npt.NDArray[np.float64]]) -> Range | None:
    values = np.concatenate(samples) if samples else np.zeros(0)
    if not values.size:
        return None
    low, high = (float(value) for value in np.percentile(values, (_OUTSIDE, 100 - _OUTSIDE)))
    if high > low:
        return low, high
    return (low, max(float(values.max()), low + 1))
