"""Scores beside the packages that define them, on random sets with crowds, ties and ignored pixels.

Some of the packages are old or heavy and are no dependency of the tests: install them to compare (``tidecv``, ``lvis``,
``scikit-learn``, ``ultralytics``; panopticapi and boundary-iou-api are on GitHub only). SEGKIT_REFERENCE_SETS=100
compares on so many sets. docs/scores.md has the results.
"""

import contextlib
import io
import json
import os
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from coco_pairs import random_pair
from pycocotools import mask as coco_mask

from segkit.data.masks import mask_to_rle
from segkit.data.records import Category, Dataset, Image
from segkit.evaluation.analysis.details import DetailOptions, compute_details
from segkit.evaluation.coco.inputs import prepare_inputs
from segkit.evaluation.coco.overlap import overlaps_by_image
from segkit.evaluation.coco.score import score_results
from segkit.evaluation.evaluation import Evaluation
from segkit.evaluation.other_tools.rows import rows_as
from segkit.evaluation.other_tools.rules import TOOLS
from segkit.evaluation.other_tools.scene import Scene
from segkit.evaluation.pixels.confusion import Confusion
from segkit.formats.coco.file import read_coco, read_results

SETS = int(os.environ.get("SEGKIT_REFERENCE_SETS", "4"))


@pytest.fixture
def old_names_of_numpy(monkeypatch):
    """Packages of 2020 use names that NumPy has removed."""
    monkeypatch.setattr(np, "float", float, raising=False)
    monkeypatch.setattr(np, "int", int, raising=False)


def pair_of_files(folder, seed, **options):
    truth, results = random_pair(np.random.default_rng(seed), **options)
    (folder / "t.json").write_text(json.dumps(truth))
    (folder / "r.json").write_text(json.dumps(results))
    return truth, results, read_coco(folder / "t.json"), read_results(folder / "r.json")


def details_of(dataset, results, iou_type="segm", score=0.5):
    inputs = prepare_inputs(dataset, results, (iou_type,))
    return compute_details(inputs, iou_type, DetailOptions(score=score)).document


@pytest.mark.parametrize("seed", range(SETS))
def test_tide_equals_tidecv(tmp_path, seed):
    tidecv = pytest.importorskip("tidecv")
    truth, results, dataset, found = pair_of_files(tmp_path, seed, images=6)
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    for iou_type, mode in (("segm", tidecv.TIDE.MASK), ("bbox", tidecv.TIDE.BOX)):
        gt, dt = tidecv.Data("gt"), tidecv.Data("dt")
        for image in truth["images"]:
            gt.add_image(image["id"], image["file_name"])
        for each in truth["annotations"]:
            mask = (
                coco_mask.merge(coco_mask.frPyObjects(each["segmentation"], *sizes[each["image_id"]]))
                if isinstance(each["segmentation"], list)
                else each["segmentation"]
            )
            if isinstance(mask["counts"], list):
                mask = coco_mask.frPyObjects(mask, *mask["size"])
            add = gt.add_ignore_region if each["iscrowd"] else gt.add_ground_truth
            add(each["image_id"], each["category_id"], each["bbox"], mask)
        for each in results:
            dt.add_detection(each["image_id"], each["category_id"], each["score"], each["bbox"], each["segmentation"])
        run = tidecv.TIDE().evaluate(gt, dt, mode=mode)
        own = details_of(dataset, found, iou_type)["mistakes"]
        names = ("class", "localisation", "both", "duplicate", "background", "missed")
        types = (
            tidecv.ClassError, tidecv.BoxError, tidecv.OtherError, tidecv.DuplicateError, tidecv.BackgroundError,
            tidecv.MissedError,
        )  # fmt: skip
        counts, costs = run.count_errors(), run.fix_main_errors()
        assert own["counts"] == {name: counts[each] for name, each in zip(names, types, strict=True)}
        special = {type(None): 0} | {each.short_name: value for each, value in run.fix_special_errors().items()}
        expected = {name: costs[each] / 100 for name, each in zip(names, types, strict=True)}
        expected |= {"all false positives": special["FalsePos"] / 100, "all false negatives": special["FalseNeg"] / 100}
        assert own["AP50_cost"] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(SETS))
