"""COCO segmentations (polygons and RLE), checked: invalid polygons are left out, and each kind of them is reported."""

from math import isfinite
from typing import Any, cast

from segkit.data.masks import Box, mask_to_rle, rle_bbox, rle_to_mask, to_rle
from segkit.data.polygons import REACH, run_totals
from segkit.data.records import Polygons, Rle, Segmentation
from segkit.units import format_size

NUMBERS = {int, float}
NO_POLYGON = "no polygon has three points or more"


def read_segmentation(
    value: Any, size: tuple[int, int] | None, repairs: list[str], bbox: Box | None = None
) -> Segmentation | None:
    """Read polygons or RLE; None where the record has neither.

    Args:
        value: As it stands in the file.
        size: (height, width) of the image; None: unknown.
        repairs: Takes a sentence for each kind of polygon that is left out or cut.
        bbox: The record's box xywh, which tells how an RLE with swapped sides is meant.

    Raises:
        ValueError: It is something else, or run lengths of another image.
    """
    if value is None or value in ([], {}):
        return None
    if isinstance(value, list):
        return _polygons(_parts(value, repairs), repairs)
    if not isinstance(value, dict):
        raise ValueError(f"a segmentation is {shown(value)}, neither polygons nor RLE")
    own, counts = _whole(value.get("size")), value.get("counts")
    counts = counts if isinstance(counts, str) else _whole(counts)
    if own is None or len(own) != 2 or counts is None:
        raise ValueError("RLE needs a size [height, width] and counts")
    rle: Any = {"size": own, "counts": counts}
    if size is None:
        return cast(Rle, rle)
    try:
        check_run_lengths(rle, *size)
    except ValueError:
        if own == [size[1], size[0]] and bbox is not None and (turned := _turned(rle, size, bbox)) is not None:
            repairs.append("the size of the RLE is [width, height], not [height, width]: its box tells how it is meant")
            return turned
        raise
    return cast(Rle, rle)


def _whole(values: Any) -> list[int] | None:
    """A list of whole numbers, 48.0 among them; None where it is none."""
    if not isinstance(values, list) or not (kinds := set(map(type, values))) <= NUMBERS:
        return None
    if float not in kinds:
        return values
    return [int(each) for each in values] if all(float(each).is_integer() for each in values) else None


def _turned(rle: Any, size: tuple[int, int], bbox: Box) -> Rle | None:
    """An RLE whose sides are swapped, as the box says: only its size is, or its pixels are, too; None in doubt."""
    try:
        check_run_lengths(rle, size[1], size[0])
    except ValueError:
        return None
    only_size = to_rle({"size": list(size), "counts": rle["counts"]}, *size)
    pixels = mask_to_rle(rle_to_mask(to_rle(rle, size[1], size[0])).T)
    near = [
        each for each in (only_size, pixels) if all(abs(a - b) <= 1 for a, b in zip(rle_bbox(each), bbox, strict=True))
    ]
    return near[0] if len(near) == 1 else None


def check_run_lengths(rle: Rle, height: int, width: int) -> None:
    """See that run lengths, compressed or not, are those of a mask of the image's size.

    Others make pycocotools and the engines like it loop forever, or read beyond their memory.

    Raises:
        ValueError: They are not.
    """
    if rle["size"] != [height, width]:
        own = "x".join(map(str, rle["size"]))
        turned = ": height and width are the other way round" if rle["size"] == [width, height] else ""
        raise ValueError(f"the mask has {own}, the image {format_size(height, width)}{turned}")
    counts: Any = rle["counts"]
    total = run_totals([counts])[0] if isinstance(counts, str) else -1 if min(counts, default=0) < 0 else sum(counts)
    if total != height * width:
        is_bytes = isinstance(counts, str) and counts[:2] in ("b'", 'b"')
        raise ValueError(
            "the run lengths are Python bytes that were written as text, for example by str(): write counts.decode()"
            if is_bytes
            else "the run lengths do not add up to the pixels of the image"
        )


def _parts(value: list[Any], repairs: list[str]) -> list[Any]:
    """The polygons of a segmentation; a single one may stand without the outer list, and points may be pairs."""
    if type(value[0]) in NUMBERS:
        repairs.append("a polygon without the outer list is read as one polygon")
        return [value]
    if len(value) >= 3 and all(_pair(part) is not None for part in value):
        value = [value]
    if not any(isinstance(part, list) and part and isinstance(part[0], list | dict) for part in value):
        return value
    parts = []
    for part in value:
        pairs = [_pair(point) for point in part] if isinstance(part, list) and part else [None]
        if None in pairs:
            parts.append(part)
            continue
        parts.append([number for pair in pairs if pair is not None for number in pair])
        if "points [x, y] are read as x, y" not in repairs:
            repairs.append("points [x, y] are read as x, y")
    return parts


def _pair(point: Any) -> list[Any] | None:
    """A point as [x, y]; None where it is none."""
    if isinstance(point, dict):
        point = [point.get("x"), point.get("y")]
    return point if isinstance(point, list) and len(point) == 2 and set(map(type, point)) <= NUMBERS else None


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
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested deeply, or an integer of thousands of digits
        text = f"a {type(value).__name__} that is too long to print"
    return text if len(text) <= 40 else text[:37] + "..."
