"""``predict --measure``: known shapes, scikit-image's own numbers, units, edges, pictures without instances."""

import csv
import json
import math

import numpy as np
import pytest
import tifffile
from drawn_discs import disc_model, draw_discs, save
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from skimage.measure import regionprops

from segkit.data.masks import Mask
from segkit.data.overlaps import covered_pixels
from segkit.data.pixel_size import PixelSize, parse_area, parse_pixel_size, read_pixel_size
from segkit.data.shape_measures import feret_diameters, measure_shape
from segkit.errors import InputError
from segkit.inference.measure import nearest_distances


@pytest.fixture
def discs(monkeypatch, tmp_path):
    """``predict`` with a model that finds drawn discs exactly."""
    model = disc_model(tmp_path / "discs.pt")
    monkeypatch.setattr("segkit.inference.predict.load", lambda *_, **__: model)
    return model


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def tables(out="predictions", folder=None):
    return [table((folder or out) / f"{name}.csv") for name in ("instances", "pictures", "summary")]


def disc(radius):
    rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return (rows**2 + columns**2 <= radius**2).astype(np.uint8)


@pytest.mark.parametrize("radius", [20, 50])
def test_a_disc_has_the_measures_of_a_disc(radius):
    found = measure_shape(disc(radius), 7, 11)
    assert found.area == pytest.approx(math.pi * radius**2, rel=0.005)
    assert found.perimeter == pytest.approx(2 * math.pi * radius, rel=0.02)
    assert (found.centroid_x, found.centroid_y) == pytest.approx((11 + radius + 0.5, 7 + radius + 0.5))
    assert found.equivalent_diameter == pytest.approx(2 * radius, rel=0.005)
    assert found.feret_max == pytest.approx(2 * radius + 0.5, abs=1.2)
    assert found.feret_min == pytest.approx(2 * radius + 0.5, abs=1.2)
    assert found.circularity > 0.96
    assert found.solidity > 0.96


def test_a_rectangle_has_the_measures_of_a_rectangle():
    found = measure_shape(np.ones((10, 40), np.uint8), 0, 0)
    assert (found.area, found.solidity, found.orientation, found.feret_min) == (400, 1, 0, 10)
    assert found.feret_max == math.hypot(40, 9)  # scikit-image's pixels have no corners
    upright = measure_shape(np.ones((40, 10), np.uint8), 0, 0)
    assert (upright.orientation, upright.feret_min) == (90, 10)


def test_orientation_is_counted_as_in_imagej():
    rising = np.zeros((60, 60), np.uint8)
    for step in range(40):
        rising[50 - step : 53 - step, 8 + step] = 1
    assert measure_shape(rising, 0, 0).orientation == pytest.approx(45, abs=0.5)
    assert measure_shape(np.ascontiguousarray(rising[:, ::-1]), 0, 0).orientation == pytest.approx(135, abs=0.5)


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 15), st.integers(1, 15)), elements=st.integers(0, 1)))
def test_measures_are_those_of_scikit_image(bitmap):
    bitmap[0, 0] = bitmap[-1, -1] = 1
    found, theirs = measure_shape(bitmap, 0, 0), regionprops(np.pad(bitmap, 1))[0]
    assert found.area == theirs.area
    assert found.perimeter == theirs.perimeter_crofton
    assert found.solidity == pytest.approx(theirs.solidity)
    assert found.equivalent_diameter == theirs.equivalent_diameter_area
    assert found.feret_max == pytest.approx(theirs.feret_diameter_max)


def test_the_least_feret_diameter_is_the_least_width_of_all_directions():
    bitmap = np.tril(np.ones((30, 20), np.uint8))
    convex = regionprops(bitmap)[0].image_convex
    rows, columns = np.nonzero(convex)
    points = np.concatenate([np.stack([rows, columns], 1) + d for d in ((0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5))])
    angles = np.linspace(0, np.pi, 7200, endpoint=False)
    widths = np.ptp(points @ np.stack([np.cos(angles), np.sin(angles)]), axis=0)
    longest, shortest = feret_diameters(convex)
    assert shortest == pytest.approx(widths.min(), abs=1e-2)
    assert longest == pytest.approx(widths.max(), abs=1e-2)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(1, 9)] * 2, st.integers(0, 9)), max_size=8))
