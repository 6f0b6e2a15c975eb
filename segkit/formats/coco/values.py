"""What a COCO annotation or result says, value by value: train, eval and convert judge a file by these functions.

A value that is wrong but can be done without, or computed from the others, is left out; the sentence that says so is a
repair. A record of which nothing is left to go on raises ``ValueError``. Format: https://cocodataset.org/#format-data
"""

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from segkit.data.masks import Box
from segkit.data.polygons import REACH, run_totals
from segkit.data.records import Polygons, Rle, Segmentation

_NUMBERS = {int, float}
_KNOWN = {"id", "image_id", "category_id", "segmentation", "bbox", "area", "iscrowd", "attributes"}
NO_POLYGON = "no polygon has three points or more"


@dataclass(frozen=True, slots=True)
class AnnotationValues:
    """The values of one annotation; None where there is none that could be used.

    ``segmentation`` is an empty list where polygons are given and none of them can cover a pixel.
    """

    image_id: Any
    category_id: Any
    segmentation: Segmentation | None
    bbox: Box | None
    area: float | None
    iscrowd: int
    attributes: dict[str, Any]
    repairs: list[str]


def read_annotation(
    raw: dict[str, Any], image_sizes: Mapping[Any, tuple[int, int]], categories: Container[Any]
) -> AnnotationValues:
    """Read an annotation of one of a file's images.

    Args:
        raw: The record.
        image_sizes: (height, width) by image id.
        categories: The file's category ids.

    Raises:
        ValueError: It is of an unknown image or category, its segmentation is none, or it has no place in the image.
    """
    repairs: list[str] = []
    image_id = reference(raw, "image_id", image_sizes)
    category_id = reference(raw, "category_id", categories)
    mask = segmentation(raw.get("segmentation"), image_sizes[image_id], repairs)
    bbox, area = raw.get("bbox") or None, raw.get("area")
    if bbox is not None:
        try:
            bbox = box(bbox)
        except ValueError:
            if mask is None:
                raise
            bbox = None
            repairs.append("bbox is not four numbers: computed from the segmentation")
    elif mask is None:
        raise ValueError("it has neither a segmentation nor a bbox")
    if area is not None and not _is_number(area):
        area = None
        repairs.append("area is not a number: computed from the segmentation or the bbox")
    iscrowd = _crowd(raw.get("iscrowd"), repairs)
    own = raw.get("attributes")
    rest = {name: value for name, value in raw.items() if name not in _KNOWN}
    attributes = (own if isinstance(own, dict) else {}) | rest
    return AnnotationValues(image_id, category_id, mask, bbox, area, iscrowd, attributes, repairs)


def read_record(record: Any, what: str, read: Callable[[dict[str, Any]], Any]) -> Any:
    """Read a record; the message of an error begins with ``what``.

    Raises:
        ValueError: It is not as it should be.
    """
    if not isinstance(record, dict):
        raise ValueError(f"{what} is {_shown(record)}, not a record")
    try:
        return read(record)
    except (ValueError, OverflowError, TypeError) as error:
        raise ValueError(f"{what}: {error}") from error


def reference(raw: dict[str, Any], key: str, known: Container[Any]) -> Any:
    """The id of an image or a category that a record refers to.

    Raises:
        ValueError: There is none, or none such in the file.
    """
    value = identity(raw, key)
    if value not in known:
        raise ValueError(f"{key} is {_shown(value)}, which is not in the file")
    return value


def identity(raw: dict[str, Any], key: str) -> Any:
    """An id: a whole number or a text.

    Raises:
        ValueError: It is neither.
    """
    value = required(raw, key)
    if type(value) is not int and not isinstance(value, str):
        raise ValueError(f"{key} is {_shown(value)}, neither a whole number nor a text")
    return value


def required(raw: dict[str, Any], key: str) -> Any:
    """The value of a key that a record must have.

    Raises:
        ValueError: It has none.
    """
    if key not in raw:
        raise ValueError(f"key {key!r} is missing")
    return raw[key]


def box(value: Any) -> Box:
    """A box xywh.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(value, list) or len(value) != 4:
        many = f"has {len(value)} numbers, not 4" if isinstance(value, list) else f"is {_shown(value)}"
        raise ValueError(f"bbox {many}")
    for each in value:
        if not _is_number(each):
            raise ValueError(f"bbox holds {_shown(each)}, which is not a finite number")
    x, y, w, h = value
    return (x, y, w, h)


def segmentation(value: Any, size: tuple[int, int] | None, repairs: list[str]) -> Segmentation | None:
    """Polygons or run lengths; None where there are none.

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
        raise ValueError(f"a segmentation is {_shown(value)}, neither polygons nor run lengths")
    own, counts = value.get("size"), value.get("counts")
    whole = isinstance(own, list) and len(own) == 2 and set(map(type, own)) == {int}
    if not whole or not (isinstance(counts, str) or (isinstance(counts, list) and set(map(type, counts)) <= {int})):
        raise ValueError("run lengths need a size [height, width] and counts")
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
        raise ValueError(f"its mask is {own} pixels, its image {width} x {height}")
    counts: Any = rle["counts"]
    total = run_totals([counts])[0] if isinstance(counts, str) else -1 if min(counts, default=0) < 0 else sum(counts)
    if total != height * width:
        raise ValueError("the run lengths of its mask do not add up to its image's pixels")


def _polygons(parts: list[Any], repairs: list[str]) -> Polygons:
    """The polygons that can cover a pixel."""
    kept: Polygons = []
    found: dict[str, None] = {}
    broken = None
    for part in parts:
        if not isinstance(part, list) or not set(map(type, part)) <= _NUMBERS:
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
            broken = broken or "a polygon has points that are not finite, or a million pixels away"
            found["a polygon with points that are not finite, or a million pixels away, is left out"] = None
    if not kept and broken:
        raise ValueError(broken)
    repairs += found if kept else [NO_POLYGON]
    return kept


def _crowd(value: Any, repairs: list[str]) -> int:
    if value is None or value in (0, 1):
        return int(bool(value))
    if value in ("0", "1"):
        repairs.append("iscrowd is a text: read as a number")
        return int(value)
    repairs.append("iscrowd is neither 0 nor 1: read as 0")
    return 0


def _is_number(value: Any) -> bool:
    return type(value) in _NUMBERS and -1e300 < value < 1e300


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
