"""The whole pipeline: one command after the other, with few options."""

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from labelme_program import open_in_labelme
from PIL import Image

from segkit.data.masks import to_rle
from segkit.formats.coco.file import read_results

SMALL = (
    "--weights",
    "none",
    "--size",
    64,
    "--batch",
    2,
    "--steps",
    3,
    "--device",
    "cpu",
    "--eval-every",
    1000,
)


@pytest.fixture(scope="module", params=["maskrcnn", "fasterrcnn", "unet"])
def road(request, tmp_path_factory, parts):
    """A working folder in which convert and train were run."""
    from segkit.cli import main

    folder = tmp_path_factory.mktemp(request.param)
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert main(["convert", str(parts)]) == 0
        # An untrained detector has as many detections as it may, and their masks take the time.
        few = [] if request.param == "unet" else ["--detections", "10"]
        assert main(["train", "--model", request.param, *few, *map(str, SMALL)]) == 0
        yield folder, request.param
    finally:
        os.chdir(before)


def test_eval_writes_metrics(road, segkit):
    folder, model = road
    outcome = segkit("eval", "--json")
    assert outcome.code == 0, outcome.err
    metrics = json.loads(outcome.out)
    expected = {"maskrcnn": {"segm", "bbox"}, "fasterrcnn": {"bbox"}, "unet": {"segm", "semantic"}}[model]
    assert expected == {"segm", "bbox", "semantic"} & metrics.keys()
    assert metrics["images"] == len(json.loads((folder / "dataset/val.json").read_text())["images"])
    assert json.loads((folder / "runs/latest/metrics.json").read_text()) == metrics


