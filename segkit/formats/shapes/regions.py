"""LabelMe's shapes as regions of an image: one rule per shape type (``docs/labelme-format.md``).

LabelMe's canvas is continuous: pixel (row i, column j) spans [j, j + 1) x [i, i + 1). So do COCO's polygons, which
therefore carry over with their coordinates untouched.
"""

import binascii
import io
import math
from base64 import b64decode
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from segkit.data.masks import crop_to_rle, polygons_to_rle
from segkit.data.pictures import MAX_MASK_PIXELS, without_pillows_limit
from segkit.data.polygons import REACH
from segkit.data.records import Polygons, Rle, Segmentation

Point = tuple[float, float]

# A circle has a chord for each degree, and more where chords would be further from it (px) than this.
_CHORDS, _SAGITTA = 360, 0.25
_MAX_TIMES, _MAX_PIXELS = 4, 1 << 20  # a bitmap of so many times the image's pixels, and more, is a mistake
OUTLINED = ("polygon", "oriented_rectangle", "rotation", "quadrilateral")  # the last two are X-AnyLabeling's


@dataclass(frozen=True, slots=True)
class Shape:
    """A shape as drawn; ``number`` is its index in the file, from 0."""

    number: int
    label: str
    shape_type: str
    flat: list[float]  # x1, y1, x2, y2, ...
    group_id: int | str | None = None
    mask: str | None = None  # base64 of a PNG, for shape type "mask"
    attributes: dict[str, Any] | None = None

    @property
    def points(self) -> list[Point]:
        """The same as pairs."""
        return list(zip(self.flat[0::2], self.flat[1::2], strict=True))


class NoRegion(Exception):
    """The shape covers no area; the message says why."""


@dataclass(frozen=True, slots=True)
class ShapeOptions:
    """How shapes become instances.

    Attributes:
        line_width: Gives lines an area, in pixels; None: they are left out.
        point_radius: Gives points an area: a disc of this radius in pixels; None: they are left out.
        hole_label: The label of shapes that are cut out of the other shapes of their group.
        as_labelme: Use the pixels of LabelMe's own masks, which have the outline, too.
    """

    line_width: float | None = None
    point_radius: float | None = None
    hole_label: str | None = None
    as_labelme: bool = False


def to_region(shape: Shape, height: int, width: int, options: ShapeOptions) -> Segmentation:
    """The region of a shape, as polygons where it is one, else as RLE.

    Args:
        shape: The shape.
        height: Of the image.
        width: Likewise.
        options: How lines and points get an area.

    Raises:
        NoRegion: It has none.
    """
    if shape.shape_type in OUTLINED or (shape.shape_type == "rectangle" and len(shape.flat) == 8):
        distinct = len(set(shape.points)) if len(shape.flat) <= 8 else 3  # long ones show by covering nothing
        _need(distinct >= 3, f"a polygon of {distinct} distinct points has no area")
        return [shape.flat]
    points = shape.points
    match shape.shape_type:
        case "rectangle":
            _need(len(points) == 2, f"a rectangle has {len(points)} points, not 2")
            (x1, y1), (x2, y2) = points
            left, right, top, bottom = min(x1, x2), max(x1, x2), min(y1, y2), max(y1, y2)
            return [[left, top, right, top, right, bottom, left, bottom]]
        case "cuboid":
            return [_hull(points)]
        case "circle":
            _need(len(points) == 2, f"a circle has {len(points)} points, not 2")
            return _circle(points[0], math.dist(*points))
        case "mask":
            return _bitmap(shape, height, width)
        case "line" | "linestrip":
            _need(options.line_width is not None, f"a {shape.shape_type} has no area; --line-width gives it one")
            _need(len(points) >= 2, f"a {shape.shape_type} of {len(points)} points has no area")
            return _strokes(points, options.line_width or 0.0, height, width)
        case "point":
            _need(options.point_radius is not None, "a point has no area; --point-radius gives it one")
            _need(len(points) == 1, f"a point shape has {len(points)} points, not 1")
            return _circle(points[0], options.point_radius or 0.0)
        case "points":
            raise NoRegion("points are a prompt for LabelMe's AI tools, not an annotation")
        case other:
            raise NoRegion(f"unknown shape type {other!r}")


def _need(holds: bool, why_not: str) -> None:
    if not holds:
        raise NoRegion(why_not)


