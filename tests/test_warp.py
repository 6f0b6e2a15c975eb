"""One warp moves images, polygons, bitmaps and label maps to the same place."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segkit.data.geometry import Warp
from segkit.data.masks import polygons_to_rle, rle_to_mask

HEIGHT, WIDTH = 603, 803
OUTSIDE = 255

warps = st.builds(
    lambda size, **rest: Warp(*size, **rest),
    size=st.sampled_from([(200, 266), (299, 398), (400, 533), (603, 803), (820, 1092)]),
    flip_x=st.booleans(),
    flip_y=st.booleans(),
    angle=st.sampled_from([0.0, 12.5, -30.0]),
    window=st.sampled_from([None, (-9, 13, 590, 790), (21, -7, 900, 1000)]),
)


def blob(shift=0.0):
    """A smooth outline without symmetry."""
    angles = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    radius = 150 + 17 * np.sin(2 * angles + 0.4) + 9 * np.cos(5 * angles) + 5 * np.sin(7 * angles + 1)
    return np.stack([411.3 + shift + radius * np.cos(angles), 296.6 - shift + radius * np.sin(angles)], 1)


def pasted(found, height, width):
    """A bitmap in its box as one of the whole frame."""
    out = np.zeros((height, width), np.uint8)
    if found is not None:
        top, left, bitmap = found
        out[top : top + bitmap.shape[0], left : left + bitmap.shape[1]] = bitmap
    return out


def centroid(weights):
    """In continuous coordinates: the middle of the first pixel is at one half."""
    y, x = np.mgrid[: weights.shape[0], : weights.shape[1]] + 0.5
    return np.array([(x * weights).sum(), (y * weights).sum()]) / weights.sum()


def in_four_forms(warp, outline):
    """What the warp makes of one shape as a polygon, an RLE, a label map and an image."""
    polygon = [outline.ravel().tolist()]
    rle = polygons_to_rle(polygon, HEIGHT, WIDTH)
    bitmap = rle_to_mask(rle)
    picture = np.repeat(bitmap[:, :, None] * np.uint8(255), 3, axis=2)
    inside = warp.inside()
    return {
        "polygon": pasted(warp.box_mask(polygon, HEIGHT, WIDTH, inside), *warp.out),
        "rle": pasted(warp.box_mask(rle, HEIGHT, WIDTH, inside), *warp.out),
        "label map": (warp.label_map(bitmap, OUTSIDE) == 1).astype(np.uint8),
        "image": warp.image(picture)[:, :, 0].astype(float) / 255,
    }


def points_of(warp, points):
    there = warp.affine(HEIGHT, WIDTH)
    return points @ there[:, :2].T + there[:, 2]


@pytest.mark.parametrize(
    "warp",
    [
        Warp(299, 398),
        Warp(200, 266, flip_x=True),
        Warp(820, 1092, flip_y=True, window=(100, 150, 700, 900)),
        Warp(603, 803, flip_x=True, window=(-9, 13, 590, 790)),
        Warp(400, 533, angle=12.5),
        Warp(299, 398, flip_x=True, flip_y=True, angle=-30.0, window=(21, -7, 300, 400)),
    ],
)
def test_all_forms_of_a_shape_lie_within_a_twentieth_of_a_pixel(warp):
    off = {}
    for shift in (0.0, 2.3, 5.6):  # whole pixels round by chance: several shapes show where they lie
        outline = blob(shift)
        # COCO's rule itself lies 0.04 px above the outline: what is tested is where the warp puts its pixels
        bitmap = rle_to_mask(polygons_to_rle([outline.ravel().tolist()], HEIGHT, WIDTH))
        expected = points_of(warp, centroid(bitmap)[None])[0]
        for name, form in in_four_forms(warp, outline).items():
            off.setdefault(name, []).append(centroid(form) - expected)
    for name, distances in off.items():
        assert np.abs(np.mean(distances, axis=0)).max() < 0.05, name


@pytest.mark.parametrize(
    "warp", [Warp(200, 200), Warp(100, 100, True, True), Warp(800, 800), Warp(300, 300, angle=90.0)]
)
def test_edges_lie_within_a_twentieth_of_a_pixel(warp):
    """The sides of a square, from the area and the centroid of each form."""
    square = np.array([[120.0, 100.0], [240.0, 100.0], [240.0, 220.0], [120.0, 220.0]])
    polygon = [square.ravel().tolist()]
    rle = polygons_to_rle(polygon, 400, 400)
    bitmap = rle_to_mask(rle)
    there = warp.affine(400, 400)
    moved = square @ there[:, :2].T + there[:, 2]
    forms = {
        "polygon": pasted(warp.box_mask(polygon, 400, 400), *warp.out),
        "rle": pasted(warp.box_mask(rle, 400, 400), *warp.out),
        "label map": warp.label_map(bitmap, OUTSIDE) == 1,
        "image": warp.image(np.repeat(bitmap[:, :, None] * np.uint8(255), 3, axis=2))[:, :, 0] / 255,
    }
    for name, form in forms.items():
        columns, rows = form.astype(float).max(axis=0), form.astype(float).max(axis=1)
        middle = centroid(form.astype(float))
        sides = np.array([columns.sum(), rows.sum()])
        assert np.abs(middle - sides / 2 - moved.min(axis=0)).max() < 0.05, name
        assert np.abs(middle + sides / 2 - moved.max(axis=0)).max() < 0.05, name


@given(warps, st.integers(0, 2**32 - 1))
@settings(max_examples=12, deadline=None)
def test_a_mask_is_what_covers_more_than_half_of_a_pixel(warp, seed):
    """Whatever the shape, beside a mask that is warped as a whole into a frame four times as fine, and averaged."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform(-20, 60, (int(rng.integers(3, 9)), 2)) + rng.uniform(0, 600, 2)
    polygon = [[float(v) for v in corners.ravel()]]
    bitmap = rle_to_mask(polygons_to_rle(polygon, HEIGHT, WIDTH)).astype(np.float32)
    fine = warp.affine(HEIGHT, WIDTH) * 4
    fine[:, 2] += fine[:, :2] @ (0.5, 0.5) - 0.5
    height, width = warp.out
    averaged = cv2.warpAffine(bitmap, fine, (4 * width, 4 * height)).reshape(height, 4, width, 4).mean(axis=(1, 3))
    ours = pasted(warp.box_mask(polygon, HEIGHT, WIDTH), height, width)
    doubtful = np.abs(averaged - 0.5) < 0.15  # the two averages differ a little
    assert ((averaged > 0.5) == ours)[~doubtful].all()


@given(warps)
@settings(max_examples=12, deadline=None)
def test_nothing_is_outside_the_image(warp):
    """Polygons and bitmaps that fill the image, and reach beyond it, end where its pixels end."""
    everything = [[-50.0, -50.0, 900.0, -50.0, 900.0, 700.0, -50.0, 700.0]]
    white = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    shown = warp.image(white)[:, :, 0]
    inside = warp.inside()
    labels = warp.label_map(np.ones((HEIGHT, WIDTH), np.uint8), OUTSIDE)
    assert set(np.unique(labels)) <= {1, OUTSIDE}
    rle = polygons_to_rle(everything, HEIGHT, WIDTH)
    for segmentation in (everything, rle):
        mask = pasted(warp.box_mask(segmentation, HEIGHT, WIDTH, inside), *warp.out)
        assert (mask[shown == 0] == 0).all()
        assert (mask[shown == 255] == 1).all()
    assert (labels[shown == 0] == OUTSIDE).all()
    assert (labels[shown == 255] == 1).all()
