"""The values of COCO annotations and results, checked: train, eval and convert read files by these functions.

An invalid value that is not needed, or that can be computed from the others, is left out; a repair is the sentence that
reports it. A record that cannot be used at all raises ``ValueError``. Format: https://cocodataset.org/#format-data
"""

import math
import re
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any

from segkit.data.masks import Box
from segkit.data.polygons import REACH
from segkit.data.records import Segmentation
from segkit.formats.coco.segmentation import NUMBERS, read_segmentation, shown

_WHOLE = re.compile(r"(0|-?[1-9][0-9]{0,17})(\.0+)?", re.ASCII)  # a number as text; "007" is a name
_LARGEST_AREA = 1e300  # sums of areas stay finite
_KNOWN = {"id", "image_id", "category_id", "segmentation", "bbox", "area", "iscrowd", "attributes"}


@dataclass(frozen=True, slots=True)
class AnnotationValues:
    """The values of one annotation; None where there is no valid one.

    ``segmentation`` is an empty list where polygons are given and none of them can cover a pixel.
    """

    category_id: Any
    segmentation: Segmentation | None
    bbox: Box | None
    area: float | None
    iscrowd: int
    attributes: dict[str, Any]
    repairs: list[str]


def read_annotation(raw: dict[str, Any], size: tuple[int, int], categories: Container[Any]) -> AnnotationValues:
    """Read an annotation of an image.

    Args:
        raw: The record.
        size: (height, width) of the image.
        categories: The file's category ids.

    Raises:
        ValueError: Its category is unknown, its segmentation is invalid, or it has neither that nor a bbox.
    """
    repairs: list[str] = []
    category_id = reference(raw, "category_id", categories)
    bbox, area = raw.get("bbox") or None, raw.get("area")
    wrong_box = None
    if bbox is not None:
        try:
            bbox = box(bbox)
        except ValueError as error:
            bbox, wrong_box = None, error
    mask = read_segmentation(raw.get("segmentation"), size, repairs, bbox)
    if wrong_box is not None:
        if mask is None:
            raise wrong_box
        repairs.append("bbox is not four numbers within reach: computed from the segmentation")
    elif mask is None:
        if bbox is None:
            raise ValueError("it has neither a segmentation nor a bbox")
        if bbox[2] == 0 or bbox[3] == 0:
            repairs.append("bbox covers nothing")
    if area is not None and (wrong := _wrong_area(area)):
        repairs.append(f"area is {wrong}: computed from the {_source(mask)}")
        area = None
    iscrowd = _crowd(raw.get("iscrowd"), repairs)
    own = raw.get("attributes")
    rest = {name: value for name, value in raw.items() if name not in _KNOWN}
    attributes = (own if isinstance(own, dict) else {"attributes": own} if own else {}) | rest
    return AnnotationValues(category_id, mask, bbox, area, iscrowd, attributes, repairs)


def read_record(record: Any, what: str, read: Callable[[dict[str, Any]], Any]) -> Any:
    """Read a record; the message of an error begins with ``what``.

    Raises:
        ValueError: It is not as it should be.
    """
    if not isinstance(record, dict):
        raise ValueError(f"{what or 'it'} is {shown(record)}, not a record")
    try:
        return read(record)
    except (ValueError, OverflowError, TypeError, RecursionError) as error:
        raise ValueError(f"{what}: {error}" if what else str(error)) from error


def reference(raw: dict[str, Any], key: str, known: Container[Any]) -> Any:
    """The id of an image or a category that a record refers to.

    Raises:
        ValueError: There is none, or none such in the file.
    """
    value = identity(raw, key)
    if value not in known:
        raise ValueError(f"{key} is {shown(raw[key])}, which is not in the file")
    return value


def identity(raw: dict[str, Any], key: str) -> Any:
    """An id: a whole number or a string. ``1.0`` and ``"1"`` are the number 1: exporters mix them in one file.

    Raises:
        ValueError: It is neither.
    """
    value = required(raw, key)
    if type(value) is int:
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, str):
        raise ValueError(f"{key} is {shown(value)}, neither a whole number nor a string")
    return int(found[1]) if (found := _WHOLE.fullmatch(value)) else value


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
        many = f"has {len(value)} numbers, not 4" if isinstance(value, list) else f"is {shown(value)}"
        raise ValueError(f"bbox {many}")
    for each in value:
        if not is_finite(each):
            raise ValueError(f"bbox holds {shown(each)}, which is not a finite number")
        if not -REACH < each < REACH:
            raise ValueError(f"bbox holds {shown(each)}, which is more than a million pixels away")
    x, y, w, h = value
    if w < 0 or h < 0:
        raise ValueError(f"bbox has the sides {shown(w)} and {shown(h)}, which are negative")
    return (x, y, w, h)


def _wrong_area(value: Any) -> str | None:
    """What an area is that is none; None for one that can be."""
    if not is_finite(value):
        return "not a finite number"
    return "negative" if value < 0 else "too large" if value >= _LARGEST_AREA else None


def _crowd(value: Any, repairs: list[str]) -> int:
    if value is None or value in (0, 1):
        return int(bool(value))
    if value in ("0", "1"):
        repairs.append("iscrowd is a string: read as a number")
        return int(value)
    repairs.append("iscrowd is neither 0 nor 1: read as 0")
    return 0


def _source(mask: Any) -> str:
    return "bbox" if mask is None else "segmentation"


def is_finite(value: Any) -> bool:
    """Whether a value is a number, however large, and neither infinite nor NaN."""
    return type(value) in NUMBERS and -math.inf < value < math.inf
