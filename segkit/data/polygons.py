"""Flat polygons, their areas and boxes: in C where the extension was built, else in Python and by pycocotools.

Both ways give equal results to the bit; ``docs/decisions/0009-polygons-in-c.md`` says why there are two.
``SEGKIT_PURE=1`` in the environment turns the extension off.
"""

import os
from itertools import chain
from math import isfinite
from typing import Any

from pycocotools import mask as coco_mask

from segkit.data.records import Polygons

try:
    if os.environ.get("SEGKIT_PURE"):
        raise ImportError
    from segkit.data import _polygons as native  # type: ignore[attr-defined,unused-ignore]
except ImportError:
    native = None

Box = tuple[float, float, float, float]

REACH = 1_000_000  # px; beyond, COCO's rasteriser would walk for minutes or overflow
_AT_ONCE = 200  # pycocotools 2.0.11 overflows on the areas of more than 255 masks under NumPy 2
_NUMBERS = ({float}, {int}, {int, float})


def flatten(points: Any) -> list[float] | None:
    """Points [[x1, y1], [x2, y2], ...] as x1, y1, x2, y2, ...; None unless they are pairs of numbers within reach."""
    if native is not None:
        flat: list[float] | None = native.flatten(points)
        return flat
    return flatten_in_python(points)


def flatten_in_python(points: Any) -> list[float] | None:
    """The same without the extension."""
    if not isinstance(points, list) or not points:
        return [] if isinstance(points, list) else None
    if set(map(type, points)) != {list} or set(map(len, points)) != {2}:
        return None
    flat = list(chain.from_iterable(points))
    if set(map(type, flat)) not in _NUMBERS:
        return None
    return flat if max(flat) < REACH and min(flat) > -REACH and isfinite(sum(flat)) else None


def measure_polygons(polygons: Polygons, height: int, width: int) -> list[tuple[int, Box]]:
    """Area and tight box of each polygon on its own, clipped to the image, by COCO's rule.

    Args:
        polygons: Each of three points or more, within ``REACH``.
        height: Of the image.
        width: Likewise.
    """
    if native is not None:
        measured: list[tuple[int, Box]] = native.measure(polygons, height, width)
        return measured
    return measure_with_pycocotools(polygons, height, width)


def measure_with_pycocotools(polygons: Polygons, height: int, width: int) -> list[tuple[int, Box]]:
    """The same without the extension."""
    measured: list[tuple[int, Box]] = []
    for start in range(0, len(polygons), _AT_ONCE):
        rles = coco_mask.frPyObjects(polygons[start : start + _AT_ONCE], height, width)
        boxes = coco_mask.toBbox(rles).tolist()
        areas = coco_mask.area(rles).tolist()
        measured += [(area, (x, y, w, h)) for area, (x, y, w, h) in zip(areas, boxes, strict=True)]
    return measured


def run_totals(counts: list[str]) -> list[int]:
    """The number of pixels of each of COCO's compressed RLEs; -1 where it is invalid.

    Run lengths that do not add up to their image's pixels make pycocotools and its likes loop forever, or read beyond
    their memory. Format: ``rleFrString`` in cocoapi.
    """
    if native is not None:
        totals: list[int] = native.run_totals(counts)
        return totals
    return [run_total_in_python(text) for text in counts]


def run_total_in_python(text: str) -> int:
    """The same of one without the extension."""
    runs: list[int] = []
    value = shift = 0
    for character in text:
        digit = ord(character) - 48
        if not 0 <= digit <= 63 or shift > 30:
            return -1
        value |= (digit & 31) << shift
        shift += 5
        if digit & 32:
            continue
        value -= (1 << shift) * (digit >> 4 & 1)
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        if not 0 <= runs[-1] < 2**32:
            return -1
        value = shift = 0
    return -1 if shift else sum(runs)
