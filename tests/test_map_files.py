"""GeoTIFF: instances in map coordinates, read back by GDAL; areas in square metres where the map has metres."""

import csv
import json
import math
import sys

import numpy as np
import pytest
from drawn_discs import disc_model, draw_discs, save
from geotiffs import DEGREES, METRES, north_up, save_geotiff, turned
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from segkit.data.map_place import read_map_place
from segkit.data.masks import mask_to_rle, rle_to_mask
from segkit.data.pixel_size import PixelSize, read_pixel_size
from segkit.data.records import Result
from segkit.errors import InputError
from segkit.formats.map_files import geopackage, map_geojson
from segkit.formats.outlines import parts_of, rings_of

pyogrio = pytest.importorskip("pyogrio")

DISCS = [(20, 20, 8, 1), (50, 20, 10, 1), (20, 45, 6, 2)]


@pytest.fixture
def discs(monkeypatch, tmp_path):
    model = disc_model(tmp_path / "discs.pt")
    monkeypatch.setattr("segkit.inference.predict.load", lambda *_, **__: model)
    return draw_discs(60, 80, DISCS)


def layer(path):
    """The rows of the only layer as GDAL reads them, with area and box of each geometry, and the coordinate system."""
    (name,) = pyogrio.list_layers(path)[:, 0]
    meta, _, _, fields = pyogrio.raw.read(
        path, sql=f'SELECT *, OGR_GEOM_AREA AS covers FROM "{name}"', sql_dialect="OGRSQL"
    )
    _, boxes = pyogrio.read_bounds(path)
    rows = [dict(zip(meta["fields"], values, strict=True)) for values in zip(*fields, strict=True)]
    return [row | {"box": tuple(box)} for row, box in zip(rows, boxes.T.tolist(), strict=True)], meta["crs"]


def boxes_of(results, transform):
    """The boxes of masks on the map."""
    a, b, c, d, e, f = transform
    out = []
    for result in results:
        rows, columns = np.nonzero(rle_to_mask(result["segmentation"]))
        corners = [(x + i, y + j) for x, y in zip(columns, rows, strict=True) for i in (0, 1) for j in (0, 1)]
        xs, ys = zip(*((a * x + b * y + c, d * x + e * y + f) for x, y in corners), strict=True)
        out.append((min(xs), min(ys), max(xs), max(ys)))
    return out


TURN = 0.5 * np.array([math.cos(0.3), math.sin(0.3)])
TURNED = (TURN[0], TURN[1], 400_000.0, TURN[1], -TURN[0], 5_000_000.0)


@pytest.mark.parametrize(
    ("tags", "transform"),
    [(north_up(400_000.0, 5_000_000.0, 0.5), (0.5, 0, 400_000.0, 0, -0.5, 5_000_000.0)), (turned(*TURNED), TURNED)],
)
def test_instances_are_where_they_are_on_the_map(segkit, here, discs, tags, transform):
    save_geotiff(here / "in/a.tif", discs, tags)
    done = segkit("predict", "in", "--format", "gpkg,geojson,coco", "--measure")
    assert done.code == 0, done.err
    assert "a pixel is 0.5m, as the file says" in done.err
    results = json.loads((here / "predictions/results.json").read_text())
    boxes = boxes_of(results, transform)
    for path in (here / "predictions/gpkg/a.gpkg", here / "predictions/geojson/a.geojson"):
        rows, crs = layer(path)
        assert crs == "EPSG:32633"
        assert [(row["id"], row["category"]) for row in rows] == [(1, "a"), (2, "a"), (3, "b")]
        for row, result, box in zip(rows, results, boxes, strict=True):
            pixels = rle_to_mask(result["segmentation"]).sum()
            assert row["box"] == pytest.approx(box, abs=0.001)
            assert row["area_px2"] == pixels
            assert row["area_m2"] == pixels / 4
            assert row["covers"] == pytest.approx(pixels / 4, rel=1e-4)
            assert row["score"] == pytest.approx(result["score"], abs=1e-5)
    with (here / "predictions/instances.csv").open(newline="") as file:
        measured = list(csv.DictReader(file))
    assert [float(row["area_m2"]) for row in measured] == [row["area_m2"] for row in rows]


