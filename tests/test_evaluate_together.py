"""What two evaluations, tables and files say of the same results: one number each, or a warning."""

import csv
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from random_models import card_of, checkpoint

from segkit.data.records import Category
from segkit.evaluation.evaluation import Evaluation
from segkit.evaluation.metrics import Metrics
from segkit.evaluation.pixels.confusion import paint
from segkit.evaluation.pixels.per_image import PixelScores
from segkit.evaluation.report.gallery import label_colours
from segkit.evaluation.report.page import render_report
from segkit.formats.coco.file import read_coco
from segkit.models.tensors import labels_of

SIZE = (64, 64)
CATEGORIES = [{"id": n, "name": name} for n, name in enumerate(("a", "b"), 1)]


def square(x, y, side):
    return [[x, y, x + side, y, x + side, y + side, x, y + side]]


def annotation(number, image, category, x, y, side):
    return {
        "id": number, "image_id": image, "category_id": category, "segmentation": square(x, y, side),
        "bbox": [x, y, side, side], "area": side * side, "iscrowd": 0,
    }  # fmt: skip


def result(image, category, score, x, y, w, h):
    corners = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    return {"image_id": image, "category_id": category, "score": score, "bbox": [x, y, w, h], "segmentation": corners}


def write(path, document):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def dataset(folder, *, categories=CATEGORIES, reverse=False, half=False):
    """Four drawn pictures with two squares each, as a COCO dataset."""
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(4):
        image_id = 4 - number if reverse else number + 1
        images.append({"id": image_id, "file_name": f"{number}.png", "height": SIZE[0], "width": SIZE[1]})
        pixels = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        for place, category in enumerate((1, 2)):
            x = 4 + 30 * place
            pixels[10:30, x : x + 20] = 40 + 90 * place
            annotations.append(annotation(len(annotations) + 1, image_id, category, x, 10, 20))
        (folder / "images").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
    if reverse:
        images.sort(key=lambda image: image["id"])
    write(
        folder / "val.json",
        {"images": images, "annotations": annotations[:: 2 if half else 1], "categories": categories},
    )
    return folder


def run_of(folder, data, card):
    checkpoint(folder / "best.pt", card)
    (folder / "config.toml").write_text(f"dataset = {json.dumps(str(data))}\n")
    return folder


@pytest.mark.parametrize("other", [{"reverse": True}, {"half": True}])
def test_two_runs_are_compared_on_the_data_of_the_first(segkit, tmp_path, other):
    """The second run's own data may have other image ids, or other annotations."""
    card = card_of("unet")
    first = run_of(tmp_path / "one", dataset(tmp_path / "d1"), card)
    second = run_of(tmp_path / "two", dataset(tmp_path / "d2", **other), card)
    outcome = segkit("eval", first, "--compare", second, "--device", "cpu", "--bootstrap", 50, "--json")
    assert outcome.code == 0, outcome.err
    compared = json.loads(outcome.out)["compare"]
    for part, name in (("segm", "AP"), ("semantic", "mIoU")):
        assert compared[part]["value"] == 0
        assert compared[part]["interval"] == [0, 0]
        assert compared[part][name] == compared[part][f"other_{name}"]


def test_runs_of_other_categories_are_not_compared(segkit, tmp_path):
    first = run_of(tmp_path / "one", dataset(tmp_path / "d1"), card_of("unet"))
    three = [*CATEGORIES, {"id": 3, "name": "c"}]
    card = card_of("unet", categories=tuple(Category(**each) for each in three))
    second = run_of(tmp_path / "two", dataset(tmp_path / "d2", categories=three), card)
    for one, other in ((first, second), (second, first)):
        outcome = segkit("eval", one, "--compare", other, "--device", "cpu", "--bootstrap", 50)
        assert outcome.code == 1
        assert f"its categories are not those of {one / 'best.pt'}: only one of them has 'c'\nhint:" in outcome.err
        assert "Traceback" not in outcome.err
        assert not (one / "metrics.json").exists()
    outcome = segkit("eval", first, "--data", tmp_path / "d2", "--device", "cpu")
    assert outcome.code == 1
    assert "its categories are not those of the data: only the data has 'c'\nhint: convert the data" in outcome.err