def test_overlaps_are_those_of_painted_masks(places):
    crops, painted, expected = [], np.zeros((30, 30), bool), []
    for top, left, height, width, seed in places:
        bitmap: Mask = (np.random.default_rng(seed).random((height, width)) < 0.7).astype(np.uint8)
        crops.append((top, left, bitmap))
        whole = np.zeros_like(painted)
        whole[top : top + height, left : left + width] = bitmap
        expected.append(int((whole & painted).sum()))
        painted |= whole
    assert covered_pixels(crops) == expected


def test_tables_count_pictures_without_instances(segkit, here, discs):
    save(here / "in/a.png", draw_discs(60, 80, [(20, 20, 8, 1), (50, 20, 10, 1), (20, 45, 6, 2)]))
    save(here / "in/b.png", draw_discs(60, 80, []))
    done = segkit("predict", "in", "--measure", "--pixel-size", "0.5um", "--format", "idmask")
    assert done.code == 0, done.err
    instances, pictures, summary = tables(folder=here / "predictions")
    assert [row["instances"] for row in pictures] == ["3", "0"]
    assert [row["instances of a"] for row in pictures] == ["2", "0"]
    assert [row["mean_area_px2"] for row in pictures][1] == ""
    everything = summary[0]
    assert everything["category"] == "all categories"
    assert (everything["pictures"], everything["pictures_without"], everything["instances"]) == ("2", "1", "3")
    assert float(everything["mean_instances_per_picture"]) == 1.5
    assert float(everything["sd_instances_per_picture"]) == pytest.approx(np.std([3, 0], ddof=1), rel=1e-5)
    assert [row["category"] for row in summary[1:]] == ["a", "b"]

    ids = np.asarray(Image.open(here / "predictions/idmask/a.png"))
    pixels = np.asarray(Image.open(here / "in/a.png"))
    for row in instances:
        mask = ids == int(row["id"])
        theirs = regionprops(mask.astype(np.uint8))[0]
        assert int(row["area_px2"]) == theirs.area == mask.sum()
        assert float(row["area_um2"]) == pytest.approx(theirs.area * 0.25)
        assert float(row["perimeter_um"]) == pytest.approx(theirs.perimeter_crofton / 2, rel=1e-5)
        assert float(row["centroid_x_px"]) == pytest.approx(theirs.centroid[1] + 0.5, rel=1e-5)
        for channel in range(3):
            assert float(row[f"mean_{channel + 1}"]) == pytest.approx(pixels[..., channel][mask].mean(), rel=1e-5)
            assert float(row[f"std_{channel + 1}"]) == pytest.approx(pixels[..., channel][mask].std(), rel=1e-5)
    centres = np.array([[float(row["centroid_x_px"]), float(row["centroid_y_px"])] for row in instances])
    for number, row in enumerate(instances):
        others = np.delete(np.linalg.norm(centres - centres[number], axis=1), number)
        assert float(row["nearest_um"]) == pytest.approx(others.min() / 2, rel=1e-4)
    covered = float(pictures[0]["covered_fraction"])
    assert covered == pytest.approx((ids > 0).mean(), rel=1e-5)
    assert float(pictures[0]["instances_per_um2"]) == pytest.approx(3 / (60 * 80 * 0.25), rel=1e-5)


def test_values_of_sixteen_bits_are_measured_as_they_are_stored(segkit, here, discs):
    values = np.where(draw_discs(60, 80, [(30, 30, 9, 1)])[..., 0] > 0, 60000, 300).astype(np.uint16)
    save(here / "in/a.png", values)
    done = segkit("predict", "in", "--measure", "--format", "idmask")
    assert done.code == 0, done.err
    rows = tables(folder=here / "predictions")[0]
    assert {(row["mean_1"], row["std_1"]) for row in rows} == {("60000.0", "0.0")}
    assert "mean_2" not in rows[0]


