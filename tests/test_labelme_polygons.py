"""Polygons in LabelMe files of ``predict``: within the tolerance that was named, and read back as the instances."""

import json

import cv2
import numpy as np
import pytest
from drawn_discs import disc_model, draw_discs, save
from hypothesis import given
from hypothesis import strategies as st

from segkit.config.predict import PredictConfig
from segkit.data.contours import trace
from segkit.data.masks import mask_ious, mask_to_rle, polygons_to_rle
from segkit.data.records import Result
from segkit.errors import ConfigError
from segkit.formats.labelme.write import result_shapes


@st.composite
def blobs(draw):
    """Masks without holes, of one part or several."""
    mask = np.zeros((60, 70), np.uint8)
    for _ in range(draw(st.integers(1, 3))):
        centre = draw(st.integers(8, 60)), draw(st.integers(8, 50))
        axes = draw(st.integers(1, 12)), draw(st.integers(1, 12))
        cv2.ellipse(mask, centre, axes, draw(st.integers(0, 90)), 0, 360, 1, -1)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(mask, contours, -1, 1, -1)


def shapes_of(mask, tolerance):
    result = Result(0, 1, 0.9, None, mask_to_rle(mask))
    return list(result_shapes([result], {1: "cell"}, *mask.shape, tolerance))


@given(blobs(), st.sampled_from([0.0, 0.5, 1.0, 3.0]))
def test_no_corner_of_the_outline_is_farther_away_than_the_tolerance(mask, tolerance):
    shapes = shapes_of(mask, tolerance)
    outer, holes = trace(mask > 0)
    if holes:
        assert [shape["shape_type"] for shape in shapes] == ["mask"]
        return
    assert len(shapes) == len(outer)
    assert len({shape["group_id"] for shape in shapes}) == 1
    for ring, shape in zip(outer, shapes, strict=True):
        polygon = np.array(shape["points"], np.float32)
        assert len(polygon) >= 3
        away = [abs(cv2.pointPolygonTest(polygon, (float(x), float(y)), True)) for x, y in ring]
        assert max(away) <= tolerance + 1e-4


@given(blobs())
def test_with_no_tolerance_the_polygons_cover_the_same_pixels(mask):
    shapes = shapes_of(mask, 0.0)
    if shapes[0]["shape_type"] == "polygon":
        flat = [np.array(shape["points"]).ravel().tolist() for shape in shapes]
        rle = polygons_to_rle(flat, *mask.shape)
        assert mask_ious([rle], [mask_to_rle(mask)], [False])[0, 0] == 1.0


def test_a_mask_with_a_hole_stays_a_mask():
    mask = np.ones((20, 20), np.uint8)
    mask[8:12, 8:12] = 0
    assert [shape["shape_type"] for shape in shapes_of(mask, 1.0)] == ["mask"]


def test_polygons_are_converted_back_to_the_instances(segkit, here, monkeypatch):
    monkeypatch.setattr("segkit.inference.predict.load", lambda *_, **__: disc_model(here / "m.pt"))
    save(here / "in/a.png", draw_discs(120, 130, [(40, 40, 25, 1), (90, 80, 30, 2)]))
    options = ["--score", 0.1, "--format", "labelme,coco", "--polygon-tolerance", 1, "--device", "cpu"]
    outcome = segkit("predict", "in", *options)
    assert outcome.code == 0, outcome.err
    assert segkit("convert", "predictions/labelme", "--out", "d", "--val", 0).code == 0
    back = json.loads((here / "d/train.json").read_text())["annotations"]
    found = json.loads((here / "predictions/results.json").read_text())
    assert len(back) == len(found) == 2
    polygons = sorted((polygons_to_rle(each["segmentation"], 120, 130) for each in back), key=str)
    ious = mask_ious(polygons, [each["segmentation"] for each in found], [False, False])
    assert sorted(ious.max(axis=1).round(2).tolist())[0] >= 0.95
    assert all(len(each["segmentation"][0]) < 60 for each in back)


def test_a_tolerance_without_labelme_files_is_refused():
    with pytest.raises(ConfigError, match="--polygon-tolerance is for LabelMe files"):
        PredictConfig(source=["in"], polygon_tolerance=1.0)
