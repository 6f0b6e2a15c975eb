"""Every shape type: the pixels that it covers, or the reason why it covers none."""

import math

import numpy as np
import pytest
from labelme_files import png

from segkit.data.masks import rle_area, rle_to_mask, to_rle
from segkit.formats.shapes.raster import draw_shape
from segkit.formats.shapes.regions import NoRegion, Shape, ShapeOptions, to_region

H, W = 120, 200


def make(kind, points, **more):
    return Shape(number=0, label="a", shape_type=kind, flat=[float(v) for p in points for v in p], **more)


def area(shape, options=ShapeOptions()):
    return rle_area(to_rle(to_region(shape, H, W, options), H, W))


SQUARE = [(20, 20), (80, 20), (80, 70), (20, 70)]


@pytest.mark.parametrize(
    ("kind", "points", "expected"),
    [
        ("polygon", SQUARE, 3000),
        ("rectangle", [(20, 20), (80, 70)], 3000),
        ("rectangle", [(80, 70), (20, 20)], 3000),
        ("rectangle", [(20, 70), (80, 20)], 3000),
        ("rectangle", SQUARE, 3000),  # X-AnyLabeling's
        ("oriented_rectangle", [(50, 10), (90, 50), (70, 70), (30, 30)], 1600),
        ("rotation", SQUARE, 3000),
    ],
)
def test_shapes_with_an_outline_become_polygons(kind, points, expected):
    assert area(make(kind, points)) == pytest.approx(expected, abs=4)


@pytest.mark.parametrize("radius", [3, 10, 30, 55])
def test_a_circle_has_the_area_of_its_disc(radius):
    measured = area(make("circle", [(100, 60), (100 + radius, 60)]))
    assert measured == pytest.approx(math.pi * radius**2, rel=0.02, abs=4)


def test_polygons_keep_their_coordinates():
    points = [(1.123456789, 2.2), (30.000001, 4.4), (17.77, 50.5)]
    assert to_region(make("polygon", points), H, W, ShapeOptions()) == [[c for p in points for c in p]]


def test_a_mask_has_its_hole():
    ring = np.ones((51, 61), np.uint8)
    ring[10:20, 10:30] = 0
    rle = to_region(make("mask", [(20, 20), (80, 70)], mask=png(ring)), H, W, ShapeOptions())
    inside = rle_to_mask(rle)
    assert np.array_equal(inside[20:71, 20:81], ring)
    assert inside.sum() == ring.sum()


def test_a_mask_with_integer_corners_is_cropped_and_one_with_fractional_corners_is_not():
    full = png(np.ones((10, 10), np.uint8) * 255)
    assert area(make("mask", [(5, 5), (9, 9)], mask=full)) == 25
    assert area(make("mask", [(5.4, 5.6), (9.2, 9.1)], mask=full)) == 100


def test_a_mask_is_clipped_to_the_image():
    full = png(np.ones((10, 10), np.uint8))
    assert area(make("mask", [(W - 4, H - 3), (W + 5, H + 6)], mask=full)) == 12
    assert area(make("mask", [(-4, -3), (5, 6)], mask=full)) == 6 * 7


def test_lines_and_points_get_an_area_on_request():
    line, strip = make("line", [(20, 60), (120, 60)]), make("linestrip", [(20, 20), (120, 20), (120, 100)])
    assert area(line, ShapeOptions(line_width=10)) == 1000
    assert area(strip, ShapeOptions(line_width=10)) == pytest.approx(1000 + 800 + 25 * math.pi * 0.75 - 25, abs=60)
    assert area(make("point", [(50, 50)]), ShapeOptions(point_radius=5)) == pytest.approx(79, abs=2)


@pytest.mark.parametrize(
    ("shape", "why"),
    [
        (make("line", [(1, 1), (9, 9)]), "a line has no area; --line-width gives it one"),
        (make("linestrip", [(1, 1), (9, 9)]), "a linestrip has no area; --line-width gives it one"),
        (make("point", [(1, 1)]), "a point has no area; --point-radius gives it one"),
        (make("points", [(1, 1)]), "points are a prompt for LabelMe's AI tools, not an annotation"),
        (make("polygon", [(1, 1), (9, 9)]), "a polygon of 2 distinct points has no area"),
        (make("polygon", [(1, 1), (9, 9), (1, 1), (1, 1)]), "a polygon of 2 distinct points has no area"),
        (make("rectangle", [(1, 1)]), "a rectangle has 1 points, not 2"),
        (make("circle", [(5, 5), (5, 5)]), "a circle of radius 0 has no area"),
        (make("mask", [(1, 1), (9, 9)]), "a mask without a bitmap"),
        (make("mask", [(1, 1), (9, 9)], mask=png(np.zeros((9, 9)))), "an empty mask"),
        (make("spline", SQUARE), "unknown shape type 'spline'"),
    ],
)
def test_a_shape_without_a_region_has_a_reason(shape, why):
    with pytest.raises(NoRegion, match=f"^{why}"):
        to_region(shape, H, W, ShapeOptions())


@pytest.mark.parametrize("draw", [to_region, draw_shape])
@pytest.mark.parametrize(
    ("kind", "points", "more"),
    [
        ("circle", [(5, 5), (900_000, 900_000)], {}),
        ("line", [(5, 5), (30, 30)], {"line_width": 1e9}),
        ("linestrip", [(5, 5), (30, 30), (9, 40)], {"line_width": 1e9}),
        ("point", [(5, 5)], {"point_radius": 1e9}),
        ("point", [(5, 5)], {"point_radius": 1e300}),
    ],
)
def test_a_shape_that_reaches_a_million_pixels_away_has_no_region(draw, kind, points, more):
    with pytest.raises(NoRegion, match="more than a million pixels away"):
        draw(make(kind, points), H, W, ShapeOptions(**more))