@pytest.mark.parametrize("rule", ["keep", "mark", "drop"])
def test_instances_that_the_border_cuts(segkit, here, discs, rule):
    save(here / "in/a.png", draw_discs(60, 80, [(3, 20, 8, 1), (40, 30, 10, 1), (74.5, 54.5, 5.5, 1)]))
    done = segkit("predict", "in", "--measure", "--edge", rule, "--format", "coco")
    assert done.code == 0, done.err
    instances, pictures, summary = tables(folder=here / "predictions")
    areas = [float(row["area_px2"]) for row in instances]
    if rule == "drop":
        assert len(json.loads((here / "predictions/results.json").read_text())) == len(areas) == 1
    else:
        assert sorted(row["at_edge"] for row in instances) == ["0", "1", "1"]
        assert pictures[0]["at_edge"] == summary[0]["at_edge"] == "2"
    whole = [a for a, row in zip(areas, instances, strict=True) if row["at_edge"] == "0" or rule == "keep"]
    assert float(summary[0]["mean_area_px2"]) == pytest.approx(np.mean(whole), rel=1e-5)
    assert float(pictures[0]["mean_area_px2"]) == pytest.approx(np.mean(whole), rel=1e-5)


def test_areas_choose_instances_in_any_unit(segkit, here, discs):
    save(here / "in/a.png", draw_discs(90, 90, [(20, 20, 4, 1), (50, 20, 8, 1), (40, 60, 14, 1)]))

    def areas(*options):
        done = segkit("predict", "in", "--format", "csv", "--force", *options)
        assert done.code == 0, done.err
        return sorted(int(row["area_px2"]) for row in table(here / "predictions/instances.csv"))

    small, middle, large = areas()
    assert areas("--min-area", small) == [small, middle, large]
    assert areas("--min-area", small + 1) == [middle, large]
    assert areas("--min-area", f"{small + 1}px", "--max-area", f"{middle}px") == [middle]
    assert areas("--min-area", f"{(small + 1) / 4}um2", "--pixel-size", "0.5um") == [middle, large]
    assert areas("--min-area", f"{(small + 1) / 4e6}mm2", "--pixel-size", "0.5um") == [middle, large]


def test_an_area_in_a_unit_needs_the_size_of_pixels(segkit, here, discs):
    save(here / "in/a.png", draw_discs(60, 60, [(20, 20, 4, 1)]))
    done = segkit("predict", "in", "--min-area", "5um2")
    assert done.code == 1
    assert "a.png: --min-area 5um2: the size of its pixels is not known" in done.err


def test_other_choices_are_not_mixed(segkit, here, discs):
    save(here / "in/a.png", draw_discs(60, 60, [(20, 20, 4, 1)]))
    assert segkit("predict", "in", "--min-area", "5").code == 0
    done = segkit("predict", "in", "--resume")
    assert done.code == 1
    assert "error: predictions: its predictions were made with --min-area 5, not without --min-area" in done.err
    assert segkit("predict", "in", "--resume", "--min-area", "5", "--measure").code == 0
    assert len(table(here / "predictions/instances.csv")) == 1


def test_overlaps_are_said(segkit, here, monkeypatch, tmp_path):
    model = disc_model(tmp_path / "m.pt")

    def twice(images, once=model.predict):
        (found,) = once(images)
        return [{key: [*value, *value] if key == "box_masks" else value.repeat(*([2] + [1] * (value.ndim - 1)))
                 for key, value in found.items()}]  # fmt: skip

    object.__setattr__(model, "predict", twice)
    monkeypatch.setattr("segkit.inference.predict.load", lambda *_, **__: model)
    save(here / "in/a.png", draw_discs(60, 60, [(20, 20, 4, 1)]))
    done = segkit("predict", "in", "--measure")
    rows, pictures, _ = tables(folder=here / "predictions")
    area = int(rows[0]["area_px2"])
    assert [int(row["overlap_px2"]) for row in rows] == [0, area]
    assert int(pictures[0]["covered_px2"]) == area
    assert f"warning: instances overlap in {area} pixels, which the id mask gives" in done.err


def test_a_model_of_boxes_has_no_shapes(segkit, here, monkeypatch, tmp_path):
    model = disc_model(tmp_path / "m.pt")
    boxes = lambda images: [{k: v for k, v in f.items() if k != "box_masks"} for f in model.predict(images)]  # noqa: E731
    other = type(model)(model.path, boxes, model.card, model.device)
    monkeypatch.setattr("segkit.inference.predict.load", lambda *_, **__: other)
    save(here / "in/a.png", draw_discs(60, 60, [(20, 20, 4, 1)]))
    assert segkit("predict", "in", "--measure").code == 0
    (row,) = table(here / "predictions/instances.csv")
    assert (row["x_px"], row["area_px2"], row["nearest_px"]) == ("16.0", "", "")


