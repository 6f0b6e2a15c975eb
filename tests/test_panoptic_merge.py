"""Things and stuff as one map of segments: how they are laid over each other, and scored, by hand."""

import numpy as np
import pytest

from segkit.data.masks import crop_to_rle, rle_to_mask, to_rle
from segkit.data.panoptic_merge import ClassMap, class_map_in_image, merge_panoptic
from segkit.data.records import Annotation, Image, Result
from segkit.evaluation.pixels.segments import segment_sums, true_segments


def box(category, score, x, y, w, h, side=20):
    bbox = (float(x), float(y), float(w), float(h))
    return Result(0, category, score, bbox, crop_to_rle(np.ones((h, w), bool), y, x, side, side))


def test_instances_are_laid_down_by_score_and_stuff_where_none_is():
    classes = np.zeros((20, 20), np.uint8)
    classes[:10], classes[19, 19] = 1, 2
    found = ClassMap(classes, np.full((20, 20), 0.75, np.float32))
    results = [
        box(1, 0.6, 2, 8, 6, 6),  # 18 of its 36 pixels are taken: exactly half is not too much
        box(1, 0.9, 2, 8, 6, 3),
        box(1, 0.8, 0, 8, 8, 3),  # 18 of its 24 pixels are taken
        box(1, 0.4, 12, 12, 4, 4),
    ]
    merged = merge_panoptic(results, found, {1: 5, 2: 6})
    assert [(s.number, s.category_id, s.score, s.area, s.isthing) for s in merged.segments] == [
        (1, 1, 0.9, 18, True), (2, 1, 0.6, 18, True), (3, 5, 0.75, 200 - 12, False),
    ]  # fmt: skip
    assert [s.bbox for s in merged.segments] == [(2, 8, 6, 3), (2, 11, 6, 3), (0, 0, 20, 10)]
    assert np.bincount(merged.numbers.ravel()).tolist() == [400 - 36 - 188, 18, 18, 188]
    assert merged.numbers[19, 19] == 0  # one pixel of stuff is too small
    labels = merged.label_map({1: 1, 5: 2, 6: 3})
    assert (labels == np.array([0, 1, 1, 2])[merged.numbers]).all()
    (stuff,) = merged.stuff()
    assert (rle_to_mask(to_rle(stuff.segmentation, 20, 20)) > 0).tolist() == (merged.numbers == 3).tolist()


def test_classes_are_read_at_the_centres_of_cells():
    """A border between cells at stride 4 is where the probabilities of both classes are equal, in every frame."""
    one = np.array([[1.0, 1.0, 0.0, 0.0]] * 2, np.float32)
    for size in ((8, 16), (4, 8), (16, 32)):
        found = class_map_in_image(np.stack([one, 1 - one]), 4, (8, 16), size)
        assert (found.classes == (np.arange(size[1]) >= size[1] / 2)).all()
    assert found.probability[0, 0] == 1
    assert found.probability[0, 15] == pytest.approx(0.5 + 0.5 / 8, abs=0.02)  # a quarter pixel from the border


def annotation(number, category, x, y, w, h, iscrowd=0, side=20):
    rle = crop_to_rle(np.ones((h, w), bool), y, x, side, side)
    return Annotation(number, 1, category, rle, (x, y, w, h), float(w * h), iscrowd)


def test_panoptic_quality_by_hand():
    image = Image(1, "a", 20, 20)
    sky, car = 5, 1
    truth = [
        annotation(1, sky, 0, 0, 20, 8), annotation(2, sky, 0, 8, 10, 2), annotation(3, car, 2, 12, 4, 4),
        annotation(4, car, 10, 12, 4, 4), annotation(5, car, 16, 16, 4, 4, iscrowd=1),
    ]  # fmt: skip
    classes = np.zeros((20, 20), np.uint8)
    classes[:8] = 1
    results = [box(car, 0.9, 2, 12, 4, 3), box(car, 0.9, 16, 16, 4, 4), box(car, 0.9, 0, 17, 3, 3)]
    found = merge_panoptic(results, ClassMap(classes, np.ones((20, 20), np.float32)), {1: sky})
    sums = segment_sums(true_segments(image, truth, frozenset({sky}), "background"), found)
    assert (sums[sky].iou, sums[sky].tp, sums[sky].fp, sums[sky].fn) == (160 / 180, 1, 0, 0)
    assert (sums[car].iou, sums[car].tp, sums[car].fp, sums[car].fn) == (12 / 16, 1, 1, 1)  # one in a crowd is excused
    unknown = segment_sums(true_segments(image, truth, frozenset({sky}), "ignore"), found)
    assert unknown[car].fp == 0  # nothing is known where it is


def test_regions_that_all_categories_have_as_crowds_are_not_known():
    everywhere = [annotation(n, n, 0, 0, 10, 10, iscrowd=1) for n in (1, 2, 3)]
    found = true_segments(Image(1, "a", 20, 20), everywhere, frozenset({3}), "background")
    assert (found.numbers[:10, :10] == -1).all()
    assert (found.numbers[10:] == 0).all()
