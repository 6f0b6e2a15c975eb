"""What ``predict`` writes for people and for other programs, read back by its own library, if any."""

import io
import json
import sys
import zipfile

import numpy as np
import pytest
import roifile
from drawn_discs import disc_model, draw_discs, save
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from segkit.data.masks import mask_to_rle, rle_to_mask
from segkit.data.overlay import category_colours, class_map_picture, draw_overlay
from segkit.data.records import Result
from segkit.formats.outlines import qupath_document, write_imagej

DISCS = [(20, 20, 8, 1), (50, 20, 10, 1), (20, 45, 6, 2)]
NAMES = {1: "a", 2: "b"}


@pytest.fixture
def discs(monkeypatch, tmp_path):
    def use(*, unet=False):
        model = disc_model(tmp_path / "discs.pt", unet=unet)
        monkeypatch.setattr("segkit.inference.predict.load", lambda *_, **__: model)

    use()
    return use


def filled(rings, height, width):
    """The pixels whose centres are inside outlines, by the even-odd rule."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    inside = np.zeros((height, width), bool)
    for ring in rings:
        for (x1, y1), (x2, y2) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            if y1 != y2:
                between = (rows > min(y1, y2)) & (rows < max(y1, y2))
                inside ^= between & (columns > x1 + (rows - y1) * (x2 - x1) / (y2 - y1))
    return inside


MASKS = arrays.arrays(np.uint8, st.tuples(st.integers(2, 12), st.integers(2, 12)), elements=st.integers(0, 1))


@settings(max_examples=60, deadline=None)
@given(MASKS)
def test_imagej_reads_the_masks(tmp_path_factory, mask):
    path = tmp_path_factory.mktemp("roi") / "a.zip"
    height, width = mask.shape
    write_imagej(path, [Result(0, 1, 0.5, None, mask_to_rle(mask))], NAMES, height, width)
    found = roifile.roiread(path) if zipfile.ZipFile(path).namelist() else []
    if not mask.any():
        assert not len(found)
        return
    (roi,) = found
    rings = roi.coordinates(multi=True)
    rings = [rings] if isinstance(rings, np.ndarray) else rings
    assert (filled([ring for ring in rings if len(ring) > 1], height, width) == mask).all()
    rows, columns = np.nonzero(mask)
    assert (roi.left, roi.top, roi.right, roi.bottom) == (
        columns.min(), rows.min(), columns.max() + 1, rows.max() + 1,
    )  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(MASKS)
def test_geojson_has_the_masks(mask):
    height, width = mask.shape
    document = qupath_document([Result(0, 2, 0.5, None, mask_to_rle(mask))], NAMES, category_colours(NAMES), "k", 9, 9)
    if not mask.any():
        assert document["features"] == []
        return
    (feature,) = document["features"]
    geometry = feature["geometry"]
    polygons = [geometry["coordinates"]] if geometry["type"] == "Polygon" else geometry["coordinates"]
    assert all(ring[0] == ring[-1] for polygon in polygons for ring in polygon)
    parts = [filled([np.array(ring[:-1]) for ring in polygon], height, width) for polygon in polygons]
    assert (np.sum(parts, axis=0) == mask).all()  # no pixel twice: each hole is in its own part


def test_a_ring_inside_a_ring_has_its_own_hole():
    mask = np.zeros((11, 11), np.uint8)
    mask[:] = 1
    mask[1:-1, 1:-1] = 0
    mask[3:-3, 3:-3] = 1
    mask[5, 5] = 0
    document = qupath_document(
        [Result(0, 1, 0.5, None, mask_to_rle(mask))], NAMES, category_colours(NAMES), "k", 11, 11
    )
    polygons = document["features"][0]["geometry"]["coordinates"]
    assert [len(polygon) for polygon in polygons] == [2, 2]
    assert sorted(len(filled([np.array(r[:-1]) for r in p], 11, 11).nonzero()[0]) for p in polygons) == [24, 40]


def test_files_for_other_programs(segkit, here, discs):
    pixels = draw_discs(60, 80, DISCS)
    save(here / "in/a.png", pixels)
    done = segkit("predict", "in", "--format", "imagej,qupath,crops,coco")
    assert done.code == 0, done.err
    results = json.loads((here / "predictions/results.json").read_text())
    rois = roifile.roiread(here / "predictions/imagej/a.zip")
    assert [roi.name for roi in rois] == ["0001-a", "0002-a", "0003-b"]
    features = json.loads((here / "predictions/qupath/a.geojson").read_text())["features"]
    assert [f["properties"]["classification"]["name"] for f in features] == ["a", "a", "b"]
    assert [f["properties"]["measurements"]["id"] for f in features] == [1, 2, 3]
    for result, roi, feature in zip(results, rois, features, strict=True):
        mask = rle_to_mask(result["segmentation"])
        assert (filled([roi.coordinates()], 60, 80) == mask).all()
        assert (filled([np.array(feature["geometry"]["coordinates"][0][:-1])], 60, 80) == mask).all()
    with zipfile.ZipFile(here / "predictions/crops/a.zip") as archive:
        assert archive.namelist() == ["0001-a.png", "0002-a.png", "0003-b.png"]
        crops = [np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name in archive.namelist()]
    for crop, result in zip(crops, results, strict=True):
        mask = rle_to_mask(result["segmentation"]) > 0
        assert (crop[..., 3] == 255).sum() == mask.sum()
        assert (crop[..., :3][crop[..., 3] == 255] == pixels[mask]).all()


def test_imagej_files_without_roifile_are_refused(segkit, here, discs, monkeypatch):
    save(here / "in/a.png", draw_discs(60, 80, DISCS))
    monkeypatch.setitem(sys.modules, "roifile", None)
    done = segkit("predict", "in", "--format", "imagej")
    assert done.code == 1
    assert done.err.startswith("error: --format imagej: the package roifile is not installed\n")
    assert not (here / "predictions").exists()


def test_class_maps_are_not_cut_by_score_and_have_ids_and_colours(segkit, here, discs):
    discs(unet=True)
    pixels = draw_discs(60, 80, DISCS)
    save(here / "in/a.png", pixels)
    done = segkit("predict", "in", "--score", "0.99", "--format", "classmap,coco,overlay")
    assert done.code == 0, done.err
    assert json.loads((here / "predictions/results.json").read_text()) == []
    with Image.open(here / "predictions/classmap/a.png") as picture:
        labels, palette = np.asarray(picture), picture.getpalette()
    assert (labels == np.where(pixels[..., 0] > 128, 1, np.where(pixels[..., 1] > 128, 2, 0))).all()
    assert [tuple(palette[3 * n : 3 * n + 3]) for n in (1, 2)] == list(category_colours(NAMES).values())


@pytest.mark.parametrize(
    ("ids", "mode", "values"), [((3, 200), "P", (3, 200)), ((3, 300), "I;16", (3, 300)), ((3, 70000), "P", (1, 2))]
)
def test_class_maps_have_the_ids_of_the_categories(tmp_path, ids, mode, values):
    labels = np.array([[0, 1], [2, 2]], np.uint8)
    class_map_picture(labels, dict(zip(ids, "ab", strict=True))).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode == mode
        assert np.asarray(picture).tolist() == [[0, values[0]], [values[1], values[1]]]


def results_of(discs, height, width):
    masks = [draw_discs(height, width, [disc]).any(axis=2) for disc in discs]
    return [Result(0, disc[3], 0.9, None, mask_to_rle(mask)) for disc, mask in zip(discs, masks, strict=True)], masks


@pytest.mark.parametrize("size", [(300, 400), (1500, 2000)])
def test_an_overlay_hides_little(size):
    height, width = size
    grey = np.full((*size, 3), 90, np.uint8)
    scale = width // 400
    discs = [
        (x * scale, y * scale, 14 * scale, 1 + (x + y) % 2) for x in range(30, 390, 50) for y in range(30, 290, 45)
    ]
    results, masks = results_of(discs, *size)
    drawn = draw_overlay(grey, results, NAMES)
    assert drawn.shape[0] > height  # the legend is below
    assert drawn.shape[1] == width
    changed = (drawn[:height] != 90).any(axis=2)
    inside = np.any(masks, axis=0)
    assert not (changed & ~inside).any()  # 48 instances are not filled and have no tags
    line = max(1, round(width / 700))
    for mask in masks:
        assert 0 < (changed & mask).sum() < 2 * np.pi * 14 * scale * (line + 1)


def test_tags_of_few_instances_stand_beside_them():
    grey = np.full((300, 400, 3), 90, np.uint8)
    results, masks = results_of([(100, 100, 30, 1), (300, 200, 40, 2)], 300, 400)
    inside = np.any(masks, axis=0)
    tagged, plain = (draw_overlay(grey, results, NAMES, tags)[:300] for tags in ("score", "none"))
    assert (tagged[inside] == plain[inside]).all()
    assert (tagged != plain).any()
    assert ((plain != 90).any(axis=2) == inside).all()  # few are filled


def test_the_line_width_is_the_one_asked_for():
    grey = np.full((100, 100, 3), 90, np.uint8)
    results, _ = results_of([(50, 50, 30, 1)], 100, 100)
    shade = np.array(category_colours(NAMES)[1])
    for width in (1, 3, 8):
        row = (draw_overlay(grey, results, NAMES, "none", width)[50, :50] == shade).all(axis=1)
        assert row.sum() == width


def test_an_overlay_of_a_class_map_has_a_legend_with_shares():
    grey = np.full((60, 200, 3), 90, np.uint8)
    labels = np.zeros((60, 200), np.uint8)
    labels[:, :50] = 2
    drawn = draw_overlay(grey, [], NAMES, class_map=labels)
    assert ((drawn[:60] != 90).any(axis=2) == (labels > 0)).all()
    shades = [(drawn[60:] == np.array(shade)).all(axis=2).any() for shade in category_colours(NAMES).values()]
    assert shades == [False, True]  # only what occurs
