"""Real files made by others, compared with counts and areas of independent code."""

import contextlib
import io
import json
import os
from collections import Counter

import pytest
from conftest import SHARED
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from segkit.config.convert import ConvertConfig
from segkit.config.evaluate import EvalConfig
from segkit.conversion.convert import convert
from segkit.evaluation.coco.instance_metrics import NUMBERS
from segkit.evaluation.results_file import evaluate_results

NO_INSTANCES = {"__ignore__", "_background_", "background"}
CASES = sorted(p.stem for p in (SHARED / "expected").glob("l*.json")) if SHARED.is_dir() else []


@pytest.mark.parametrize("case", CASES)
def test_every_instance_of_every_file(shared, tmp_path, case, capsys):
    expected = json.loads((shared / "expected" / f"{case}.json").read_text())
    convert(ConvertConfig(src=str(shared / case.replace("__", "/")), out=tmp_path / "d", val=0.0))
    coco = COCO(str(tmp_path / "d/train.json"))
    names = {c["id"]: c["name"] for c in coco.dataset["categories"]}
    counts: Counter[str] = Counter()
    areas: Counter[str] = Counter()
    for annotation in coco.dataset["annotations"]:
        counts[names[annotation["category_id"]]] += 1
        areas[names[annotation["category_id"]]] += annotation["area"]
        assert coco.annToMask(annotation).sum() == annotation["area"]
    wanted = {k: v for k, v in expected["instances_per_label_area_types"].items() if k not in NO_INSTANCES}
    assert counts == wanted
    assert areas == {k: v for k, v in expected["raster_area_per_label"].items() if k not in NO_INSTANCES}
    sizes = Counter(f"{i['width']}x{i['height']}" for i in coco.dataset["images"])
    assert sizes == {k: v for k, v in expected["image_sizes"].items() if "None" not in k}


PAIRS = {
    "eval_cocoapi100/dt_fakesegm100 segm": (
        "eval_cocoapi100/gt_instances_val2014_100.json", "eval_cocoapi100/dt_fakesegm100.json"),
    "eval_cocoapi100/dt_fakebbox100 bbox": (
        "eval_cocoapi100/gt_instances_val2014_100.json", "eval_cocoapi100/dt_fakebbox100.json"),
    "balloon bbox": ("balloon/eval_pair/gt_balloon_val_coco.json", "balloon/eval_pair/dt_mask_rcnn_detectron2.json"),
    "balloon segm": ("balloon/eval_pair/gt_balloon_val_coco.json", "balloon/eval_pair/dt_mask_rcnn_detectron2.json"),
    "eval_tiny_shapes bbox": ("eval_tiny_shapes/gt.json", "eval_tiny_shapes/dt.json"),
    "eval_tiny_shapes segm": ("eval_tiny_shapes/gt.json", "eval_tiny_shapes/dt.json"),
}  # fmt: skip


@pytest.mark.parametrize("case", PAIRS)
def test_coco_metrics_equal_given_numbers(shared, segkit, case):
    expected = json.loads((shared / "expected/eval_stats_pycocotools.json").read_text())[case]
    truth, results = PAIRS[case]
    kind = case.split()[-1]
    outcome = segkit("eval", shared / results, "--data", shared / truth, "--iou", kind, "--json", "--quiet")
    assert outcome.code == 0
    assert {k: round(v, 6) for k, v in json.loads(outcome.out)[kind].items() if k in expected} == expected


@pytest.mark.parametrize("case", PAIRS)
@pytest.mark.parametrize("engine", ["fast", "pycocotools"])
def test_coco_metrics_equal_those_of_pycocotools_to_the_last_bit(shared, case, engine):
    """Compared with pycocotools, which reads the same files in this test."""
    truth, results = (shared / name for name in PAIRS[case])
    kind = case.split()[-1]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(truth))
        run = COCOeval(coco, coco.loadRes(str(results)), kind)
        run.evaluate()
        run.accumulate()
        run.summarize()
    metrics = evaluate_results(EvalConfig(subject=results, data=truth, iou=(kind,), engine=engine)).metrics
    assert [getattr(getattr(metrics, kind), number) for number in NUMBERS] == [float(value) for value in run.stats]


def test_camvid(shared, tmp_path):
    summary = convert(ConvertConfig(src=str(shared / "camvid_subset"), out=tmp_path / "d"))
    assert {name: count.images for name, count in summary.splits.items()} == {
        "train": 160,
        "val": 48,
        "test": 64,
    }
    assert list(summary.categories)[:3] == ["Sky", "Building", "Pole"]
    assert len(summary.categories) == 11
    assert summary.findings == ()


def test_ci_has_the_shared_data():
    """In CI a missing folder is an error, not a reason to skip."""
    if os.environ.get("CI") and SHARED.parent.is_dir():
        assert SHARED.is_dir()
