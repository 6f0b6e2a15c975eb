"""Details behind AP: each is compared with a second, slow implementation of its definition."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from coco_pairs import random_pair
from hypothesis import given
from hypothesis import strategies as st

from segkit.data.bands import mask_band
from segkit.data.masks import mask_to_rle, rle_area, rle_bbox
from segkit.data.records import Annotation, Category, Dataset, Image, Result
from segkit.evaluation.analysis.compare import compare_pools
from segkit.evaluation.analysis.counts import match_image
from segkit.evaluation.analysis.details import DetailOptions, compute_details
from segkit.evaluation.analysis.intervals import Parts
from segkit.evaluation.analysis.pools import average_precisions, mean_ap, pools_of
from segkit.evaluation.coco.engine import evaluate, fast
from segkit.evaluation.coco.inputs import prepare_inputs
from segkit.evaluation.coco.instance_metrics import NUMBERS
from segkit.evaluation.coco.matching import match_by_overlap
from segkit.evaluation.coco.outcomes import TRUE_POSITIVE, match_detections
from segkit.evaluation.coco.overlap import ious, overlaps_by_image
from segkit.evaluation.coco.score import score_results
from segkit.evaluation.evaluation import Evaluation
from segkit.evaluation.metrics import Metrics
from segkit.evaluation.pixels.confusion import Confusion, paint
from segkit.evaluation.pixels.per_image import PixelScores
from segkit.evaluation.report.page import render_report
from segkit.formats.coco.file import read_coco, read_results

H, W = 60, 80


def from_files(folder, truth, results):
    (folder / "t.json").write_text(json.dumps(truth))
    (folder / "r.json").write_text(json.dumps(results))
    return read_coco(folder / "t.json"), read_results(folder / "r.json")


def details(dataset, results, intervals=False):
    options = DetailOptions(score=0.5, intervals=intervals)
    return compute_details(prepare_inputs(dataset, results, ("segm",)), "segm", options)


def pools(dataset, results):
    return pools_of(prepare_inputs(dataset, results, ("segm",)), "segm")


def box(x, y, w, h, shape=(H, W)):
    mask = np.zeros(shape, np.uint8)
    mask[y : y + h, x : x + w] = 1
    return mask_to_rle(mask)


def one_image(truth, found, categories=2):
    """An image with annotated rectangles (category, (x, y, w, h)), and detected ones with a score."""
    annotations = [
        Annotation(n, 1, category, box(*where), tuple(map(float, where)), where[2] * where[3])
        for n, (category, where) in enumerate(truth, 1)
    ]
    results = [Result(1, category, score, tuple(map(float, where)), box(*where)) for category, where, score in found]
    names = tuple(Category(n, f"c{n}") for n in range(1, categories + 1))
    return Dataset((Image(1, "a.png", H, W),), tuple(annotations), names, None), results


@st.composite
def masks(draw):
    """Masks [H, W] of squares: thin and thick parts, holes, the border, nothing, everything."""
    cells = draw(st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=5))
    return np.kron(np.array(cells), np.ones((draw(st.integers(1, 9)), draw(st.integers(1, 9))))) > 0


@pytest.mark.parametrize("seed", range(12))
def test_matches_equal_those_of_cocoeval(tmp_path, seed):
    dataset, results = from_files(tmp_path, *random_pair(np.random.default_rng(seed), images=4))
    inputs = prepare_inputs(dataset, results, ("segm",))
    for kind in ("segm", "bbox"):
        own = sum(int(match_image(overlaps).tp.sum()) for overlaps in overlaps_by_image(inputs, kind))
        assert own == (match_detections(inputs, kind, 100).outcome[0, :, 0] == TRUE_POSITIVE).sum()


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        ((2, (10, 10, 20, 20), 0.9), "class"),
        ((1, (10, 10, 20, 8), 0.9), "localisation"),
        ((2, (10, 10, 20, 8), 0.9), "both"),
        ((1, (50, 40, 10, 10), 0.9), "background"),
    ],
)
def test_each_error_type(found, kind):
    dataset, results = one_image([(1, (10, 10, 20, 20))], [found])
    errors = details(dataset, results).document["mistakes"]
    expected = {kind: 1} | ({"missed": 1} if kind in ("both", "background") else {})
    assert {name: count for name, count in errors["counts"].items() if count} == expected
    gained = errors["AP50_cost"][kind]
    assert gained == (pytest.approx(1) if kind in ("class", "localisation") else 0)


def test_a_second_detection_is_a_duplicate_and_lowers_later_precision():
    dataset, results = one_image(
        [(1, (10, 10, 20, 20)), (1, (50, 30, 20, 20))],
        [(1, (10, 10, 20, 20), 0.9), (1, (11, 10, 20, 20), 0.8), (1, (50, 30, 20, 20), 0.7)],
    )
    errors = details(dataset, results).document["mistakes"]
    assert {name: count for name, count in errors["counts"].items() if count} == {"duplicate": 1}
    # Recalls up to 1/2 (51 of 101) at precision 1, the others at 2/3.
    assert errors["AP50_cost"]["duplicate"] == pytest.approx(1 - (51 + 50 * 2 / 3) / 101)


def test_the_confusion_matrix_counts_each_instance_once():
    dataset, results = one_image(
        [(1, (10, 10, 20, 20)), (2, (40, 10, 20, 20)), (2, (10, 40, 10, 10))],
        [(1, (10, 10, 20, 20), 0.9), (1, (40, 10, 20, 20), 0.8), (2, (60, 40, 10, 10), 0.7), (1, (0, 0, 5, 5), 0.1)],
    )
    confusion = details(dataset, results).document["confusion"]
    assert confusion["categories"] == ["c1", "c2", "background"]
    assert confusion["counts"] == [[1, 0, 0], [1, 0, 1], [0, 1, 0]]


@pytest.mark.parametrize("seed", range(8))
def test_sums_of_the_confusion_matrix_equal_the_counts(tmp_path, seed):
    truth, results = random_pair(np.random.default_rng(seed), images=4, categories=3)
    for annotation in truth["annotations"]:
        annotation["iscrowd"] = 0
    found = details(*from_files(tmp_path, truth, results))
    counts = np.array(found.document["confusion"]["counts"])
    document = found.document["per_category"].values()
    assert counts[:-1].sum(axis=1).tolist() == [figures["instances"] for figures in document]
    assert counts[:, :-1].sum(axis=0).tolist() == [figures["predictions"] for figures in document]
    assert np.diag(counts)[:-1].tolist() == [figures["found"] for figures in document]


@pytest.mark.parametrize("seed", range(6))
def test_panoptic_quality_by_its_definition(seed):
    """Two label maps without overlaps, as the definition has them."""
    rng = np.random.default_rng(seed)
    truth_map, found_map = np.zeros((H, W), int), np.zeros((H, W), int)
    truth, found = [], []
    for n in range(1, 9):
        y, x, h, w = rng.integers(0, 40), rng.integers(0, 60), rng.integers(8, 20), rng.integers(8, 20)
        truth_map[y : y + h, x : x + w] = n
        found_map[y + rng.integers(0, 5) : y + h, x : x + w + rng.integers(0, 4)] = n
    for n in range(1, 9):
        for labels, records in ((truth_map, truth), (found_map, found)):
            if (labels == n).any():
                records.append((int(rng.integers(1, 3)), labels == n))
    pairs = [
        (t, f, (mask & other).sum() / (mask | other).sum())
        for t, (category, mask) in enumerate(truth)
        for f, (second, other) in enumerate(found)
        if category == second and (mask & other).sum() / (mask | other).sum() > 0.5
    ]
    rles = [(c, mask_to_rle(m)) for c, m in truth], [(c, mask_to_rle(m)) for c, m in found]
    annotations = tuple(Annotation(n, 1, c, r, rle_bbox(r), rle_area(r)) for n, (c, r) in enumerate(rles[0], 1))
    results = [Result(1, c, 0.9 - n / 100, rle_bbox(r), r) for n, (c, r) in enumerate(rles[1])]
    categories = (Category(1, "a"), Category(2, "b"))
    document = details(Dataset((Image(1, "a", H, W),), annotations, categories, None), results).document
    for number, name in ((1, "a"), (2, "b")):
        own = [iou for t, _, iou in pairs if truth[t][0] == number]
        total = sum(c == number for c, _ in truth) + sum(c == number for c, _ in found)
        expected = 2 * sum(own) / total if total else -1
        assert document["per_category"][name]["PQ"] == pytest.approx(expected)


def test_precision_recall_and_the_best_f1():
    dataset, results = one_image(
        [(1, (10, 10, 20, 20)), (1, (50, 30, 20, 20)), (1, (0, 50, 8, 8))],
        [(1, (10, 10, 20, 20), 0.9), (1, (30, 0, 5, 5), 0.6), (1, (50, 30, 20, 20), 0.4), (1, (70, 0, 5, 5), 0.2)],
    )
    figures = details(dataset, results).document["per_category"]["c1"]
    assert (figures["precision"], figures["recall"], figures["F1"]) == (1 / 2, 1 / 3, 2 / 5)
    assert (figures["count_bias"], figures["count_error"]) == (-1, 1)
    assert figures["best"] == {"score": 0.4, "precision": 2 / 3, "recall": 2 / 3, "F1": 2 / 3}


def test_the_first_part_is_the_data_and_intervals_contain_its_ap(tmp_path):
    dataset, results = from_files(tmp_path, *random_pair(np.random.default_rng(3), images=12, categories=3))
    found = details(dataset, results, intervals=True)
    scores = average_precisions(pools(dataset, results), Parts.of(len(dataset.images)).weights)
    own = score_results(dataset, results, ("segm",)).segm
    assert mean_ap(scores)[0] == pytest.approx(own.AP, abs=1e-12)
    assert mean_ap(scores, 0)[0] == pytest.approx(own.AP50, abs=1e-12)
    low, high = found.document["confidence"]["AP"]
    assert low < own.AP < high


def test_a_weighted_sample_scores_like_a_dataset_with_its_images(tmp_path):
    """An image that is three times in a sample counts as three images: AP is that of a file with three copies."""
    truth, results = random_pair(np.random.default_rng(4), images=5, categories=2)
    dataset, found = from_files(tmp_path, truth, results)
    weights = np.array([[1, 0, 3, 1, 0]], np.float32)
    sampled = mean_ap(average_precisions(pools(dataset, found), weights))[0]
    images, annotations, repeated = [], [], []
    for image, times in zip(truth["images"], weights[0].astype(int), strict=True):
        for _ in range(times):
            number = len(images) + 1
            images.append(image | {"id": number})
            for a in truth["annotations"]:
                if a["image_id"] == image["id"]:
                    annotations.append(a | {"image_id": number, "id": len(annotations) + 1})
            repeated += [r | {"image_id": number} for r in results if r["image_id"] == image["id"]]
    again = score_results(
        *from_files(tmp_path, truth | {"images": images, "annotations": annotations}, repeated), ("segm",)
    )
    # Equal scores of copies are not ranked apart where they are weights.
    assert sampled == pytest.approx(again.segm.AP, abs=0.02)


def test_a_result_compared_with_itself_and_with_a_worse_one(tmp_path):
    truth, results = random_pair(np.random.default_rng(6), images=25, categories=2)
    dataset, found = from_files(tmp_path, truth, results)
    perfect = [Result(a.image_id, a.category_id, 0.9, a.bbox, a.segmentation) for a in dataset.annotations]
    one, others = pools(dataset, perfect), pools(dataset, found)
    same = compare_pools(one, one, 25, 200)
    assert (same.value, same.p) == (0, 1)
    less = compare_pools(one, others, 25, 200)
    expected = score_results(dataset, perfect, ("segm",)).segm.AP - score_results(dataset, found, ("segm",)).segm.AP
    assert less.value == pytest.approx(expected, abs=1e-12)
    assert less.p < 0.05
    assert less.interval[0] > 0


@given(masks(), st.integers(1, 12))
def test_the_boundary_band_is_what_repeated_erosion_removes(mask, distance):
    """As the code of the paper writes it: a border of background, 3 x 3 squares, one erosion after another."""
    eroded = np.pad(mask, 1)
    for _ in range(distance):
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(eroded, 1), (3, 3))
        eroded = windows.all(axis=(2, 3))
    expected = mask & ~eroded[1:-1, 1:-1]
    assert np.array_equal(mask_band(mask, distance), expected)


@pytest.mark.parametrize("in_c", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_boundary_ap_equals_another_implementation(tmp_path, monkeypatch, seed, in_c):
    if not in_c:
        monkeypatch.setattr("segkit.data.bands._in_c", None)
    truth, results = random_pair(np.random.default_rng(seed), images=4)
    dataset, found = from_files(tmp_path, truth, results)
    gt = fast.COCO(truth, verbose=False)
    run = fast.COCOeval(gt, gt.loadRes([dict(r) for r in results]), "boundary", print_function=lambda _: None)
    run.run()
    own = score_results(dataset, found, ("boundary",)).boundary
    assert [getattr(own, name) for name in NUMBERS] == [float(value) for value in run.stats[:12]]


@pytest.mark.parametrize("seed", range(10))
def test_matching_by_an_overlap_of_ones_own_equals_pycocotools(tmp_path, seed):
    """Few categories and many near copies, so that detections compete for annotations, crowds among them."""
    truth, results = random_pair(np.random.default_rng(seed), images=3, categories=1)
    dataset, found = from_files(tmp_path, truth, results * 3)
    inputs = prepare_inputs(dataset, found, ("segm",)).renumbered()

    def overlaps(places):
        for place in places:
            crowd = np.array([bool(a["iscrowd"]) for a in place.annotations], bool)
            yield ious(place.results, place.annotations, crowd, "segm", place.size)

    expected = match_detections(inputs, "segm", 100, "pycocotools")
    own = match_by_overlap(inputs, 100, overlaps)
    for name in ("slot", "image", "rank", "score", "outcome", "positives"):
        assert np.array_equal(getattr(own, name), getattr(expected, name)), name


def test_federated_ap_counts_only_annotated_categories(tmp_path):
    """By hand: detections of categories that an image does not list are removed; the rest is COCO's AP."""
    rng = np.random.default_rng(2)
    truth, results = random_pair(rng, images=20, categories=4)
    truth["annotations"] = [a | {"iscrowd": 0} for a in truth["annotations"] if a["area"] > 0]
    results = [r for r in results if r["bbox"][2] * r["bbox"][3] > 0]
    looked = {}
    for image in truth["images"]:
        there = {a["category_id"] for a in truth["annotations"] if a["image_id"] == image["id"]}
        absent = [c for c in (1, 2, 3, 4) if c not in there]
        image["neg_category_ids"], image["not_exhaustive_category_ids"] = absent[:1], []
        looked[image["id"]] = there | set(absent[:1])
    dataset, found = from_files(tmp_path, truth, results)
    metrics = score_results(dataset, found, ("segm",), lvis=tmp_path / "t.json")
    kept = [r for r in found if r.category_id in looked[r.image_id]]
    assert len(kept) < len(found)
    inputs = prepare_inputs(dataset, kept, ("segm",))
    by_hand = evaluate(inputs, "segm", [1, 10, 300]).precision[..., 0, 2]
    assert metrics.lvis["segm"]["AP"] == pytest.approx(by_hand[by_hand > -1].mean(), abs=1e-12)
    assert "APr" not in metrics.lvis["segm"]
    assert "frequency" in metrics.warnings[-1]