def test_files_are_the_same_every_time(segkit, here, discs):
    save_geotiff(here / "in/a.tif", discs, north_up(0.0, 0.0, 0.1))
    contents = []
    for out in ("one", "two"):
        assert segkit("predict", "in", "--format", "gpkg", "--out", out).code == 0
        contents.append((here / out / "gpkg/a.gpkg").read_bytes())
    assert contents[0] == contents[1]


def test_degrees_are_not_metres_and_that_is_said(segkit, here, discs):
    save_geotiff(here / "in/a.tif", discs, north_up(15.0, 45.0, 1e-6), DEGREES)
    done = segkit("predict", "in", "--format", "gpkg", "--measure")
    assert done.code == 0, done.err
    assert "a.tif: its coordinates are in degrees, not in metres: measured in pixels only" in done.err
    rows, crs = layer(here / "predictions/gpkg/a.gpkg")
    assert crs == "EPSG:4326"
    assert "area_m2" not in rows[0]
    assert rows[0]["box"] == pytest.approx((15 + 12e-6, 45 - 28e-6, 15 + 28e-6, 45 - 12e-6), abs=1e-9)
    with (here / "predictions/instances.csv").open(newline="") as file:
        assert "area_m2" not in next(csv.reader(file))


def test_pictures_without_coordinates_are_refused_or_said(segkit, here, discs):
    save_geotiff(here / "in/a.tif", discs, north_up(0.0, 0.0, 0.1))
    save(here / "in/b.png", discs)
    done = segkit("predict", "in", "--format", "gpkg")
    assert done.code == 1
    assert "b.png: has no map coordinates (GeoTIFF), which --format gpkg needs" in done.err
    assert [path.name for path in (here / "predictions/gpkg").iterdir()] == ["a.gpkg"]
    done = segkit("predict", "in", "--format", "geojson,qupath", "--out", "pixels")
    assert done.code == 0, done.err
    assert "b.png: has no map coordinates: its GeoJSON is in pixels" in done.err
    assert (here / "pixels/geojson/b.geojson").read_bytes() == (here / "pixels/qupath/b.geojson").read_bytes()


def test_a_geopackage_needs_its_package(segkit, here, discs, monkeypatch):
    save_geotiff(here / "in/a.tif", discs, north_up(0.0, 0.0, 0.1))
    monkeypatch.setitem(sys.modules, "pyogrio", None)
    done = segkit("predict", "in", "--format", "gpkg")
    assert done.code == 1
    assert done.err.startswith("error: --format gpkg: the package pyogrio is not installed\n")
    assert 'pip install "segkit[geo]"' in done.err
    assert not (here / "predictions").exists()


PIXELS = np.zeros((4, 6, 3), np.uint8)


def read(folder, tags, keys=METRES, **options):
    return read_map_place(save_geotiff(folder / "a.tif", PIXELS, tags, keys, **options))


def test_tags_say_where_a_picture_is(tmp_path):
    assert read(tmp_path, north_up(10.0, 20.0, 2.0)) == ((2.0, 0.0, 10.0, 0.0, -2.0, 20.0), 32633, 1.0, "")
    points = read(tmp_path, north_up(10.0, 20.0, 2.0), METRES | {1025: 2})
    assert points.transform == (2.0, 0.0, 9.0, 0.0, -2.0, 21.0)
    tie = [(33550, "d", 3, (2.0, 2.0, 0.0), True), (33922, "d", 6, (3.0, 1.0, 0.0, 16.0, 18.0, 0.0), True)]
    assert read(tmp_path, tie).transform == (2.0, 0.0, 10.0, 0.0, -2.0, 20.0)
    feet = read(tmp_path, north_up(0.0, 0.0, 1.0), {1024: 1, 3072: 2263, 3076: 9003})
    assert feet.pixel_area == pytest.approx((1200 / 3937) ** 2)
    own = read(tmp_path, north_up(0.0, 0.0, 1.0), {1024: 1, 3072: 32767, 3076: 9001})
    assert (own.epsg, own.metres) == (None, 1.0)
    assert read(tmp_path, []) is None
    assert read_map_place(tmp_path / "no.tif") is None
    assert read_map_place(save(tmp_path / "a.png", PIXELS)) is None


