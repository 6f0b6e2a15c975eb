"""Laws of masks, and a set of difficult masks (the mask zoo)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from segkit.data.masks import (
    crop_to_rle,
    mask_to_rle,
    polygons_to_rle,
    rle_area,
    rle_bbox,
    rle_to_mask,
    subtract,
    to_rle,
    union,
)

bitmaps = arrays.arrays(np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, max_side=24), elements=st.integers(0, 1))


@given(bitmaps)
def test_rle_keeps_every_pixel(mask):
    assert np.array_equal(rle_to_mask(mask_to_rle(mask)), mask)


@given(bitmaps)
def test_area_is_the_sum_and_bbox_is_tight(mask):
    rle = mask_to_rle(mask)
    assert rle_area(rle) == mask.sum()
    ys, xs = np.nonzero(mask)
    expected = (xs.min(), ys.min(), xs.max() - xs.min() + 1, ys.max() - ys.min() + 1) if len(xs) else (0, 0, 0, 0)
    assert rle_bbox(rle) == expected


@given(bitmaps, st.integers(-30, 30), st.integers(-30, 30), st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=300)
def test_a_mask_cut_to_its_box_encodes_like_the_whole_mask(crop, top, left, height, width):
    canvas = np.zeros((height + 120, width + 120), np.uint8)
    canvas[top + 40 : top + 40 + crop.shape[0], left + 40 : left + 40 + crop.shape[1]] = crop
    assert crop_to_rle(crop, top, left, height, width) == mask_to_rle(canvas[40 : 40 + height, 40 : 40 + width])


@given(bitmaps, st.data())
def test_union_and_difference_are_those_of_sets(a, data):
    b = data.draw(arrays.arrays(np.uint8, a.shape, elements=st.integers(0, 1)))
    rle_a, rle_b = mask_to_rle(a), mask_to_rle(b)
    assert np.array_equal(rle_to_mask(union([rle_a, rle_b])), a | b)
    assert np.array_equal(rle_to_mask(subtract(rle_a, rle_b)), a & (1 - b))


ZOO = {
    "empty": np.zeros((7, 9)),
    "one pixel": np.eye(1, 63, 30).reshape(7, 9),
    "hole": np.pad(np.pad(np.zeros((2, 2)), 2, constant_values=1), 1),
    "two parts": np.kron([[1, 0, 1]], np.ones((4, 3))),
    "on the edge": np.vstack([np.ones((2, 9)), np.zeros((5, 9))]),
    "whole image": np.ones((7, 9)),
}


@pytest.mark.parametrize("name", ZOO)
def test_every_mask_of_the_zoo_survives_a_round_trip(name):
    mask = ZOO[name].astype(np.uint8)
    rle = mask_to_rle(mask)
    assert np.array_equal(rle_to_mask(rle), mask)
    assert rle == crop_to_rle(mask, 0, 0, *mask.shape)
    assert to_rle({"size": rle["size"], "counts": rle["counts"].encode()}, *mask.shape) == rle


def test_a_polygon_covers_the_pixels_of_cocos_rule():
    assert rle_area(polygons_to_rle([[20, 20, 80, 20, 80, 70, 20, 70]], 100, 100)) == 3000
    assert rle_area(polygons_to_rle([[20, 20, 80, 20]], 100, 100)) == 0
    outside = [[-20.0, -20.0, 30.0, -20.0, 30.0, 30.0, -20.0, 30.0]]
    assert rle_area(polygons_to_rle(outside, 100, 100)) == 900


def test_uncompressed_rle_is_read():
    mask = np.array([[0, 1], [1, 1]], np.uint8)
    assert to_rle({"size": [2, 2], "counts": [1, 3]}, 2, 2) == mask_to_rle(mask)
