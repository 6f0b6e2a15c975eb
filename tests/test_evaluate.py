"""Scores: general laws, edge cases, and the messages for inputs that cannot be scored."""

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from segkit.data.masks import mask_to_rle, rle_area, rle_bbox
from segkit.data.records import Annotation, Category, Dataset, Image, Result
from segkit.evaluation.coco.inputs import resolve_max_dets
from segkit.evaluation.coco.score import score_results
from segkit.evaluation.pixels.confusion import Confusion, paint
from segkit.formats.coco.file import read_coco
from segkit.formats.coco.write import write_coco

H, W = 60, 80


def dataset(num_images=3, per_image=4, seed=0, categories=2):
    rng = np.random.default_rng(seed)
    images = tuple(Image(n + 1, f"{n}.png", H, W) for n in range(num_images))
    annotations = []
    for image in images:
        for _ in range(per_image):
            mask = np.zeros((H, W), np.uint8)
            y, x, h, w = rng.integers(0, 30), rng.integers(0, 40), rng.integers(5, 30), rng.integers(5, 40)
            mask[y : y + h, x : x + w] = 1
            rle = mask_to_rle(mask)
            category = int(rng.integers(1, categories + 1))
            annotations.append(Annotation(len(annotations) + 1, image.id, category, rle, rle_bbox(rle), rle_area(rle)))
    return Dataset(images, tuple(annotations), (Category(1, "a"), Category(2, "b")), Path())


def perfect(data):
    return [Result(a.image_id, a.category_id, 0.9, a.bbox, a.segmentation) for a in data.annotations]


def scored(data, results, kind, max_dets="auto", **options):
    return getattr(score_results(data, results, (kind,), max_dets, **options), kind)


@pytest.mark.parametrize("kind", ["segm", "bbox", "boundary"])
def test_perfect_results_score_one_and_no_results_score_zero(kind):
    data = dataset()
    assert scored(data, perfect(data), kind).AP == 1.0
    assert scored(data, [], kind).AP == 0.0


def test_order_of_results_does_not_matter():
    data = dataset()
    rng = np.random.default_rng(1)
    results = [
        Result(a.image_id, a.category_id, float(s), (a.bbox[0] + 2, *a.bbox[1:]), a.segmentation)
        for a, s in zip(data.annotations, rng.permutation(len(data.annotations)) / 100, strict=True)
    ]
    assert scored(data, results, "bbox") == scored(data, results[::-1], "bbox")


def test_many_instances_in_one_image_raise_max_dets():
    """With COCO's limit of 100 detections, 150 perfect detections of one image do not score 1."""
    data = dataset(num_images=1, per_image=150, categories=1)
    assert resolve_max_dets(data, "auto") == 150
    scores = scored(data, perfect(data), "segm")
    assert scores.AP < 0.8
    assert scores.at_max_dets["AP"] == 1.0


def test_semantic_scores():
    data = dataset(num_images=1, per_image=2)
    labels = {1: 1, 2: 2}
    truth = paint(data.images[0], data.annotations, labels, "background")
    right, half = Confusion(data), Confusion(data)
    right.add(truth, truth)
    assert right.metrics().mIoU == 1.0
    wrong = truth.copy()
    wrong[:, : W // 2] = 0
    half.add(truth, wrong)
    scores = half.metrics()
    for label, name in ((0, "background"), (1, "a"), (2, "b")):
        both, either = (
            ((truth == label) & (wrong == label)).sum(),
            ((truth == label) | (wrong == label)).sum(),
        )
        expected = both / either if either else None
        assert scores.per_category[name]["IoU"] == (pytest.approx(expected) if expected is not None else None)
    assert scores.pixel_accuracy == pytest.approx((truth == wrong).mean())


def test_ignored_pixels_do_not_count():
    data = dataset(num_images=1, per_image=1)
    truth = paint(data.images[0], data.annotations, {1: 1, 2: 2}, "ignore")
    confusion = Confusion(data)
    confusion.add(truth, np.where(truth == 255, 2, truth))
    assert confusion.counts.sum() == (truth != 255).sum()


TRUTH = {
    "images": [{"id": 1, "file_name": "a.png", "height": 9, "width": 9}],
    "categories": [{"id": 1, "name": "a"}],
}
BOX = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5], "area": 25, "iscrowd": 0}
FOUND = {"image_id": 1, "category_id": 1, "score": 0.5, "bbox": [1, 1, 5, 5]}