def test_pixel_scores_equal_scikit_learn(seed):
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    number = int(rng.integers(1, 6))
    categories = tuple(Category(n, f"c{n}") for n in range(1, number + 1))
    confusion = Confusion(Dataset((), (), categories, None))
    pairs = []
    for image in range(4):
        shape = tuple(rng.integers(3, 30, 2))
        truth = rng.integers(0, number + 1, shape).astype(np.uint8)
        found = np.where(rng.random(shape) < 0.5, truth, rng.integers(0, number + 1, shape))
        truth[rng.random(shape) < 0.2] = 255
        confusion.add(truth, found, image)
        pairs.append((truth[truth != 255], found[truth != 255]))
    truth, found = (np.concatenate(each) for each in zip(*pairs, strict=True))
    own = confusion.metrics()
    assert own.mIoU == pytest.approx(metrics.jaccard_score(truth, found, average="macro"), abs=1e-12)
    assert pytest.approx(metrics.f1_score(truth, found, average="macro"), abs=1e-12) == own.F1
    assert own.pixel_accuracy == pytest.approx(metrics.accuracy_score(truth, found), abs=1e-12)
    assert own.mean_accuracy == pytest.approx(metrics.balanced_accuracy_score(truth, found), abs=1e-12)


def panoptic_pair(rng):
    """Label maps of segments, as panoptic data has them: some are crowds, some pixels are of none."""
    shape, number = (60, 80), int(rng.integers(1, 4))
    truth, found = np.zeros(shape, int), np.zeros(shape, int)
    for n in range(1, 9):
        y, x, h, w = rng.integers(0, 40), rng.integers(0, 60), rng.integers(6, 24), rng.integers(6, 24)
        truth[y : y + h, x : x + w] = n
        found[y + rng.integers(0, 4) : y + h + rng.integers(-3, 4), x + rng.integers(0, 4) : x + w] = n
    found[found == rng.integers(1, 9)] = 0
    kinds = rng.integers(1, number + 1, 9)
    other = np.where(rng.random(9) < 0.2, rng.integers(1, number + 1, 9), kinds)
    return truth, found, kinds, other, rng.random(9) < 0.2, number