def test_the_size_of_pixels_is_read_from_tiffs(tmp_path):
    pixels = np.zeros((8, 9), np.uint16)
    ome, imagej, scope, printer, long = (tmp_path / f"{name}.tif" for name in ("a.ome", "b", "c", "d", "e"))
    tifffile.imwrite(ome, pixels, ome=True, metadata={"PhysicalSizeX": 320, "PhysicalSizeXUnit": "nm",
                     "PhysicalSizeY": 320, "PhysicalSizeYUnit": "nm", "axes": "YX"})  # fmt: skip
    tifffile.imwrite(imagej, pixels, imagej=True, resolution=(2.5, 2.5), metadata={"unit": "um"})
    tifffile.imwrite(scope, pixels, resolution=(20000, 20000), resolutionunit="CENTIMETER")
    tifffile.imwrite(printer, pixels, resolution=(300, 300), resolutionunit="INCH")
    tifffile.imwrite(long, pixels, resolution=(20000, 40000), resolutionunit="CENTIMETER")
    assert read_pixel_size(ome) == PixelSize(320, "nm")
    assert read_pixel_size(imagej) == PixelSize(pytest.approx(0.4), "um")
    assert read_pixel_size(scope) == PixelSize(pytest.approx(0.5), "um")
    assert read_pixel_size(printer) is None
    assert read_pixel_size(save(tmp_path / "f.png", pixels.astype(np.uint8), dpi=(50000, 50000))) is None
    with pytest.raises(InputError, match=r"not square \(0\.5 x 0\.25 um\)"):
        read_pixel_size(long)


def test_the_size_of_pixels_of_a_file_is_used_and_said(segkit, here, discs):
    (here / "in").mkdir()
    pixels = draw_discs(60, 80, [(30, 30, 9, 1)])
    tifffile.imwrite(here / "in/a.tif", pixels, resolution=(20000, 20000), resolutionunit="CENTIMETER")
    save(here / "in/b.png", pixels)
    done = segkit("predict", "in", "--measure")
    assert done.code == 0, done.err
    assert "a.tif: a pixel is 0.5um, as the file says" in done.err
    with_size, without = table(here / "predictions/instances.csv")
    assert float(with_size["area_um2"]) == float(with_size["area_px2"]) / 4
    assert without["area_um2"] == ""
    assert [row["pixel_size"] for row in table(here / "predictions/pictures.csv")] == ["0.5", ""]
    assert segkit("predict", "in", "--measure", "--pixel-size", "none", "--force").code == 0
    assert "area_um2" not in table(here / "predictions/instances.csv")[0]


@pytest.mark.parametrize("text", ["0.32", "um", "-1um", "0um", "3 parsec", "1e400um"])
def test_what_is_no_length_is_refused(segkit, here, text):
    with pytest.raises(ValueError, match=r"is not a length such as 0\.32um"):
        parse_pixel_size(text)
    done = segkit("predict", "x.png", f"--pixel-size={text}")
    assert done.code == 2
    assert "0.32um" in done.err


@pytest.mark.parametrize("text", ["", "um2", "20um", "-3px", "3 furlong2"])
def test_what_is_no_area_is_refused(text):
    with pytest.raises(ValueError, match="is not an area such as"):
        parse_area(text)


def test_areas_are_read():
    assert [parse_area(text) for text in ("20", "20px", "20 px2", "1.5µm2")] == [
        (20, "px"), (20, "px"), (20, "px"), (1.5, "um"),
    ]  # fmt: skip
    assert PixelSize(0.5, "um").square_pixels(1, "mm") == pytest.approx(4e6)


def test_an_instance_alone_has_no_neighbour():
    one = measure_shape(disc(3), 0, 0)
    assert nearest_distances([None, one]) == [None, None]
    assert nearest_distances([one, None, measure_shape(disc(3), 30, 40)]) == [50, None, 50]
