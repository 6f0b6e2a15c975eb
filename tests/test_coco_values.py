"""convert, train and eval read COCO annotations alike: they keep the same parts and print the same messages."""

import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

SQUARE = [5, 5, 25, 5, 25, 25, 5, 25]
HEIGHT, WIDTH = 48, 64

# A segmentation, the polygons that are kept of it, and what is said of it.
CROOKED = [
    ([[5, 5, 25, 5, 25, 25, 5]], [[5, 5, 25, 5, 25, 25]], "an odd number of coordinates: the last one is ignored"),
    ([SQUARE, [32, 24]], [SQUARE], "a polygon of fewer than three points is left out"),
    ([[], SQUARE], [SQUARE], "a polygon of fewer than three points is left out"),
    ([SQUARE, [30, 20, 40, 30, 7]], [SQUARE], "a polygon of fewer than three points is left out"),
    ([SQUARE, [1, 2, "3", 4, 5, 6]], [SQUARE], "a polygon that is not a list of numbers is left out"),
    ([SQUARE, "nonsense"], [SQUARE], "a polygon that is not a list of numbers is left out"),
    ([SQUARE, [1, 2, 3, 4, 5, float("nan")]], [SQUARE], "a polygon with points that are not finite"),
    ([[1, 2, 3e7, 4, 5, 6], SQUARE], [SQUARE], "a polygon with points that are not finite"),
    ([[1, 2, 1e300, 4, 5, 6], SQUARE], [SQUARE], "a polygon with points that are not finite"),
    (SQUARE, [SQUARE], "a polygon without the outer list is read as one polygon"),
    ([[5, 5], [25, 5], [25, 25], [5, 25]], [SQUARE], "points [x, y] are read as x, y"),
    ([[[5, 5], [25, 5], [25, 25], [5, 25]]], [SQUARE], "points [x, y] are read as x, y"),
    ([[{"x": 5, "y": 5}, {"x": 25, "y": 5}, {"x": 25, "y": 25}]], [[5, 5, 25, 5, 25, 25]], "points [x, y] are read"),
]
# What leaves nothing to go on.
UNUSABLE = [
    ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": [100, 50, 10**6]}}, "the run lengths do not add"),
    ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": [100, -50, 3022]}}, "the run lengths do not add"),
    ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": "0`0`0"}}, "the run lengths do not add up"),
    (
        {"segmentation": {"size": [WIDTH, HEIGHT], "counts": [3072]}},
        "the mask has 64x48, the image 48x64 pixels (height x width)",
    ),
    ({"segmentation": [["a", 2, 3, 4, 5, 6]]}, "a polygon must be a list of numbers"),
    ({"image_id": 9}, "image_id is 9, which is not in the file"),
    ({"category_id": "7"}, "category_id is '7', which is not in the file"),
    ({"segmentation": None, "bbox": [5, 5, -20, 20]}, "bbox has the sides -20 and 20, which are negative"),
    ({"segmentation": None, "bbox": [5, 5, 1e8, 20]}, "bbox holds 100000000.0, which is more than a million pixels"),
    ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": []}}, "the run lengths do not add up"),
    ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": ""}}, "the run lengths do not add up"),
    ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": [3071]}}, "the run lengths do not add up"),
    ({"segmentation": None, "bbox": [1, 2, 3]}, "bbox has 3 numbers, not 4"),
]


def annotation(number, **values):
    plain = {"id": number, "image_id": number, "category_id": 1, "segmentation": [SQUARE], "bbox": [5, 5, 20, 20]}
    return plain | {"area": 400, "iscrowd": 0} | values


@pytest.fixture
def written(here):
    """Write a COCO file with one image per annotation; the last annotation is a valid one."""

    def write(*changes):
        (here / "in").mkdir()
        annotations = [annotation(number, **values) for number, values in enumerate([*changes, {}], 1)]
        images = []
        for number in range(1, len(annotations) + 1):
            pixels = np.random.default_rng(number).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
            Image.fromarray(pixels).save(here / f"in/{number:02}.png")
            images.append({"id": number, "file_name": f"{number:02}.png", "height": HEIGHT, "width": WIDTH})
        top = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "nut"}]}
        (here / "in/t.json").write_text(json.dumps(top))
        results = [{"image_id": 1, "category_id": 1, "score": 0.9, "segmentation": [SQUARE], "bbox": [5, 5, 20, 20]}]
        (here / "in/results.json").write_text(json.dumps(results))
        return "in/t.json"

    return write


def train(segkit, data, *options):
    return segkit(
        "train", data, "--model", "unet", "--weights", "none", "--size", 32, "--steps", 2, "--batch", 2, "--device",
        "cpu", "--workers", 0, *options,
    )  # fmt: skip


def warned(err):
    """Warnings without the file and the annotation."""
    return {line.split(": ", 3)[3] for line in err.splitlines() if line.startswith("warning: in/t.json: annotation")}


