"""COCO segmentations (polygons and RLE), checked: invalid polygons are left out, and each kind of them is reported."""

from math import isfinite
from typing import Any

from segkit.data.polygons import REACH, run_totals
from segkit.data.records import Polygons, Rle, Segmentation

NUMBERS = {int, float}
NO_POLYGON = "no polygon has three points or more"


def read_segmentation(value: Any, size: tuple[int, int] | None, repairs: list[str]) -> Segmentation | None:
    """Read polygons or RLE; None where the record has neither.

    Args:
        value: As it stands in the file.
        size: (height, width) of the image; None: unknown.
        repairs: Takes a sentence for each kind of polygon that is left out or cut.

    Raises:
        ValueError: It is something else, or run lengths of another image.
    """
    if value is None or value in ([], {}):
        return None
    if isinstance(value, list):
        return _polygons(value, repairs)
    if not isinstance(value, dict):
        raise ValueError(f"a segmentation is {shown(value)}, neither polygons nor RLE")
    own, counts = value.get("size"), value.get("counts")
    whole = isinstance(own, list) and len(own) == 2 and set(map(type, own)) == {int}
    if not whole or not (isinstance(counts, str) or (isinstance(counts, list) and set(map(type, counts)) <= {int})):
        raise ValueError("RLE needs a size [height, width] and counts")
    if size is not None:
        check_run_lengths(value, *size)  # type: ignore[arg-type]
    return value  # type: ignore[return-value]


def check_run_lengths(rle: Rle, height: int, width: int) -> None:
    """See that run lengths, compressed or not, are those of a mask of the image's size.

    Others make pycocotools and the engines like it loop forever, or read beyond their memory.

    Raises:
        ValueError: They are not.
    """
    if rle["size"] != [height, width]:
        own = " x ".join(str(side) for side in reversed(rle["size"]))
        raise ValueError(f"the mask is {own} pixels, the image {width} x {height}")
    counts: Any = rle["counts"]
    total = run_totals([counts])[0] if isinstance(counts, str) else -1 if min(counts, default=0) < 0 else sum(counts)
    if total != height * width:
        raise ValueError("the run lengths do not add up to the pixels of the image")


def _polygons(parts: list[Any], repairs: list[str]) -> Polygons:
    """The polygons that can cover a pixel."""
    kept: Polygons = []
    found: dict[str, None] = {}
    broken = None
    for part in parts:
        if not isinstance(part, list) or not set(map(type, part)) <= NUMBERS:
            broken = broken or "a polygon must be a list of numbers: [[x1, y1, x2, y2, ...], ...]"
            found["a polygon that is not a list of numbers is left out"] = None
            continue
        pairs = part
        if len(part) % 2:  # rleFrPoly of cocoapi takes whole pairs, too
            pairs = part[:-1]
            found["a polygon has an odd number of coordinates: the last one is ignored"] = None
        if len(pairs) < 6:
            found["a polygon of fewer than three points is left out"] = None
        elif max(pairs) < REACH and min(pairs) > -REACH and isfinite(sum(pairs)):
            kept.append(pairs)
        else:
            broken = broken or "a polygon has points that are not finite, or more than a million pixels away"
            found["a polygon with points that are not finite, or more than a million pixels away, is left out"] = None
    if not kept and broken:
        raise ValueError(broken)
    repairs += found if kept else [NO_POLYGON]
    return kept


def shown(value: Any) -> str:
    """A value in a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
