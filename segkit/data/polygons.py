"""Flat polygons, their areas and boxes: in C where the extension was built, else in Python and by pycocotools.

Both ways give equal results to the bit; ``docs/decisions/0009-polygons-in-c.md`` says why there are two.
``SEGKIT_PURE=1`` in the environment turns the extension off.
"""

import os
from collections.abc import Callable
from itertools import chain
from math import isfinite
from typing import Any

from pycocotools import mask as coco_mask

from segkit.data.records import Polygons

try:
    if os.environ.get("SEGKIT_PURE"):
        raise ImportError
    from segkit.data import _polygons  # type: ignore[attr-defined,unused-ignore]  # not built everywhere
except ImportError:
    _polygons = None
native = _polygons  # the extension, where it was built

Box = tuple[float, float, float, float]

REACH = 1_000_000  # px; beyond, COCO's rasteriser would walk for minutes or overflow
_AT_ONCE = 200  # pycocotools 2.0.11 overflows on the areas of more than 255 masks under NumPy 2
_NUMBERS = ({float}, {int}, {int, float})


def flatten_in_python(points: Any) -> list[float] | None:
    """Points [[x1, y1], [x2, y2], ...] as x1, y1, x2, y2, ...; None unless they are pairs of numbers within reach."""
    if not isinstance(points, list) or not points:
        return [] if isinstance(points, list) else None
    if set(map(type, points)) != {list} or set(map(len, points)) != {2}:
        return None
    flat = list(chain.from_iterable(points))
    if set(map(type, flat)) not in _NUMBERS:
        return None
    return flat if max(flat) < REACH and min(flat) > -REACH and isfinite(sum(flat)) else None


def measure_with_pycocotools(polygons: Polygons, height: int, width: int) -> list[tuple[int, Box]]:
    """Area and tight box of each polygon on its own, clipped to the image, by COCO's rule.

    Args:
        polygons: Each of three points or more, within ``REACH``.
        height: Of the image.
        width: Likewise.
    """
    measured: list[tuple[int, Box]] = []
    for start in range(0, len(polygons), _AT_ONCE):
        rles = coco_mask.frPyObjects(polygons[start : start + _AT_ONCE], height, width)
        boxes = coco_mask.toBbox(rles).tolist()
        areas = coco_mask.area(rles).tolist()
        measured += [(area, (x, y, w, h)) for area, (x, y, w, h) in zip(areas, boxes, strict=True)]
    return measured


def run_totals_in_python(counts: list[str]) -> list[int]:
    """The number of pixels of each of COCO's compressed RLEs; -1 where it is invalid.

    Run lengths that do not add up to their image's pixels make pycocotools and its likes loop forever, or read beyond
    their memory. Format: ``rleFrString`` in cocoapi.
    """
    return [_run_total(text) for text in counts]


def _run_total(text: str) -> int:
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


flatten: Callable[[Any], list[float] | None] = flatten_in_python
measure_polygons: Callable[[Polygons, int, int], list[tuple[int, Box]]] = measure_with_pycocotools
run_totals: Callable[[list[str]], list[int]] = run_totals_in_python
if native is not None:
    flatten, measure_polygons, run_totals = native.flatten, native.measure, native.run_totals