def test_valid_polygons_of_an_annotation_are_kept(segkit, here, written):
    data = written(*({"segmentation": raw} for raw, _, _ in CROOKED))
    outcome = segkit("convert", data, "--val", 0, "--json")
    assert outcome.code == 0, outcome.err
    annotations = json.loads((here / "dataset/train.json").read_text())["annotations"]
    assert [each["segmentation"] for each in annotations] == [*(kept for _, kept, _ in CROOKED), [SQUARE]]
    findings = json.loads((here / "dataset/report.json").read_text())["findings"]
    assert [finding["action"] for finding in findings] == ["repaired"] * len(findings)
    assert {finding["file"] for finding in findings} == {"t.json"}
    for number, (_, _, what) in enumerate(CROOKED):
        assert any(what in finding["why"] for finding in findings if finding["shape"] == number), what

    said = Counter(finding["why"] for finding in findings)
    trained = train(segkit, data)
    assert trained.code == 0, trained.err
    assert warned(trained.err) == set(said)
    for engine in ("fast", "pycocotools"):
        scored = segkit("eval", "in/results.json", "--data", data, "--engine", engine, "--json", "--iou", "segm")
        assert scored.code == 0, scored.err
        metrics = json.loads(scored.out)
        assert metrics["segm"]["AR100"] == pytest.approx(0.0, abs=1e-9)  # the first is half of the square: IoU 0.5
        of_values = [each for each in metrics["warnings"] if each.startswith("in/t.json: annotation")]
        warnings = [each.partition(": ")[2].partition(": ")[2] for each in of_values]
        assert sorted(warnings) == sorted(said)
        few = next(each for each in metrics["warnings"] if "fewer than three" in each)
        assert few.startswith("in/t.json: annotation 2 and 2 more: ")


def test_polygons_without_three_points_are_an_empty_mask(segkit, here, written):
    why = "no polygon has three points or more"
    data = written({"segmentation": [[1, 2, 3, 4], [5, 6]]})
    assert segkit("convert", data, "--val", 0).code == 0
    (finding,) = json.loads((here / "dataset/report.json").read_text())["findings"]
    assert (finding["action"], finding["why"], finding["shapes"]) == ("left out", why, 1)
    trained = train(segkit, data)
    assert trained.code == 0, trained.err
    assert warned(trained.err) == {why}
    for engine in ("fast", "pycocotools"):
        scored = segkit("eval", "in/results.json", "--data", data, "--json", "--engine", engine, "--iou", "segm,bbox")
        metrics = json.loads(scored.out)
        assert metrics["warnings"][0] == f"in/t.json: annotation 1: {why}"
        assert (metrics["segm"]["AR100"], metrics["bbox"]["AR100"]) == (0.0, 0.5)  # its box is there


@pytest.mark.parametrize(("values", "why"), UNUSABLE)
def test_an_unusable_annotation_is_named(segkit, here, written, values, why):
    data = written(values)
    outcome = segkit("convert", data, "--val", 0)
    assert outcome.code == 0, outcome.err
    (finding,) = json.loads((here / "dataset/report.json").read_text())["findings"]
    assert (finding["file"], finding["action"], finding["shape"]) == ("t.json", "left out", 0)
    assert why in finding["why"]
    message = f"error: in/t.json: annotation 1: {finding['why']}\n"
    for refused in (train(segkit, data), segkit("eval", "in/results.json", "--data", data, "--iou", "segm")):
        assert refused.code == 1
        assert refused.err.startswith(message)


def test_invalid_values_are_computed_where_possible(segkit, here, written):
    data = written({"bbox": [1, 2, 3]}, {"area": "100"}, {"iscrowd": "1"}, {"iscrowd": 7}, {"bbox": [0, 0, 9, None]})
    assert segkit("convert", data, "--val", 0).code == 0
    annotations = json.loads((here / "dataset/train.json").read_text())["annotations"]
    assert [(each["bbox"], each["area"]) for each in annotations] == [([5, 5, 20, 20], 400)] * 6
    assert [each["iscrowd"] for each in annotations] == [0, 0, 1, 0, 0, 0]
    said = {finding["why"] for finding in json.loads((here / "dataset/report.json").read_text())["findings"]}
    assert warned(train(segkit, data).err) == said
    assert len(said) == 4
    scored = segkit("eval", "in/results.json", "--data", data, "--json", "--iou", "bbox")
    metrics = json.loads(scored.out)
    assert metrics["bbox"]["AR100"] == pytest.approx(1 / 5)  # five that count, one of them found
    assert (
        "in/t.json: annotation 1 and 1 more: bbox is not four numbers within reach: computed from the segmentation"
        in (metrics["warnings"])
    )


def test_category_ids_may_be_numbers_or_strings(segkit, here, written):
    data = written({"category_id": "2"})
    top = json.loads((here / data).read_text())
    top["categories"].append({"id": "2", "name": "bolt"})
    (here / data).write_text(json.dumps(top))
    trained = train(segkit, data)
    assert trained.code == 0, trained.err


def test_an_image_id_that_is_true_is_refused_like_that_of_an_annotation(segkit, here, written):
    data = written({})
    top = json.loads((here / data).read_text())
    top["images"][0]["id"] = True
    (here / data).write_text(json.dumps(top))
    outcome = segkit("eval", "in/results.json", "--data", data)
    assert outcome.code == 1
    assert f"error: {data}: image True: id is True, neither a whole number nor a string" in outcome.err
