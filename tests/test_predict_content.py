"""What ``predict`` writes is what ``eval`` scores, whatever the batch; what a model cannot predict is said."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from random_models import CATEGORIES, SETTINGS, card_of, checkpoint
from training import config, lines

from segkit.data.records import Annotation, Dataset
from segkit.data.records import Image as ImageRecord
from segkit.evaluation.pixels.confusion import Confusion, paint
from segkit.models.detector import DetectorSettings
from segkit.training.train import train

SIZES = [(64, 64), (33, 96), (64, 40), (90, 64), (20, 20)]
DEVICE = ("--device", "cpu")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {name: checkpoint(folder / f"{name}.pt", card_of(name, "group")) for name in ("unet", "fasterrcnn")}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A COCO dataset of pictures of several sizes, with a square of each category in each."""
    folder = tmp_path_factory.mktemp("data") / "mixed"
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for number, (height, width) in enumerate(SIZES, 1):
        coarse = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
        name = f"{number}.png"
        Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(folder / "images" / name)
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        for category, x in ((1, 1), (2, 11)):
            polygon = [x, 2, x + 9, 2, x + 9, 15, x, 15]
            annotations.append({
                "id": len(annotations) + 1, "image_id": number, "category_id": category, "segmentation": [polygon],
                "bbox": [x, 2, 9, 13], "area": 117, "iscrowd": 0,
            })  # fmt: skip
    categories = [{"id": c.id, "name": c.name} for c in CATEGORIES]
    (folder / "val.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    return folder


def evaluated(segkit, *arguments):
    outcome = segkit("eval", *arguments, *DEVICE, "--json")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def test_the_files_of_a_unet_have_the_score_of_the_model(segkit, here, models, data):
    """The class map has every pixel, specks included; the instances are the same at any confidence."""
    assert segkit("predict", data / "images", "--model", models["unet"], "--score", 0, *DEVICE).code == 0
    scored = evaluated(segkit, models["unet"], "--data", data)
    assert evaluated(segkit, "predictions/results.json", "--data", data)["segm"] == scored["segm"]

    top = json.loads((data / "val.json").read_text())
    records = [ImageRecord(**image) for image in top["images"]]
    annotations = tuple(Annotation(**each) for each in top["annotations"])
    dataset = Dataset(tuple(records), annotations, CATEGORIES, data / "images")
    confusion = Confusion(dataset)
    for record in records:
        with Image.open(here / "predictions/classmap" / record.file_name) as picture:
            labels = np.asarray(picture)
        own = [a for a in annotations if a.image_id == record.id]
        confusion.add(paint(record, own, {1: 1, 2: 2}, "background"), labels)
    assert confusion.metrics().mIoU == scored["semantic"]["mIoU"]


@pytest.mark.parametrize("name", ["unet", "fasterrcnn"])
def test_results_do_not_depend_on_the_batch(segkit, here, models, data, name):
    found, scores = {}, {}
    for batch in (1, 5):
        options = ["--model", models[name], "--score", 0, "--format", "coco", "--batch", batch, "--out", f"o{batch}"]
        assert segkit("predict", data / "images", *options, *DEVICE).code == 0
        found[batch] = json.loads((here / f"o{batch}/results.json").read_text())
        scores[batch] = evaluated(segkit, models[name], "--data", data, "--batch", batch)
    assert [r["image_id"] for r in found[1]] == [r["image_id"] for r in found[5]]
    assert [r["score"] for r in found[1]] == pytest.approx([r["score"] for r in found[5]], abs=1e-3)
    part, key = ("semantic", "mIoU") if name == "unet" else ("bbox", "AP")
    assert scores[1][part][key] == pytest.approx(scores[5][part][key], abs=1e-4)


def test_a_faster_rcnn_writes_boxes_and_no_masks(segkit, here, models, data):
    refused = segkit("predict", data / "images", "--model", models["fasterrcnn"], "--format", "overlay,idmask", *DEVICE)
    assert refused.code == 1
    assert refused.err.startswith(f"error: --format idmask: {models['fasterrcnn']} predicts boxes only\n")
    assert not (here / "predictions").exists()
    formats = ("--format", "labelme,csv,coco", "--score", 0)
    assert segkit("predict", data / "images", "--model", models["fasterrcnn"], *formats, *DEVICE).code == 0
    shapes = [s for p in here.glob("predictions/labelme/*.json") for s in json.loads(p.read_text())["shapes"]]
    assert {shape["shape_type"] for shape in shapes} == {"rectangle"}


def test_class_maps_of_a_detector_are_refused(segkit, here, models, data):
    options = ["--model", models["fasterrcnn"], "--format", "classmap"]
    refused = segkit("predict", data / "images", *options, *DEVICE)
    assert refused.code == 1
    assert "error: --format classmap:" in refused.err
    assert "predicts instances, not a label for every pixel" in refused.err


def test_a_limit_on_instances_is_said_where_it_is_reached(segkit, here, data, tmp_path):
    settings = DetectorSettings(SETTINGS.proposals, SETTINGS.rois, 3, SETTINGS.anchor_sizes)
    model = checkpoint(tmp_path / "three.pt", card_of("fasterrcnn", "group", settings))
    outcome = segkit("predict", data / "images", "--model", model, "--score", 0, *DEVICE)
    assert outcome.code == 0
    assert "warning: 1.png: reaches the model's limit of 3 instances, there may be more (and " in outcome.err
    warnings = evaluated(segkit, model, "--data", data)["warnings"]
    assert any("the model's limit of 3 instances: what it finds beyond is not scored" in each for each in warnings)


@pytest.mark.parametrize(("name", "pages"), [("stack.tif", 3), ("film.gif", 2)])
def test_pages_that_are_not_used_are_said(segkit, here, models, name, pages):
    frames = [Image.fromarray(np.full((40, 40, 3), 60 * n, np.uint8)) for n in range(1, pages + 1)]
    frames[0].save(here / name, save_all=True, append_images=frames[1:])
    outcome = segkit("predict", name, "--model", models["unet"], "--format", "coco", *DEVICE)
    assert outcome.code == 0, outcome.err
    assert f"warning: {name}: page 1 of {pages} is used" in outcome.err


def test_training_and_eval_give_one_score_for_one_checkpoint(segkit, tmp_path, data):
    """Also for averaged weights that were trained in bf16: scores are computed in fp32 everywhere."""
    (data / "train.json").write_text((data / "val.json").read_text())
    options = {"model": "unet", "precision": "bf16", "ema": 0.5, "steps": 3, "size": 32, "lr": 0.01}
    run = train(config(data, tmp_path, **options)).run
    (during,) = lines(run, "eval")
    after = evaluated(segkit, run, "--data", data)
    for part, names in (("semantic", ("mIoU", "pixel_accuracy", "F1")), ("segm", ("AP", "AP50", "AR100"))):
        own, other = ([scores[part][name] for name in names] for scores in (during, after))
        assert own == pytest.approx(other, abs=1e-5, rel=0)


@pytest.mark.parametrize("placement", ["copy", "link"])
def test_results_find_their_images_in_a_dataset(segkit, here, models, placement):
    """Equal stems, equal names in two folders, a picture that was named alone, and one that others call otherwise."""
    rng = np.random.default_rng(1)
    names = ["a.jpg", "a.png", "s/a.jpg"]
    for name in names:
        for folder in ("own", "data/images"):
            (here / folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(here / "own" / name)
        if placement == "link":
            (here / "data/images" / name).symlink_to(here / "own" / name)
        else:
            (here / "data/images" / name).write_bytes((here / "own" / name).read_bytes())
    images = [{"id": n, "file_name": name, "height": 40, "width": 50} for n, name in enumerate(names, 7)]
    annotations = [
        {"id": n, "image_id": n, "category_id": 1, "segmentation": [[1, 1, 30, 1, 30, 30, 1, 30]],
         "bbox": [1, 1, 29, 29], "area": 841, "iscrowd": 0} for n in (7, 8, 9)
    ]  # fmt: skip
    categories = [{"id": c.id, "name": c.name} for c in CATEGORIES]
    (here / "data/val.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    options = ["--model", models["unet"], "--score", 0, "--format", "coco", "--force", *DEVICE]
    scored = evaluated(segkit, models["unet"], "--data", "data")
    for source in (["own"], ["data/images"], ["data/images/a.jpg", "data/images/a.png", "data/images/s/a.jpg"]):
        assert segkit("predict", *source, *options).code == 0
        found = evaluated(segkit, "predictions/results.json", "--data", "data")
        assert found["segm"] == scored["segm"]
        assert not any("not in the split" in warning for warning in found["warnings"])
    assert segkit("predict", "data/images/s/a.jpg", *options).code == 0
    alone = evaluated(segkit, "predictions/results.json", "--data", "data", "--details", "--score", 0)
    results = json.loads((here / "predictions/results.json").read_text())
    with (here / "evaluation/pictures.csv").open(newline="") as file:
        counted = {row["file_name"]: int(row["predictions"]) for row in csv.DictReader(file)}
    assert counted == {"a.jpg": 0, "a.png": 0, "s/a.jpg": len(results)}
    assert alone["images"] == 3