def test_categories_with_equal_names_have_separate_scores():
    data, _ = one_image([(1, (10, 10, 30, 30)), (2, (45, 10, 20, 20))], [])
    truth = paint(data.images[0], data.annotations, {1: 1, 2: 2}, "background")
    wrong = np.roll(truth, 4, axis=1)
    scores = []
    for names in (("a", "b"), ("a", "a"), ("background", "b")):
        categories = tuple(Category(n, name) for n, name in enumerate(names, 1))
        confusion = Confusion(replace(data, categories=categories))
        confusion.add(truth, wrong)
        metrics = confusion.metrics()
        assert len(metrics.per_category) == 3
        scores.append((metrics.mIoU, metrics.F1, metrics.fwIoU))
    assert scores[0] == scores[1] == scores[2]


def test_the_p_value_does_not_depend_on_the_order(tmp_path):
    truth, results = random_pair(np.random.default_rng(9), images=10, categories=2)
    dataset, found = from_files(tmp_path, truth, results)
    one, two = pools(dataset, found), pools(dataset, found[::2])
    assert compare_pools(one, two, 10, 300).p == compare_pools(two, one, 10, 300).p


def test_semantic_scores_other_than_miou():
    data, _ = one_image([(1, (10, 10, 30, 30)), (2, (45, 10, 20, 20))], [])
    truth = paint(data.images[0], data.annotations, {1: 1, 2: 2}, "background")
    wrong = np.roll(truth, 4, axis=1)
    confusion = Confusion(data, intervals=True, boundary=True)
    confusion.add(truth, wrong, 1)
    scores = confusion.metrics()
    ious = [((truth == c) & (wrong == c)).sum() / ((truth == c) | (wrong == c)).sum() for c in range(3)]
    share = [(truth == c).mean() for c in range(3)]
    assert scores.fwIoU == pytest.approx(np.dot(ious, share))
    assert scores.mean_accuracy == pytest.approx(np.mean([(wrong == c)[truth == c].mean() for c in range(3)]))
    assert scores.boundary_IoU < scores.mIoU, "a shift hurts contours more than areas"
    assert np.array(scores.confusion).sum() == truth.size
    assert scores.mIoU_interval is None, "one image says nothing of others"