def test_runs_with_other_ids_of_the_same_categories_are_compared_by_name(segkit, tmp_path):
    """The second model has the same weights, and its outputs mean "b" and "a"."""
    first = run_of(tmp_path / "one", dataset(tmp_path / "d1"), card_of("unet"))
    swapped = tuple(Category(n, name) for n, name in ((1, "b"), (2, "a")))
    other = dataset(tmp_path / "d2", categories=[{"id": c.id, "name": c.name} for c in swapped])
    second = run_of(tmp_path / "two", other, card_of("unet", categories=swapped))
    options = ("--device", "cpu", "--bootstrap", 50, "--json")
    alone = json.loads(segkit("eval", second, "--data", tmp_path / "d1", *options).out)
    assert "the categories of the data have other ids than those of the model: taken by name" in alone["warnings"]
    compared = json.loads(segkit("eval", first, "--compare", second, *options).out)
    assert compared["compare"]["semantic"]["other_mIoU"] == alone["semantic"]["mIoU"]
    assert any(each.startswith(f"{second / 'best.pt'}: the categories") for each in compared["warnings"])
    own = json.loads(segkit("eval", first, *options).out)["semantic"]["per_category"]
    assert alone["semantic"]["per_category"]["a"]["pixels"] == own["a"]["pixels"]


def test_results_are_compared_on_the_images_that_were_predicted_for_both(segkit, tmp_path):
    """Results with an images.json say what was predicted: that the second lacks two images is no fault of its model."""
    data = dataset(tmp_path / "d1")
    truth = json.loads((data / "val.json").read_text())
    found = [result(a["image_id"], a["category_id"], 0.9, *a["bbox"]) for a in truth["annotations"]]
    files = []
    for name, last in (("one", 4), ("two", 2)):
        write(tmp_path / name / "images.json", {**truth, "images": truth["images"][:last], "annotations": []})
        files.append(write(tmp_path / name / "results.json", [each for each in found if each["image_id"] <= last]))
    options = ("--data", data, "--bootstrap", 50, "--json")
    outcome = json.loads(segkit("eval", files[0], "--compare", files[1], *options).out)
    compared = outcome["compare"]
    assert (compared["images"], compared["left_out"]) == (2, 2)
    assert compared["segm"]["value"] == 0
    assert compared["segm"]["AP"] == compared["segm"]["other_AP"] == 1
    assert f"{files[1]}: 2 of 4 images were not predicted: they count as nothing found" in outcome["warnings"]
    said = segkit("eval", files[0], "--compare", files[1], "--data", data, "--bootstrap", 50).out
    assert "2 images, those that were predicted for both: 2 others are left out" in said
    write(tmp_path / "one" / "images.json", {**truth, "images": truth["images"][2:], "annotations": []})
    write(files[0], [each for each in found if each["image_id"] > 2])
    refused = segkit("eval", files[0], "--compare", files[1], *options)
    assert refused.code == 1
    assert "no image was predicted for it and for" in refused.err


def test_images_of_the_training_are_said(segkit, tmp_path):
    """The second run was trained on two of the images that the first one is evaluated on."""
    data, other = dataset(tmp_path / "d1"), dataset(tmp_path / "d2")
    document = json.loads((other / "val.json").read_text())
    document["images"] = document["images"][:2]
    document["annotations"] = [a for a in document["annotations"] if a["image_id"] <= 2]
    write(other / "train.json", document)
    (other / "val.json").unlink()
    first, second = (
        run_of(tmp_path / name, folder, card_of("unet")) for name, folder in (("one", data), ("two", other))
    )
    options = ("--device", "cpu", "--bootstrap", 50, "--json")
    warnings = json.loads(segkit("eval", first, "--compare", second, *options).out)["warnings"]
    assert f"{second / 'best.pt'}: the model was trained on 2 of these 4 images: expect less on others" in warnings
    for name in ("0.png", "1.png"):  # other pictures of the same names are other pictures
        Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(other / "images" / name)
    warnings = json.loads(segkit("eval", first, "--compare", second, *options).out)["warnings"]
    assert not any("trained on" in each for each in warnings)
    warnings = json.loads(segkit("eval", second, "--split", "train", *options).out)["warnings"]
    assert "the model was trained on these very images: expect less on others" in warnings


def test_pixel_scores_are_named_after_the_label_whatever_the_order_in_the_file(segkit, tmp_path):
    run = run_of(tmp_path / "run", dataset(tmp_path / "d1"), card_of("unet"))
    mixed = dataset(tmp_path / "d2", categories=CATEGORIES[::-1])
    own, other = (
        json.loads(segkit("eval", run, "--data", data, "--device", "cpu", "--json").out)["semantic"]
        for data in (tmp_path / "d1", mixed)
    )
    assert own == other
    assert own["per_category"]["a"]["pixels"] == own["per_category"]["b"]["pixels"] == 1600


