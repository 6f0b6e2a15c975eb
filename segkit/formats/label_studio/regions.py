"""The regions of a Label Studio annotation: their labels, and their outlines in pixels."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from segkit.data.masks import mask_to_rle, rle_area, rle_bbox
from segkit.data.records import Instance
from segkit.formats.label_studio.brush import decode_brush
from segkit.formats.pictures.look import declared_size
from segkit.formats.shapes.turned import ellipse, turned

_GEOMETRY = ("polygon", "brush", "rectangle", "ellipse", "keypoint")
_OUTLINE = ("points", "rle", "x", "y", "width", "height", "rotation", "radiusX", "radiusY")


class Region(NamedTuple):
    """A region: its kind, its labels, and its result record."""

    kind: str
    labels: list[str]
    raw: dict[str, Any]


def regions_of(results: Sequence[Any]) -> list[Region]:
    """The regions among results; labels may be a result of their own with the same id.

    Each of these repeats the outline, or has none. Another outline with the same id is another region: programs that
    write annotations for Label Studio may give all of them one id.
    """
    regions: dict[str, list[Region]] = {}  # by id
    said: dict[str, list[tuple[Region | None, str]]] = {}  # the labels of an id, of one of its regions or of all
    for number, raw in enumerate(results):
        value = raw.get("value") if isinstance(raw, dict) else None
        if not isinstance(value, dict):
            continue
        kind = str(raw.get("type", "")).removesuffix("labels")
        kind = kind if kind in _GEOMETRY else _kind_of(value)
        lists = [each for name, each in value.items() if name.endswith("labels") and isinstance(each, list)]
        labels = [
            str(label) for each in lists for label in each if isinstance(label, str | int | float) and label != ""
        ]
        own = str(raw.get("id", f"#{number}"))
        region = None
        if kind in _GEOMETRY:
            those = regions.setdefault(own, [])
            region = next(
                (each for each in those if each.kind == kind and _same_outline(each.raw["value"], value)), None
            )
            if region is None:
                region = Region(kind, [], raw)
                those.append(region)
        said.setdefault(own, []).extend((region, label) for label in labels)
    return [
        region._replace(labels=list(dict.fromkeys(label for of, label in said[own] if of is None or of is region)))
        for own, those in regions.items()
        for region in those
    ]


def _same_outline(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two values of one id have the same outline, or one of them says less of it."""
    return all(one[name] == other[name] for name in _OUTLINE if name in one and name in other)


def _kind_of(value: dict[str, Any]) -> str:
    """The kind of a region that has no type, as in JSON-MIN."""
    for kind in _GEOMETRY:
        if f"{kind}labels" in value:
            return kind
    if "rle" in value:
        return "brush"
    if "points" in value:
        return "polygon"
    if "radiusX" in value:
        return "ellipse"
    return "rectangle" if {"x", "y", "width", "height"} <= value.keys() else ""


def size_of(regions: Sequence[Region]) -> tuple[int, int] | None:
    """(height, width) of the image that regions were drawn on, if they say it."""
    for region in regions:
        size = declared_size(region.raw.get("original_height"), region.raw.get("original_width"))
        if size is not None:
            return size
    return None


def brush_instance(region: Region, label: str, height: int, width: int) -> Instance:
    """The instance of a brush.

    Args:
        region: The region.
        label: Its category.
        height: Of the image.
        width: Likewise.

    Raises:
        ValueError: Its run lengths are invalid, or it is empty.
    """
    value = region.raw["value"]
    rle = value.get("rle")
    if not isinstance(rle, list):
        raise ValueError("a brush mask that is not a list of bytes")
    encoded = mask_to_rle(decode_brush(rle, height, width))
    if not (area := rle_area(encoded)):
        raise ValueError("covers no pixel of the image")
    return Instance(label, encoded, rle_bbox(encoded), area)


def box_instance(region: Region, label: str, height: int, width: int) -> Instance:
    """The instance of a rectangle that is not turned.

    Args:
        region: The region.
        label: Its category.
        height: Of the image.
        width: Likewise.

    Raises:
        ValueError: Its numbers are none, or it covers nothing.
    """
    x, y, w, h = (_number(region, name) / 100 for name in ("x", "y", "width", "height"))
    return Instance.of_box(label, (x * width, y * height, w * width, h * height), height, width)


def is_turned(region: Region) -> bool:
    """Whether a rectangle is turned."""
    turn = region.raw["value"].get("rotation")
    return type(turn) in (int, float) and turn % 360 != 0


def entry_of(region: Region, label: str, height: int, width: int) -> dict[str, Any]:
    """A region as an entry of LabelMe's ``shapes``, so that the same code reads it.

    Args:
        region: The region.
        label: Its label.
        height: Of the image.
        width: Likewise.

    Raises:
        ValueError: Its numbers are none.
    """
    kind = "point" if region.kind == "keypoint" else "polygon"
    if region.kind == "polygon":
        raw = region.raw["value"].get("points")
        points = [_point(pair, height, width) for pair in raw] if isinstance(raw, list) else None
    elif region.kind == "keypoint":
        points = [_point([_number(region, "x"), _number(region, "y")], height, width)]
    elif region.kind == "ellipse":
        points = _ellipse(region, height, width)
    else:
        points = _rectangle(region, height, width)
    return {"label": label, "shape_type": kind, "points": points}


def _number(region: Region, name: str) -> float:
    value = region.raw["value"].get(name)
    if type(value) not in (int, float) or not abs(value) < 1e6:
        raise ValueError(f"{name} is not a finite number")
    return float(value)


def _point(pair: Any, height: int, width: int) -> Any:
    """A point in percent of the image, in pixels; what is no point stays as it is, and becomes a finding."""
    numbers = isinstance(pair, list) and len(pair) == 2 and all(type(each) in (int, float) for each in pair)
    return [pair[0] * width / 100, pair[1] * height / 100] if numbers else pair


def _rectangle(region: Region, height: int, width: int) -> list[list[float]]:
    """The corners of a rectangle, turned about its first corner."""
    x, y, w, h, turn = (_number(region, name) for name in ("x", "y", "width", "height", "rotation"))
    left, top, w, h = x * width / 100, y * height / 100, w * width / 100, h * height / 100
    return [turned(left, top, dx, dy, math.radians(turn)) for dx, dy in ((0.0, 0.0), (w, 0.0), (w, h), (0.0, h))]


def _ellipse(region: Region, height: int, width: int) -> list[list[float]]:
    x, y, rx, ry = (_number(region, name) for name in ("x", "y", "radiusX", "radiusY"))
    cx, cy, rx, ry = x * width / 100, y * height / 100, rx * width / 100, ry * height / 100
    turn = _number(region, "rotation") if "rotation" in region.raw["value"] else 0.0
    return ellipse(cx, cy, rx, ry, math.radians(turn))