ERRORS = [
    (
        TRUTH | {"annotations": [BOX]},
        [FOUND | {"image_id": 7}],
        "error: r.json: 1 image of the results is not in the annotations: 7",
    ),
    (
        TRUTH | {"annotations": [BOX | {"image_id": 5}]},
        [FOUND],
        "error: t.json: annotation 1: image_id is 5, which is not in the file",
    ),
    (
        TRUTH | {"annotations": [BOX | {"category_id": 5}]},
        [FOUND],
        "error: t.json: annotation 1: category_id is 5, which is not in the file",
    ),
    (TRUTH, [FOUND], "error: t.json: a list of images without annotations"),
    (
        TRUTH | {"annotations": [BOX]},
        {"a": 1},
        "error: r.json: not a COCO results file: it must be a list of results",
    ),
    (
        TRUTH | {"annotations": [BOX]},
        [{"image_id": 1}],
        "error: r.json: result 0: key 'category_id' is missing",
    ),
    (TRUTH | {"annotations": [BOX]}, "broken", "error: r.json: not valid JSON"),
]


@pytest.mark.parametrize(("truth", "results", "message"), ERRORS)
def test_messages_of_errors(segkit, here, truth, results, message):
    (here / "t.json").write_text(json.dumps(truth))
    (here / "r.json").write_text('[{"image_id"' if results == "broken" else json.dumps(results))
    outcome = segkit("eval", "r.json", "--data", "t.json", "--iou", "bbox")
    assert outcome.code == 1
    assert outcome.err.startswith(message)
    assert "Traceback" not in outcome.err


def test_mask_scores_need_masks(segkit, here):
    (here / "t.json").write_text(json.dumps(TRUTH | {"annotations": [BOX]}))
    (here / "r.json").write_text(json.dumps([FOUND]))
    assert segkit("eval", "r.json", "--data", "t.json").code == 0
    outcome = segkit("eval", "r.json", "--data", "t.json", "--iou", "segm")
    assert outcome.err.startswith(
        "error: annotation 1 has no segmentation to compare masks with\nhint: score its boxes"
    )


def test_no_results_at_all(segkit, here):
    (here / "t.json").write_text(json.dumps(TRUTH | {"annotations": [BOX]}))
    (here / "r.json").write_text("[]")
    outcome = segkit("eval", "r.json", "--data", "t.json", "--iou", "bbox", "--json")
    assert json.loads(outcome.out)["bbox"]["AP"] == 0.0


@pytest.mark.parametrize("options", [[], ["--report"]])
def test_results_are_scored_without_torch(here, options):
    (here / "t.json").write_text(json.dumps(TRUTH | {"annotations": [BOX]}))
    (here / "r.json").write_text(json.dumps([FOUND]))
    code = (
        "import sys; from segkit.cli import main;"
        "code = main(['eval', 'r.json', '--data', 't.json', '-q', *sys.argv[1:]]);"
        "sys.exit(code or 10 * ('torch' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code, *options], check=False).returncode == 0


def test_a_dataset_reads_back_as_it_was_written(tmp_path):
    data = dataset()
    annotations = map(msgspec.json.encode, data.annotations)
    write_coco(tmp_path / "d.json", data.images, annotations, data.categories)
    again = read_coco(tmp_path / "d.json")
    assert again.annotations == data.annotations
    assert again.images == data.images