@pytest.mark.parametrize("seed", range(SETS))
def test_panoptic_quality_equals_panopticapi(tmp_path, seed):
    """Everything is covered by a segment, as PQ of instances knows no pixels that are of no segment."""
    evaluation = pytest.importorskip("panopticapi.evaluation")
    from PIL import Image as Picture

    rng = np.random.default_rng(seed)
    images, truths, founds, annotations, results = {}, {}, {}, [], []
    for image_id in range(1, 4):
        truth, found, kinds, others, crowd, _ = panoptic_pair(rng)
        truth, found = truth + 1, found + 1  # the rest of the image is a segment, too
        kinds, others, crowd = np.append(1, kinds), np.append(1, others), np.append(False, crowd)
        crowd[[int(n) for n in range(len(crowd)) if (kinds[:n] == kinds[n]).any() & crowd[:n].any()]] = False
        names = f"{image_id}.png"
        for labels, folder in ((truth, tmp_path / "gt"), (found, tmp_path / "dt")):
            folder.mkdir(exist_ok=True)
            rgb = np.stack([labels, np.zeros_like(labels), np.zeros_like(labels)], -1).astype(np.uint8)
            Picture.fromarray(rgb).save(folder / names)
        of_truth = [n for n in np.unique(truth).tolist() if n]
        of_found = [n for n in np.unique(found).tolist() if n]
        images[image_id] = Image(image_id, names, *truth.shape)
        truths[image_id] = {
            "image_id": image_id, "file_name": names,
            "segments_info": [
                {"id": n, "category_id": int(kinds[n - 1]), "iscrowd": int(crowd[n - 1]), "area": (truth == n).sum()}
                for n in of_truth
            ],
        }  # fmt: skip
        founds[image_id] = {
            "image_id": image_id, "file_name": names,
            "segments_info": [{"id": n, "category_id": int(others[n - 1])} for n in of_found],
        }  # fmt: skip
        for n in of_truth:
            rle = mask_to_rle(truth == n)
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image_id, "category_id": int(kinds[n - 1]),
                 "iscrowd": int(crowd[n - 1]), "segmentation": rle, "area": int((truth == n).sum()),
                 "bbox": coco_mask.toBbox(rle).tolist()}
            )  # fmt: skip
        for n in of_found:
            rle = mask_to_rle(found == n)
            results.append({"image_id": image_id, "category_id": int(others[n - 1]), "score": 1.0, "segmentation": rle})
    categories = {n: {"id": n, "name": f"c{n}", "isthing": 1, "color": [n, 0, 0]} for n in (1, 2, 3)}
    with contextlib.redirect_stdout(io.StringIO()):
        stat = evaluation.pq_compute_single_core(
            0, [(truths[n], founds[n]) for n in images], str(tmp_path / "gt"), str(tmp_path / "dt"), categories
        )
    expected, by_category = stat.pq_average(categories, isthing=None)
    document = {
        "images": [
            {"id": i.id, "file_name": i.file_name, "height": i.height, "width": i.width} for i in images.values()
        ],
        "annotations": annotations,
        "categories": [{"id": n, "name": f"c{n}"} for n in categories],
    }
    (tmp_path / "t.json").write_text(json.dumps(document))
    (tmp_path / "r.json").write_text(json.dumps(results))
    own = details_of(read_coco(tmp_path / "t.json"), read_results(tmp_path / "r.json"))
    assert [own["overall"][name] for name in ("PQ", "SQ", "RQ")] == pytest.approx(
        [expected[name] for name in ("pq", "sq", "rq")], abs=1e-12
    )
    for n, numbers in by_category.items():
        if own["per_category"][f"c{n}"]["PQ"] != -1:
            assert own["per_category"][f"c{n}"]["PQ"] == pytest.approx(numbers["pq"], abs=1e-12)


@pytest.mark.parametrize("seed", range(SETS))
def test_lvis_ap_equals_the_lvis_package(tmp_path, seed, old_names_of_numpy):
    lvis = pytest.importorskip("lvis")
    rng = np.random.default_rng(seed)
    truth, results = random_pair(rng, images=8, categories=4)
    truth["annotations"] = [each | {"iscrowd": 0} for each in truth["annotations"] if each["area"] > 0]
    results = [each for each in results if each["bbox"][2] * each["bbox"][3] > 0]
    for category in truth["categories"]:
        category |= {"frequency": "rcf"[category["id"] % 3], "image_count": 1, "instance_count": 1}
    for image in truth["images"]:
        there = {each["category_id"] for each in truth["annotations"] if each["image_id"] == image["id"]}
        absent = [n for n in (1, 2, 3, 4) if n not in there]
        image |= {
            "neg_category_ids": absent[: int(rng.integers(0, 3))],
            "not_exhaustive_category_ids": [n for n in there if rng.random() < 0.2],
        }
    for each in truth["annotations"]:  # the package reads no run lengths that are listed
        if isinstance(each["segmentation"], dict) and isinstance(each["segmentation"]["counts"], list):
            rle = coco_mask.frPyObjects(each["segmentation"], *each["segmentation"]["size"])
            each["segmentation"] = {"size": rle["size"], "counts": rle["counts"].decode()}
    (tmp_path / "t.json").write_text(json.dumps(truth))
    (tmp_path / "r.json").write_text(json.dumps(results))
    dataset, found = read_coco(tmp_path / "t.json"), read_results(tmp_path / "r.json")
    own = score_results(dataset, found, ("segm", "bbox"), lvis=tmp_path / "t.json").lvis
    gt = lvis.LVIS(str(tmp_path / "t.json"))
    for iou_type in ("segm", "bbox"):
        run = lvis.LVISEval(gt, lvis.LVISResults(gt, str(tmp_path / "r.json")), iou_type)
        run.run()
        expected = run.get_results()
        for name, value in own[iou_type].items():
            other = {"AR300": "AR@300", "ARs": "ARs@300", "ARm": "ARm@300", "ARl": "ARl@300"}.get(name, name)
            assert value == pytest.approx(expected[other], abs=1e-12), name


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it leaves files open
@pytest.mark.parametrize("seed", range(SETS))
def test_boundary_ap_equals_boundary_iou_api(tmp_path, seed, old_names_of_numpy):
    boundary_iou = pytest.importorskip("boundary_iou.coco_instance_api.cocoeval")
    from boundary_iou.coco_instance_api.coco import COCO

    _, _, dataset, found = pair_of_files(tmp_path, seed, images=4)
    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO(str(tmp_path / "t.json"), get_boundary=True, dilation_ratio=0.02)
        run = boundary_iou.COCOeval(gt, gt.loadRes(json.loads((tmp_path / "r.json").read_text())), "boundary")
        run.evaluate()
        run.accumulate()
        run.summarize()
    own = score_results(dataset, found, ("boundary",)).boundary
    names = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
    assert [getattr(own, name) for name in names] == pytest.approx(list(run.stats), abs=1e-12)


