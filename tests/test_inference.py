"""Predictions in batches: behaviour when memory runs out, and how much memory is used."""

import csv
import json
import multiprocessing
import shutil
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import torch
from training import config

from segkit.data.records import Category, Result
from segkit.errors import DeviceError
from segkit.inference.batches import BatchPredictor
from segkit.inference.input_files import Picture
from segkit.inference.journal import Origin, PictureResults
from segkit.inference.outputs import Writer
from segkit.progress import SILENT
from segkit.training.train import train


class Notes:
    """Collects the messages of a progress display."""

    def __init__(self):
        self.notes = []

    def note(self, message):
        self.notes.append(message)


class Device:
    """A model with memory for a given number of images: it returns the sum of each image as a score."""

    def __init__(self, room):
        self.room, self.calls = room, []

    def __call__(self, images):
        self.calls.append(len(images))
        if len(images) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...")
        return [{"scores": image.float().sum()[None]} for image in images]


def predictor(model, batch=8, progress=SILENT):
    return BatchPredictor(model, torch.device("cpu"), batch, progress)


IMAGES = [torch.full((3, 4, 4 + n), n, dtype=torch.uint8) for n in range(8)]
NAMES = [f"{n}.jpg" for n in range(8)]


@pytest.mark.parametrize("room", [1, 2, 3, 5])
def test_predictions_are_the_same_when_the_batch_is_halved(room):
    whole, parts = (predictor(Device(r))(IMAGES, NAMES) for r in (8, room))
    assert parts == whole


def test_a_batch_size_that_ran_out_of_memory_is_not_tried_again():
    device, shown = Device(3), Notes()
    predict = predictor(device, progress=shown)
    predict(IMAGES, NAMES)
    predict(IMAGES, NAMES)
    assert device.calls == [8, 4, *[2] * 8]
    assert shown.notes == [
        "out of memory while evaluating 8 pictures at once, the largest 7.jpg (4x11 as the model gets it); "
        "going on with 4",
        "out of memory while evaluating 4 pictures at once, the largest 3.jpg (4x7 as the model gets it); "
        "going on with 2",
    ]


def test_an_image_that_is_too_large_is_named_after_a_second_try():
    device = Device(0)
    with pytest.raises(DeviceError, match=r"out of memory while evaluating 0\.jpg \(4x4") as caught:
        predictor(device, batch=2)(IMAGES, NAMES)
    assert device.calls == [2, 1, 1]
    assert "--device" in caught.value.hint


def test_other_errors_are_not_treated_as_out_of_memory():
    def broken(images):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        predictor(broken)(IMAGES, NAMES)


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_eval_and_export_use_the_dataset_of_the_run(dataset, tmp_path, segkit, kind):
    """A run can be trained on a COCO file: then its validation split is the file in the same folder."""
    own = tmp_path / "own"
    shutil.copytree(dataset, own)
    trained_on = own if kind == "folder" else own / "train.json"
    run = train(config(trained_on, tmp_path, model="unet", steps=1)).run
    images = len(json.loads((own / "val.json").read_bytes())["images"])
    evaluation, export = (
        segkit("eval", run, "--json"), segkit("export", run, "--out", tmp_path / "m.onnx", "--json"),
    )  # fmt: skip
    assert json.loads(evaluation.out)["images"] == images
    assert json.loads(export.out)["real_pictures"]

    shutil.rmtree(own)
    gone, made_up = segkit("eval", run), segkit("export", run, "--out", tmp_path / "m.onnx", "--json")
    assert gone.code == 1
    assert f"error: {trained_on}: no such dataset" in gone.err
    assert not json.loads(made_up.out)["real_pictures"]


def test_predict_continues_with_a_smaller_batch(dataset, tmp_path, monkeypatch, segkit):
    model = train(config(dataset, tmp_path, model="unet", steps=1)).run / "last.pt"
    arguments = ["predict", dataset / "images", "--model", model, "--score", 0, "--format", "coco", "--device", "cpu"]
    assert segkit(*arguments, "--batch", 2, "--out", tmp_path / "a").code == 0
    forward = torch.nn.Conv2d.forward

    def limited(layer, features):
        if len(features) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...")
        return forward(layer, features)

    monkeypatch.setattr("torch.nn.Conv2d.forward", limited)
    outcome = segkit(*arguments, "--batch", 4, "--out", tmp_path / "b")
    assert outcome.code == 0, outcome.err
    assert "out of memory while predicting 4 pictures at once, the largest" in outcome.err
    for name in ("results.json", "images.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


CATEGORIES = (Category(3, "bolt"), Category(5, "nut"))
MASK = {"size": [200, 200], "counts": [100] * 400}


def write(out, pictures, each, formats=("coco", "csv")):
    """Write the result files that cover all images; return the peak of allocated memory."""
    results = tuple(Result(0, 3 + 2 * (n % 2), 0.75, (1.0, 2.0, 30.0, 40.125), MASK) for n in range(each))
    with closing(Writer(out, formats, CATEGORIES)) as writer:
        tracemalloc.start()
        for number in range(pictures):
            name = f"{number}.jpg"
            picture = Picture(Path(name), name, str(number))
            writer.write(PictureResults(picture, 200, 200, Origin(Path("m.pt"), None, None), results))
        files, counts = writer.finish()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert counts == {"bolt": pictures * ((each + 1) // 2), "nut": pictures * (each // 2)}
    assert set(files) == set(formats)
    return peak


def test_result_files_of_all_images(tmp_path):
    write(tmp_path, 3, 2, ("coco", "csv", "measures"))
    images = json.loads((tmp_path / "images.json").read_bytes())
    assert images == {
        "info": {},
        "images": [{"id": n, "file_name": f"{n - 1}.jpg", "height": 200, "width": 200} for n in (1, 2, 3)],
        "annotations": [],
        "categories": [{"id": 3, "name": "bolt"}, {"id": 5, "name": "nut"}],
    }
    results = json.loads((tmp_path / "results.json").read_bytes())
    assert [(r["image_id"], r["category_id"]) for r in results] == [(n, c) for n in (1, 2, 3) for c in (3, 5)]
    assert results[0] == {
        "image_id": 1, "category_id": 3, "score": 0.75, "bbox": [1.0, 2.0, 30.0, 40.125], "segmentation": MASK,
    }  # fmt: skip
    with (tmp_path / "instances.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[0][:11] == [
        "file", "id", "category", "score", "x_px", "y_px", "width_px", "height_px", "at_edge", "area_px2",
        "overlap_px2",
    ]  # fmt: skip
    assert rows[1][:11] == ["0.jpg", "1", "bolt", "0.75", "1.0", "2.0", "30.0", "40.12", "1", "20000", "0"]
    assert len(rows) == 7


def test_result_files_without_images_are_empty_lists(tmp_path):
    write(tmp_path, 0, 0)
    assert json.loads((tmp_path / "results.json").read_bytes()) == []
    assert json.loads((tmp_path / "images.json").read_bytes())["images"] == []


def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    # In a process of its own: in this one, what earlier tests have started may allocate, too.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:
        few, many = (alone.submit(write, tmp_path / str(count), count, 5).result() for count in (10, 200))
    assert many - few < 500_000  # bytes; the results of 190 pictures would take 6 MB, buffers come and go