def test_predict_writes_every_format(road, segkit, parts):
    folder, model = road
    kinds = [("overlay", "jpg"), *([("idmask", "png")] if model != "fasterrcnn" else [])]
    formats = ",".join(["coco,labelme,csv", *(kind for kind, _ in kinds)])
    outcome = segkit("predict", parts, "--score", 0, "--out", "all", "--format", formats, "--json")
    assert outcome.code == 0, outcome.err
    lines = [json.loads(line) for line in outcome.out.splitlines()]
    assert len(lines) == 12
    results = read_results(folder / "all/results.json")
    assert sum(len(line["instances"]) for line in lines) == len(results)
    assert results or model == "unet"
    with (folder / "all/instances.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(results)
    for kind, suffix in kinds:
        with Image.open(folder / f"all/{kind}/part_000.{suffix}") as picture:
            assert picture.width == 96
            assert picture.height >= 96 if kind == "overlay" else picture.height == 96  # a legend stands below it


def test_labelme_files_convert_back_to_what_was_predicted(road, segkit, parts):
    folder, model = road
    assert segkit("predict", parts, "--score", 0, "--out", "p", "--format", "labelme,coco").code == 0
    assert segkit("convert", "p/labelme", "--out", "back", "--val", 0, "--labels", "dataset/labels.txt").code == 0
    images = json.loads((folder / "p/images.json").read_text())["images"]
    predicted, back = {}, {}
    for result in read_results(folder / "p/results.json"):
        name = images[result.image_id - 1]["file_name"]
        if result.segmentation is not None and to_rle(result.segmentation, 96, 96)["counts"] != "PP":
            predicted.setdefault(name, []).append((result.category_id, to_rle(result.segmentation, 96, 96)["counts"]))
    top = json.loads((folder / "back/train.json").read_text())
    names = {image["id"]: image["file_name"] for image in top["images"]}
    for annotation in top["annotations"]:
        rle = annotation["segmentation"]
        if model != "fasterrcnn":
            back.setdefault(names[annotation["image_id"]], []).append((annotation["category_id"], rle["counts"]))
    empty = {key: [pair for pair in pairs if pair[1]] for key, pairs in predicted.items()}
    whole = to_rle({"size": [96, 96], "counts": [96 * 96]}, 96, 96)["counts"]
    empty = {key: [pair for pair in pairs if pair[1] != whole] for key, pairs in empty.items()}
    assert {k: v for k, v in empty.items() if v} == back


def test_resume_skips_what_is_done(road, segkit, parts, tmp_path):
    some = tmp_path / "some"
    shutil.copytree(parts, some)
    moved = some / "part_003.jpg"
    moved.rename(tmp_path / "part_003.jpg")
    assert segkit("predict", some, "--out", tmp_path / "o").code == 0
    refused = segkit("predict", some, "--out", tmp_path / "o")
    assert refused.code == 1
    assert "holds predictions\nhint: go on with --resume" in refused.err
    (tmp_path / "part_003.jpg").rename(moved)
    outcome = segkit("predict", some, "--out", tmp_path / "o", "--resume")
    assert "1 image (11 done before)" in outcome.err
    assert len(json.loads((tmp_path / "o/images.json").read_text())["images"]) == 12
    assert segkit("predict", some, "--out", tmp_path / "o", "--force").code == 0


def test_images_that_differ_only_in_their_suffix(road, segkit, parts, tmp_path):
    some = tmp_path / "some"
    some.mkdir()
    shutil.copy(parts / "part_000.jpg", some / "a.jpg")
    with Image.open(parts / "part_001.jpg") as picture:
        picture.save(some / "a.png")
    assert segkit("predict", some, "--out", tmp_path / "o", "--format", "overlay,labelme").code == 0
    assert len(list((tmp_path / "o/overlay").iterdir())) == 2
    named = {json.loads(p.read_text())["imagePath"].rpartition("/")[2] for p in (tmp_path / "o/labelme").iterdir()}
    assert named == {"a.jpg", "a.png"}


def test_predictions_are_not_used_as_input_images(road, segkit, parts, tmp_path, monkeypatch):
    shutil.copy(parts / "part_000.jpg", tmp_path)
    model = road[0] / "runs/latest"
    monkeypatch.chdir(tmp_path)
    assert segkit("predict", ".", "--model", model).code == 0
    assert "0 images (1 done before)" in segkit("predict", ".", "--model", model, "--resume").err
    assert segkit("predict", ".", "--model", model, "--force").code == 0
    shutil.copy(model / "last.pt", tmp_path / "other.pt")
    refused = segkit("predict", ".", "--model", "other.pt", "--resume")
    assert refused.code == 1
    assert "its predictions are by" in refused.err


def test_scores_of_predictions_equal_scores_of_the_model(road, segkit, tmp_path):
    """Results of predict have ids of their own; images are matched by name, and training images do not count."""
    _, model = road
    out = tmp_path / "o"
    assert segkit("predict", "dataset/images", "--score", 0, "--out", out).code == 0
    outcome = segkit("eval", out / "results.json", "--json")
    assert outcome.code == 0, outcome.err
    from_file, from_model = json.loads(outcome.out), json.loads(segkit("eval", "--json").out)
    in_training = len(json.loads(Path("dataset/train.json").read_text())["images"])
    assert f"{in_training} predicted images are not in the split and do not count" in from_file["warnings"]
    part = "bbox" if model == "fasterrcnn" else "segm"
    assert from_file[part]["AP50"] == pytest.approx(from_model[part]["AP50"], abs=1e-6)


def test_a_bad_image_is_reported_and_the_others_are_predicted(road, segkit, parts, tmp_path):
    some = tmp_path / "some"
    some.mkdir()
    shutil.copy(parts / "part_000.jpg", some)
    (some / "bad.jpg").write_bytes((parts / "part_001.jpg").read_bytes()[:900])
    outcome = segkit("predict", some, "--out", tmp_path / "o")
    assert outcome.code == 1
    assert f"error: {some / 'bad.jpg'}: cannot be decoded" in outcome.err
    assert (tmp_path / "o/overlay/part_000.jpg").is_file()


def test_an_exported_file_is_checked_and_can_be_used_as_a_model(road, segkit, parts, tmp_path):
    _folder, model = road
    outcome = segkit("export", "--json", "--out", tmp_path / "m.onnx")
    assert outcome.code == 0, outcome.err
    summary = json.loads(outcome.out)
    assert summary["real_pictures"]
    assert len(summary["differences"]) >= 3
    assert max(d["scores"] for d in summary["differences"]) < 1e-3
    assert sum(d["unmatched"] for d in summary["differences"]) == 0
    here = json.loads(segkit("eval", "--json").out)
    there = json.loads(segkit("eval", tmp_path / "m.onnx", "--data", "dataset", "--json").out)
    part = {"maskrcnn": "segm", "fasterrcnn": "bbox", "unet": "semantic"}[model]
    key = "mIoU" if model == "unet" else "AP50"
    assert there[part][key] == pytest.approx(here[part][key], abs=0.01)
    assert segkit("predict", parts, "--model", tmp_path / "m.onnx", "--out", tmp_path / "o").code == 0


def test_an_export_that_differs_is_not_kept(road, segkit, tmp_path, monkeypatch):
    from segkit.exporting.compare import PredictionDifference

    monkeypatch.setattr(PredictionDifference, "within", lambda difference, tolerance: False)
    monkeypatch.setattr("segkit.exporting.check.rounding_explains", lambda *model_and_image: False)
    outcome = segkit("export", "--out", tmp_path / "m.onnx")
    assert outcome.code == 1
    assert "hint: nothing was written; accept more with --tolerance (now 0.001)" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_a_shifted_instance_is_detected_as_a_difference():
    """One instance in each prediction, at different places: they must not count as equal."""
    import torch

    from segkit.exporting.compare import compare

    def found(box):
        return {"boxes": torch.tensor([box]), "labels": torch.tensor([1]), "scores": torch.tensor([0.9])}

    image = torch.zeros(3, 100, 100)
    here, there = found([0.0, 0, 10, 10]), found([50.0, 50, 90, 90])
    difference = compare("p", image, here, there, tolerance=1e-3, cap=100)
    assert difference.unmatched == 2
    assert not difference.within(1e-3)
    assert compare("p", image, here, here, tolerance=1e-3, cap=100).within(0.0)


def test_labelme_opens_predictions(road, segkit, parts, tmp_path):
    _folder, _model = road
    segkit("predict", parts / "part_001.jpg", "--score", 0, "--out", tmp_path / "o", "--format", "labelme")
    path = tmp_path / "o/labelme/part_001.json"
    (opened,) = open_in_labelme(path)
    shapes = json.loads(path.read_text())["shapes"]
    assert opened["labels"] == [shape["label"] for shape in shapes]
    assert opened["masks"] == sum(shape["shape_type"] == "mask" for shape in shapes)
    assert opened["has_picture"]


def test_messages_of_missing_models_and_inputs(segkit, here, parts):
    for arguments, message in (
        (["predict", parts], "error: runs/latest: no such run\nhint: train one: segkit train"),
        (["predict", parts, "--model", "nothing.pt"], "error: nothing.pt: no such model"),
        (["predict", "nowhere"], "error: nowhere: no such file or folder"),
        (["eval"], "error: runs/latest: no such run"),
        (["export"], "error: runs/latest: no such run"),
        (["memprofile"], "error: neither runs/latest nor ./dataset is here"),
        (["label", "nowhere"], "error: nowhere: no such folder"),
    ):
        outcome = segkit(*arguments)
        assert outcome.code == 1
        assert outcome.err.startswith(message)
    (here / "bad.pt").write_bytes(b"nothing")
    (here / "bad.onnx").write_bytes(b"nothing")
    assert "error: bad.pt: not a checkpoint, or a damaged one" in segkit("predict", parts, "--model", "bad.pt").err
    assert "error: bad.onnx: not an ONNX file that can be run" in segkit("predict", parts, "--model", "bad.onnx").err


def test_a_rotated_image_is_predicted_upright(road, segkit, tmp_path):
    from test_labelme import exif

    Image.fromarray(np.zeros((60, 90, 3), np.uint8)).save(tmp_path / "a.jpg", exif=exif(6))
    assert segkit("predict", tmp_path / "a.jpg", "--out", tmp_path / "o").code == 0
    with Image.open(tmp_path / "o/overlay/a.jpg") as picture:
        assert picture.width == 60
        assert picture.height >= 90  # a legend may stand below it
