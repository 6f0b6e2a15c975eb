"""COCO's numbers to the last bit: every way that segkit computes them, and pycocotools, on the same files."""

import contextlib
import io
import json

import numpy as np
import pytest
from coco_pairs import random_pair
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from segkit.config.evaluate import EvalConfig
from segkit.evaluation.coco import engine, parts
from segkit.evaluation.coco.accumulate import accumulate
from segkit.evaluation.coco.fast_path import check_files
from segkit.evaluation.coco.inputs import prepare_inputs
from segkit.evaluation.coco.instance_metrics import NUMBERS
from segkit.evaluation.coco.outcomes import FALSE_POSITIVE, IGNORED, TRUE_POSITIVE, match_detections
from segkit.evaluation.coco.streaming import Stream
from segkit.evaluation.results_file import evaluate_results
from segkit.formats.coco.file import read_coco, read_results

ARRAYS = ("precision", "recall", "scores")


def reference(folder, kind):
    """As in pycocotools' demo: two files, loadRes, evaluate, accumulate, summarize."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(folder / "t.json"))
        run = COCOeval(truth, truth.loadRes(str(folder / "r.json")), kind)
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run


def written(folder, truth, results):
    (folder / "t.json").write_text(json.dumps(truth))
    (folder / "r.json").write_text(json.dumps(results))
    return folder


def streamed(dataset, results, kind, batch=2):
    """Batches of images, on two ranks."""
    ranks = [Stream(dataset, (kind,)), Stream(dataset, (kind,))]
    for begin in range(0, len(dataset.images), batch):
        images = dataset.images[begin : begin + batch]
        ids = {image.id for image in images}
        ranks[(begin // batch) % 2].add(images, [r for r in results if r.image_id in ids])
    return ranks[0].finish([rank.parts for rank in ranks])


def check(folder, kind):
    """Numbers and arrays of every way to compute them."""
    oracle = reference(folder, kind)
    expected = [float(value) for value in oracle.stats]
    config = EvalConfig(subject=folder / "r.json", data=folder / "t.json", iou=(kind,))
    ways = {
        "files": evaluate_results(config).metrics,
        "reference": evaluate_results(EvalConfig(**{**as_dict(config), "engine": "pycocotools"})).metrics,
    }
    dataset, results = read_coco(folder / "t.json"), read_results(folder / "r.json")
    ways["stream"] = streamed(dataset, results, kind)
    for name, metrics in ways.items():
        part = getattr(metrics, kind)
        assert [getattr(part, number) for number in NUMBERS] == expected, name
        for k, category_id in enumerate(oracle.params.catIds):
            values = oracle.eval["precision"][:, :, k, 0, 2]
            known = values[values > -1]
            assert part.per_category[f"c{category_id}"]["AP"] == (np.mean(known) if known.size else -1), name
    inputs = prepare_inputs(dataset, results, (kind,))
    caps = [1, 10, 100]
    for found in (
        engine.evaluate(inputs, kind, caps),
        engine.evaluate_files(str(folder / "t.json"), str(folder / "r.json"), kind, caps),
        accumulate(match_detections(inputs, kind, 100), sorted(c.id for c in dataset.categories), caps),
    ):
        for array in ARRAYS:
            np.testing.assert_array_equal(getattr(found, array), oracle.eval[array])


def as_dict(config):
    return {name: getattr(config, name) for name in config.__slots__}


@pytest.mark.parametrize("block", range(10))
def test_random_pairs(tmp_path, block):
    for seed in range(30 * block, 30 * (block + 1)):
        rng = np.random.default_rng(seed)
        truth, results = random_pair(rng, sparse_ids=bool(seed % 2))
        if not results:
            continue
        folder = written(tmp_path, truth, results)
        if truth["annotations"]:
            assert check_files(folder / "t.json", folder / "r.json") is not None, "the fast path is tested, too"
        for kind in ("segm", "bbox"):
            check(folder, kind)


@pytest.mark.parametrize("seed", range(4))
def test_negative_ids(tmp_path, seed):
    truth, results = random_pair(np.random.default_rng(seed), images=3)
    for number, annotation in enumerate(truth["annotations"], 1):
        annotation["id"] = -number
    for kind in ("segm", "bbox"):
        check(written(tmp_path, truth, results), kind)


@pytest.mark.parametrize("seed", range(10))
def test_both_engines_match_every_detection_alike(tmp_path, seed):
    folder = written(tmp_path, *random_pair(np.random.default_rng(seed)))
    dataset, results = read_coco(folder / "t.json"), read_results(folder / "r.json")
    for kind in ("segm", "bbox"):
        inputs = prepare_inputs(dataset, results, (kind,))
        one, two = (match_detections(inputs, kind, 100, name) for name in ("fast", "pycocotools"))
        for name in ("slot", "image", "rank", "score", "outcome", "positives"):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
        assert set(np.unique(one.outcome)) == {IGNORED, TRUE_POSITIVE, FALSE_POSITIVE}


@pytest.mark.parametrize("seed", range(6))
def test_files_in_parts_score_the_same(tmp_path, monkeypatch, seed):
    """Images without results and without annotations among them."""
    truth, results = random_pair(np.random.default_rng(seed), images=9, sparse_ids=True)
    empty = {image["id"] for image in truth["images"][seed % 3 :: 3]}
    results = [each for each in results if each["image_id"] not in empty]
    (tmp_path / "t.json").write_text(json.dumps(truth))
    (tmp_path / "r.json").write_text(json.dumps(results))
    config = EvalConfig(subject=tmp_path / "r.json", data=tmp_path / "t.json", max_dets="120")
    assert check_files(tmp_path / "t.json", tmp_path / "r.json") is not None, "the fast path"
    whole = evaluate_results(config).metrics
    for most in (0, 5, 20):
        monkeypatch.setattr(parts, "MOST_PAIRS", most)
        assert evaluate_results(config).metrics == whole


def test_without_the_fast_engine_pycocotools_is_used(tmp_path, monkeypatch):
    folder = written(tmp_path, *random_pair(np.random.default_rng(1)))
    config = EvalConfig(subject=folder / "r.json", data=folder / "t.json")
    expected = evaluate_results(config).metrics
    monkeypatch.setattr(engine, "fast", None)
    metrics = evaluate_results(config).metrics
    assert metrics.engine.startswith("pycocotools ")
    assert metrics.warnings[0].startswith("ultrafast-pycocotools is not installed")
    assert (metrics.segm, metrics.bbox) == (expected.segm, expected.bbox)
