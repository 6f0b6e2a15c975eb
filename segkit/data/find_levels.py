"""Which values of a dataset's images become black and white: found in a sample of them.

A hot pixel in an image, or a single odd image, does not matter: 0.1 % of the values may lie outside on either side.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from segkit.data.depth import Levels, Range
from segkit.data.pixels import load_deep
from segkit.errors import InputError

Item = TypeVar("Item")

_LOOKED_AT, _DECODED = 512, 48  # images, spread over the dataset: to see whether they are deep, and for their values
_VALUES = 40_000  # of each image
_OUTSIDE = 0.1  # percent on either side
_TOP = 65535.0


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
