"""Shapes with the pixels of LabelMe's own masks (``--raster labelme``), to reproduce them.

LabelMe draws with Pillow, which paints the outline too: every region is half a pixel wider than by COCO's rule, lines
are ten pixels wide and points discs of radius five. See ``docs/labelme-format.md``.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from segkit.data.masks import mask_to_rle
from segkit.data.records import Rle, Segmentation
from segkit.formats.shapes.regions import OUTLINED, NoRegion, Shape, ShapeOptions, need_within_reach, to_region

_LINE_WIDTH, _POINT_RADIUS = 10, 5  # LabelMe's own


def draw_shape(shape: Shape, height: int, width: int, options: ShapeOptions) -> Segmentation:
    """The pixels that LabelMe gives a shape.

    Args:
        shape: The shape.
        height: Of the image.
        width: Likewise.
        options: Line width and point radius, where they are not LabelMe's.

    Raises:
        NoRegion: LabelMe gives it none.
    """
    points = shape.points
    match shape.shape_type, len(points):
        case ("circle", 2):
            return _ellipse(points[0], math.dist(*points), height, width)
        case ("point", 1):
            radius = _POINT_RADIUS if options.point_radius is None else options.point_radius
            return _ellipse(points[0], radius, height, width)
        case ("rectangle", 2):
            (x1, y1), (x2, y2) = points
            box = ((min(x1, x2), min(y1, y2)), (max(x1, x2), max(y1, y2)))
            return _drawn(height, width, lambda pen: pen.rectangle(box, fill=1, outline=1))
        case ("line", 2) | ("linestrip", _) if len(points) > 1:
            stroke = _LINE_WIDTH if options.line_width is None else max(1, round(options.line_width))
            for point in points:
                need_within_reach(point, stroke / 2)
            return _drawn(height, width, lambda pen: pen.line(points, fill=1, width=stroke))
        case (kind, count) if kind in (*OUTLINED, "rectangle") and count > 2:
            return _drawn(height, width, lambda pen: pen.polygon(points, fill=1, outline=1))
        case _:
            return to_region(shape, height, width, options)  # masks, and shapes without a region


def _ellipse(centre: tuple[float, float], radius: float, height: int, width: int) -> Rle:
    need_within_reach(centre, radius)
    (x, y), r = centre, radius
    box = ((x - r, y - r), (x + r, y + r))
    return _drawn(height, width, lambda pen: pen.ellipse(box, fill=1, outline=1))


def _drawn(height: int, width: int, draw: Callable[[Any], None]) -> Rle:
    canvas = Image.new("L", (width, height))
    draw(ImageDraw.Draw(canvas))
    pixels = np.asarray(canvas)
    if not pixels.any():
        raise NoRegion("covers no pixel of the image")
    return mask_to_rle(pixels)