def test_pixel_names_confusion_and_colours_follow_the_ids(tmp_path):
    """Only the category with id 1 is found; the file lists it last."""
    names = {4: "triangle", 1: "circle", 3: "star", 2: "square"}
    squares = [annotation(n, 1, n, 12 * n, 10, 8) for n in names]
    image = {"id": 1, "file_name": "1.png", "height": 64, "width": 64}
    for order in (tuple(names), (1, 2, 3, 4)):
        categories = [{"id": number, "name": names[number]} for number in order]
        document = {"images": [image], "annotations": squares, "categories": categories}
        data = read_coco(write(tmp_path / "val.json", document))
        assert [category.id for category in data.categories] == [1, 2, 3, 4]
        truth = paint(data.images[0], data.annotations, labels_of(data.categories), "background")
        pixels = PixelScores(data, details=True)
        pixels.add(data.images[0], truth, np.where(truth == 1, 1, 0))
        semantic = pixels.confusion.metrics()
        assert {name: scores["IoU"] for name, scores in semantic.per_category.items() if name != "background"} == {
            "circle": 1, "square": 0, "star": 0, "triangle": 0,
        }  # fmt: skip
        evaluation = Evaluation(Metrics(images=1, max_dets=100), None, "run", tmp_path, data, (), pixels)
        page = render_report(evaluation, replace(evaluation.metrics, semantic=semantic), None)
        assert [name for name, _ in label_colours(data)] == ["circle", "square", "star", "triangle"]
        assert re.search(r"<td>circle</td>\s*<td>1\.000</td>|<td>circle</td><td>1\.000</td>", page)


def test_the_table_of_images_counts_as_the_totals_do(segkit, tmp_path):
    """At an IoU of exactly 0.5 COCO counts a true positive; PQ's own rule needs more."""
    images = [{"id": n, "file_name": f"{n}.png", "height": 64, "width": 64} for n in (1, 2)]
    truth = [annotation(1, 1, 1, 0, 0, 20), annotation(2, 2, 1, 0, 0, 20)]
    data = write(tmp_path / "g.json", {"images": images, "annotations": truth, "categories": CATEGORIES})
    results = [result(1, 1, 0.9, 0, 0, 20, 10), result(1, 1, 0.8, 40, 40, 9, 9), result(2, 1, 0.3, 0, 0, 20, 20)]
    file = write(tmp_path / "d.json", results)
    out = tmp_path / "o"
    outcome = segkit("eval", file, "--data", data, "--details", "--score", 0.4, "--out", out, "--json")
    overall = json.loads(outcome.out)["details"]["overall"]
    with (out / "pictures.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    sums = {name: sum(int(row[name]) for row in rows) for name in ("instances", "found", "false", "missed")}
    assert sums == {"instances": 2, "found": 1, "false": 1, "missed": 1}
    assert (overall["instances"], overall["found"], overall["wrong"]) == (2, 1, 1)


@pytest.mark.parametrize("option", [[], ["--details"]])
def test_results_beyond_the_limit_are_said(segkit, here, tmp_path, option):
    images = [{"id": 1, "file_name": "1.png", "height": 64, "width": 64}]
    data = write(
        tmp_path / "g.json",
        {"images": images, "annotations": [annotation(1, 1, 1, 0, 0, 20)], "categories": CATEGORIES},
    )
    file = write(tmp_path / "d.json", [result(1, 1, 0.5 + n / 1000, 0, 0, 20, 20) for n in range(130)])
    warnings = json.loads(segkit("eval", file, "--data", data, *option, "--json").out)["warnings"]
    assert any("1 image has more than 100 results of a category: the 30 of the lowest" in each for each in warnings)
    more = json.loads(segkit("eval", file, "--data", data, "--max-dets", 130, *option, "--json").out)["warnings"]
    assert not any("more than" in each for each in more)


@pytest.mark.parametrize("option", [[], ["--details"]])
@pytest.mark.parametrize(("scores", "said"), [((84.5, 90), "from 84.5 to 90"), ((-3, 2), "from -3 to 2")])
def test_scores_that_are_no_probabilities_are_said(segkit, here, tmp_path, option, scores, said):
    images = [{"id": 1, "file_name": "1.png", "height": 64, "width": 64}]
    data = write(
        tmp_path / "g.json",
        {"images": images, "annotations": [annotation(1, 1, 1, 0, 0, 20)], "categories": CATEGORIES},
    )
    file = write(tmp_path / "d.json", [result(1, 1, score, 0, 0, 20, 20) for score in scores])
    outcome = segkit("eval", file, "--data", data, *option, "--json")
    assert any(f"scores are {said} and not from 0 to 1" in each for each in json.loads(outcome.out)["warnings"])