@pytest.mark.parametrize("kind", ["segm", "bbox"])
@pytest.mark.parametrize("seed", range(SETS))
def test_the_last_row_is_the_number_of_ultralytics(tmp_path, monkeypatch, seed, kind):
    """Its matching and its AP, on the annotations and results that the rules before have left."""
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    pytest.importorskip("ultralytics")
    from ultralytics.engine.validator import BaseValidator
    from ultralytics.utils.metrics import ap_per_class

    _, _, dataset, found = pair_of_files(tmp_path, seed, images=6)
    found = [replace(each, score=each.score + n * 1e-6) for n, each in enumerate(found)]  # it sorts ties as it likes
    if not any(not a.iscrowd for a in dataset.annotations):
        pytest.skip("nothing is annotated")
    scene = Scene(dataset, tuple(found), kind)
    for rule in TOOLS["ultralytics"].rules:
        scene = rule.change(scene) if rule.only in (None, kind) else scene
    inputs = prepare_inputs(scene.dataset, scene.results, (kind,)).renumbered()
    matcher = SimpleNamespace(iouv=torch.linspace(0.5, 0.95, 10, dtype=torch.float64))
    hits, scores, categories = [], [], []
    for image in overlaps_by_image(inputs, kind):
        predicted, true = torch.from_numpy(image.category), torch.from_numpy(image.true_category)
        iou = torch.from_numpy(image.iou.T.reshape(len(true), len(predicted)))
        if any(len(set(row[row >= 0.5])) < (row >= 0.5).sum() for row in image.iou):
            pytest.skip("of annotations that overlap a result alike COCO takes the last, ultralytics the first")
        matched = (
            BaseValidator.match_predictions(matcher, predicted, true, iou).numpy()
            if len(true) and len(predicted)
            else np.zeros((len(predicted), 10), bool)
        )
        hits, scores, categories = [*hits, matched], [*scores, image.score], [*categories, image.category]
    annotated = np.array([a["category_id"] for a in inputs.truth["annotations"]])
    parts = [np.concatenate(each) for each in (hits, scores, categories)]
    expected = ap_per_class(parts[0], parts[1], parts[2], annotated)[5]
    metrics = score_results(dataset, found, (kind,))
    row = rows_as("ultralytics", Evaluation(metrics, None, "", None, dataset, tuple(found)))[kind][-1]
    assert row["AP"] == pytest.approx(expected.mean(), abs=1e-12)
    assert row["AP50"] == pytest.approx(expected[:, 0].mean(), abs=1e-12)
