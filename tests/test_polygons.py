"""Areas, boxes and flat points: the extension and pycocotools agree to the last pixel."""

import importlib.util
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from segkit.data.bands import band_ious_by_opencv
from segkit.data.masks import mask_to_rle
from segkit.data.polygons import flatten_in_python, measure_with_pycocotools, run_totals_in_python


@pytest.fixture(scope="module")
def native(tmp_path_factory):
    """The extension, compiled for this test."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    hatch_build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hatch_build)
    folder = tmp_path_factory.mktemp("built")
    for source in (*(ROOT / "segkit/data").glob("*.c"), *(ROOT / "segkit/data").glob("*.h")):
        shutil.copy(source, folder)
    built = hatch_build.build(folder)
    if built is None:
        pytest.skip("no C compiler here")
    spec = importlib.util.spec_from_file_location("_polygons", built)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


coordinate = st.floats(-30, 90) | st.integers(-10, 70).map(float) | st.integers(-50, 350).map(lambda n: n / 5)
polygon = st.integers(3, 14).flatmap(lambda n: st.lists(coordinate, min_size=2 * n, max_size=2 * n))


bitmap = st.tuples(st.integers(1, 150), st.integers(1, 40), st.integers(0, 2**32 - 1), st.sampled_from([0.5, 0.97, 1]))


def drawn(height, width, seed, share):
    """Two masks of blocks that overlap, with holes, parts, and pixels at the borders of the image."""
    rng = np.random.default_rng(seed)
    for _ in range(2):
        mask = np.zeros((height, width), np.uint8)
        for _ in range(int(rng.integers(0, 4))):
            top, left = rng.integers(-4, height), rng.integers(-4, width)
            block = mask[max(top, 0) : top + rng.integers(1, 90), max(left, 0) : left + rng.integers(1, 40)]
            block[:] = rng.random(block.shape) < share
        yield mask


@given(bitmap, st.integers(0, 12))
def test_the_extension_compares_bands_like_opencv(native, shape, distance):
    found, truth = drawn(*shape), drawn(shape[0], shape[1], shape[2] + 1, shape[3])
    rles = [[mask_to_rle(mask) for mask in masks] for masks in (found, truth)]
    pairs = [(0, 0), (1, 0), (0, 1), (1, 1)]
    counts = [[rle["counts"] for rle in side] for side in rles]
    own = native.band_ious(*counts, pairs, shape[0], shape[1], distance)
    assert own == band_ious_by_opencv(*rles, pairs, distance)


def test_run_lengths_that_touch_are_one_run(native):
    """6 + 0 + 9 pixels inside, in a row: the empty run between them is no contour."""
    texts = []
    for runs in ([3, 15, 2], [3, 6, 0, 9, 2]):
        rle = coco_mask.frPyObjects({"size": [20, 1], "counts": runs}, 20, 1)
        texts.append(rle["counts"].decode())
    assert texts[0] != texts[1]
    assert native.band_ious(texts[:1], texts[1:], [(0, 0)], 20, 1, 3) == [1]


@pytest.mark.parametrize(
    ("found", "pairs", "size"),
    [(["05"], [(0, 0)], (2, 3)), (["o"], [(0, 0)], (2, 3)), (["6"], [(0, 1)], (2, 3)), (["6"], [(-1, 0)], (2, 3)),
     (["6"], [(0,)], (2, 3)), (["6"], [0], (2, 3)), ([6], [(0, 0)], (2, 3)), (["6"], [(0, 0)], (0, 3))],
)  # fmt: skip
def test_the_extension_refuses_what_are_no_masks(native, found, pairs, size):
    with pytest.raises((ValueError, IndexError, TypeError)):
        native.band_ious(found, ["6"], pairs, *size, 1)


@given(st.lists(polygon, max_size=4), st.integers(1, 64), st.integers(1, 64))
def test_the_extension_measures_like_pycocotools(native, polygons, height, width):
    assert native.measure(polygons, height, width) == measure_with_pycocotools(polygons, height, width)


def test_the_extension_measures_large_and_winding_polygons(native):
    rng = np.random.default_rng(0)
    for height, width, corners in ((3000, 4000, 400), (20, 65000, 90), (40000, 30, 90), (500, 500, 4000)):
        for spread in (1.0, 1.5):
            xy = (rng.random((corners, 2)) * (width * spread, height * spread)).ravel().tolist()
            rle = coco_mask.merge(coco_mask.frPyObjects([xy], height, width))
            expected = (int(coco_mask.area(rle)), tuple(coco_mask.toBbox(rle).tolist()))
            assert native.measure([xy], height, width) == [expected]


def test_the_extension_refuses_what_would_overflow(native):
    for bad in ([0.0] * 4, [1e9] * 6, [float("nan")] * 6, ["a"] * 6, (0.0,) * 6):
        with pytest.raises((ValueError, TypeError)):
            native.measure([bad], 10, 10)


points = st.recursive(
    st.floats() | st.integers() | st.booleans() | st.none() | st.text(max_size=2), lambda s: st.lists(s, max_size=3)
)


@given(points | st.lists(st.lists(st.floats(-9, 9) | st.integers(-9, 9), min_size=2, max_size=2)))
def test_the_extension_flattens_like_python(native, some):
    flat = native.flatten(some)
    assert flat == flatten_in_python(some)
    assert flat is None or [type(value) for value in flat] == [type(value) for pair in some for value in pair]


def test_without_the_extension_a_dataset_has_the_same_bytes(here, parts):
    for name, pure in (("one", ""), ("two", "1")):
        done = subprocess.run(
            [sys.executable, "-m", "segkit", "convert", parts, "--out", name], env={"SEGKIT_PURE": pure, "PATH": ""},
            capture_output=True, text=True, check=False, cwd=here,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert (here / "one/train.json").read_bytes() == (here / "two/train.json").read_bytes()


@given(st.lists(st.integers(0, 70_000), max_size=12))
def test_sums_of_run_lengths(native, runs):
    """Run lengths that pycocotools compressed, with any sum."""
    text = coco_mask.frPyObjects({"size": [1, sum(runs)], "counts": runs}, 1, sum(runs))["counts"].decode()
    assert native.run_totals([text]) == run_totals_in_python([text]) == [sum(runs)]


@given(st.text(max_size=12))
def test_invalid_run_lengths_are_recognised(native, text):
    assert native.run_totals([text]) == run_totals_in_python([text])
    assert run_totals_in_python(["P", "0\x7f"]) == [-1, -1]