@pytest.mark.parametrize(
    ("tags", "keys", "why"),
    [
        (north_up(0.0, 0.0, 1.0), {1024: 1, 3072: 3857, 3076: 9001}, "Mercator"),
        (north_up(0.0, 0.0, 1.0), {1024: 1, 3072: 2263}, "in which unit"),
        (north_up(0.0, 0.0, (1.0, 2.0)), METRES, r"not square \(1 x 2 m\)"),
        (turned(1.0, 0.5, 0.0, 0.0, -1.0, 0.0), METRES, "not square"),
    ],
)
def test_sizes_of_pixels_that_are_no_lengths_are_not_used(tmp_path, tags, keys, why):
    path = save_geotiff(tmp_path / "a.tif", PIXELS, tags, keys)
    with pytest.raises(InputError, match=why):
        read_pixel_size(path)


def test_a_foot_is_not_a_metre(tmp_path):
    keys = {1024: 1, 3072: 2263, 3076: 9002}
    path = save_geotiff(tmp_path / "a.tif", PIXELS, north_up(0.0, 0.0, 1.0), keys)
    assert read_pixel_size(path) == PixelSize(pytest.approx(0.3048), "m")


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        ([(33922, "d", 18, tuple(float(n) for n in range(18)), True)], "control points"),
        (turned(1.0, 1.0, 0.0, 1.0, 1.0, 0.0), "damaged"),
        (turned(math.nan, 0.0, 0.0, 0.0, 1.0, 0.0), "damaged"),
    ],
)
def test_coordinates_without_sense_are_named(tmp_path, tags, why):
    with pytest.raises(InputError, match=why):
        read(tmp_path, tags)


def test_a_picture_that_is_turned_by_its_tag_has_no_place(tmp_path):
    with pytest.raises(InputError, match="orientation"):
        read(tmp_path, [*north_up(0.0, 0.0, 1.0), (274, "H", 1, 6, True)])


def test_a_map_without_an_epsg_number(tmp_path):
    place = read(tmp_path, north_up(0.0, 0.0, 1.0), {1024: 1, 3072: 32767, 3076: 9001})
    result = Result(1, 1, 0.5, None, mask_to_rle(np.ones((4, 6), np.uint8)))
    (tmp_path / "a.gpkg").write_bytes(geopackage([result], {1: "a"}, 4, 6, place, "a"))
    rows, crs = layer(tmp_path / "a.gpkg")
    assert rows[0]["area_m2"] == 24
    assert "EPSG" not in (crs or "")


def test_a_picture_without_instances_has_an_empty_layer(tmp_path):
    place = read(tmp_path, north_up(0.0, 0.0, 1.0))
    (tmp_path / "a.gpkg").write_bytes(geopackage([], {1: "a"}, 4, 6, place, "a"))
    assert pyogrio.read_info(tmp_path / "a.gpkg", layer="a")["features"] == 0
    assert json.loads(map_geojson([], {1: "a"}, 4, 6, place))["features"] == []


@settings(max_examples=40, deadline=None)
@given(arrays.arrays(np.uint8, st.tuples(st.integers(2, 9), st.integers(2, 9)), elements=st.integers(0, 1)))
def test_polygons_do_not_touch_themselves(mask):
    result = Result(0, 1, 0.5, None, mask_to_rle(mask))
    parts = parts_of(*rings_of(result, *mask.shape)) if mask.any() else []
    for ring in (ring for part in parts for ring in part):
        assert len(set(ring)) == len(ring) >= 4
    areas = [
        sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(r, [*r[1:], r[0]], strict=True)) for p in parts for r in p
    ]
    assert sum(areas) == 2 * mask.sum()