def need_within_reach(centre: Point, radius: float) -> None:
    """Check that a disc is not so large that it takes minutes to draw, or overflows.

    Raises:
        NoRegion: It is.
    """
    reaches = max(map(abs, centre)) + radius
    _need(reaches < REACH, "it reaches more than a million pixels away")


def _hull(points: list[Point]) -> list[float]:
    """The outline of a box drawn in perspective: the convex hull of its corners (monotone chains), flat."""
    corners = sorted(set(points))
    _need(len(corners) >= 3, f"a cuboid of {len(corners)} distinct points has no area")
    outline: list[Point] = []
    for chain in (corners, corners[::-1]):
        begin = len(outline)
        for x, y in chain:
            while len(outline) >= begin + 2:
                (x0, y0), (x1, y1) = outline[-2:]
                if (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) > 0:
                    break
                outline.pop()
            outline.append((x, y))
        outline.pop()
    _need(len(outline) >= 3, "a cuboid whose corners are on one line has no area")
    return [value for point in outline for value in point]


def _circle(centre: Point, radius: float) -> Polygons:
    _need(radius > 0, "a circle of radius 0 has no area")
    need_within_reach(centre, radius)
    chords = max(_CHORDS, math.ceil(math.pi / math.acos(1 - _SAGITTA / radius)) if radius > 1 else 0)
    angles = [2 * math.pi * k / chords for k in range(chords)]
    return [[value for a in angles for value in (centre[0] + radius * math.cos(a), centre[1] + radius * math.sin(a))]]


def _strokes(points: list[Point], width: float, height: int, image_width: int) -> Rle:
    """Rectangles along the segments with round joints, as one region."""
    _need(width > 0, "a line of width 0 has no area")
    for point in points:
        need_within_reach(point, width / 2)
    parts: Polygons = []
    for (x1, y1), (x2, y2) in pairwise(points):
        length = math.dist((x1, y1), (x2, y2))
        if length > 0:
            dx, dy = (y1 - y2) / length * width / 2, (x2 - x1) / length * width / 2
            parts.append([x1 + dx, y1 + dy, x2 + dx, y2 + dy, x2 - dx, y2 - dy, x1 - dx, y1 - dy])
    _need(bool(parts), "a line of length 0 has no area")
    for joint in points[1:-1]:
        parts += _circle(joint, width / 2)
    return polygons_to_rle(parts, height, image_width)


def _bitmap(shape: Shape, height: int, width: int) -> Rle:
    """Place a mask's bitmap by LabelMe 7.1's rule.

    Corners are inclusive. Whole-number corners crop the bitmap to their box; fractional ones place it by rounding.
    """
    _need(len(shape.points) == 2, f"a mask has {len(shape.points)} points, not 2")
    _need(bool(shape.mask), "a mask without a bitmap")
    try:
        with without_pillows_limit(), Image.open(io.BytesIO(b64decode(shape.mask or ""))) as picture:
            fits = math.prod(picture.size) <= min(_MAX_TIMES * height * width + _MAX_PIXELS, MAX_MASK_PIXELS)
            _need(fits, "a bitmap much larger than the image")
            bitmap = np.asarray(picture)
    except (OSError, ValueError, binascii.Error, SyntaxError, EOFError, IndexError, TypeError) as error:
        raise NoRegion(f"the mask's bitmap cannot be decoded: {error}") from error
    _need(bitmap.ndim in (2, 3), "the mask's bitmap is not an image")
    inside = _inside(bitmap)
    (x1, y1), (x2, y2) = shape.points
    left, top = _round(min(x1, x2)), _round(min(y1, y2))
    if all(float(value).is_integer() for point in shape.points for value in point):
        inside = inside[: _round(abs(y2 - y1)) + 1, : _round(abs(x2 - x1)) + 1]
    _need(bool(inside.any()), "an empty mask")
    return crop_to_rle(inside, top, left, height, width)


def _inside(bitmap: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Whether a pixel is not zero in any channel; transparent pixels are outside."""
    if bitmap.ndim == 2:
        return np.asarray(bitmap > 0)
    opaque = bitmap[..., -1] > 0 if bitmap.shape[2] in (2, 4) else True
    colours = bitmap[..., :-1] if bitmap.shape[2] in (2, 4) else bitmap
    return np.asarray((colours.max(axis=2) > 0) & opaque)


def _round(value: float) -> int:
    return math.floor(value + 0.5)