def test_a_perfect_prediction_beside_ignored_pixels_has_boundary_iou_1():
    data, _ = one_image([(1, (10, 10, 40, 30))], [], categories=1)
    truth = paint(data.images[0], data.annotations, {1: 1}, "background")
    truth[:, 30:36] = 255
    confusion = Confusion(data, boundary=True)
    confusion.add(truth, np.where(truth == 255, 1, truth))
    assert confusion.metrics().boundary_IoU == 1
    confusion = Confusion(data, boundary=True)
    confusion.add(truth, np.where(truth == 255, 1, np.roll(truth, 3, axis=0)))
    assert confusion.metrics().boundary_IoU < 0.8


def test_names_are_escaped_in_the_report_of_pixel_scores():
    name = "<img src=x onerror='alert(1)'> & \"b\""
    data, _ = one_image([(1, (10, 10, 30, 30))], [], categories=1)
    data = replace(data, categories=(Category(1, name),), images_dir=Path())
    data = replace(data, images=(replace(data.images[0], file_name=name),))
    pixels = PixelScores(data, intervals=True, details=True)
    truth = paint(data.images[0], data.annotations, {1: 1}, "background")
    pixels.add(data.images[0], truth, np.roll(truth, 4, axis=1))
    metrics = Metrics(images=1, max_dets=100, semantic=pixels.confusion.metrics(), warnings=[name])
    page = render_report(Evaluation(metrics, None, name, Path("val.json"), data, (), pixels), metrics, None)
    assert "<img src=x" not in page
    escaped = "&lt;img src=x onerror=&#39;alert(1)&#39;&gt; &amp; &#34;b&#34;"
    for begin in (
        "<dd>",
        "<td>",
        '<p class="warn">',
        "</span>",
        "<b>",
    ):
        assert begin + escaped in page, begin
