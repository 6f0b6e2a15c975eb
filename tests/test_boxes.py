"""Boxes without a mask go over as boxes, to every format that can hold them, and models of boxes learn them."""

import json

import pytest
from coco_files import annotation, box, document, draw, rows, write

BOXES = [(5, 6, 20, 10), (30, 8, 12, 30), (0, 0, 64, 48)]


@pytest.fixture
def boxes(here):
    draw(here / "in")
    return write(here / "in/t.json", document([box(n, n, bbox) for n, bbox in enumerate(BOXES, 1)]))


def annotations(folder):
    return json.loads((folder / "train.json").read_text())["annotations"]


def test_boxes_of_coco_stay_boxes(segkit, here, boxes):
    assert segkit("convert", boxes, "--val", 0, "--strict").code == 0
    assert [(each["segmentation"], tuple(each["bbox"])) for each in annotations(here / "dataset")] == [
        ([], bbox) for bbox in BOXES
    ]
    assert [each["area"] for each in annotations(here / "dataset")] == [200, 360, 3072]


@pytest.mark.parametrize("target", ["yolo", "voc", "labelme", "coco"])
def test_boxes_survive_a_round_trip(segkit, here, boxes, target):
    assert segkit("convert", boxes, "--val", 0, "--to", target, "--out", "a", "--strict").code == 0
    back = segkit("convert", "a", "--from", target, "--val", 0, "--out", "b", "--strict")
    assert back.code == 0, back.err
    found = annotations(here / "b")
    assert [each["segmentation"] for each in found] == [[]] * 3
    for each, bbox in zip(found, BOXES, strict=True):
        assert each["bbox"] == pytest.approx(bbox, abs=1e-6)


@pytest.mark.parametrize("target", ["yolo", "voc", "labelme"])
def test_boxes_and_masks_of_one_image_survive_a_round_trip(segkit, here, target):
    draw(here / "in", 1)
    mixed = [annotation(1), box(2, 1, (40, 20, 10, 20)), box(3, 1, (30, 30, 4, 4))]
    data = write(here / "in/t.json", document(mixed, images=1))
    assert segkit("convert", data, "--val", 0, "--to", target, "--out", "a").code == 0
    assert segkit("convert", "a", "--from", target, "--val", 0, "--out", "b").code == 0
    assert [bool(each["segmentation"]) for each in annotations(here / "b")] == [True, False, False]
    assert annotations(here / "b")[1]["bbox"] == pytest.approx([40, 20, 10, 20])


@pytest.mark.parametrize("target", ["idmask", "semantic"])
def test_a_box_that_a_format_cannot_hold_has_a_row(segkit, here, target):
    draw(here / "in")
    data = write(here / "in/t.json", document([annotation(1), box(2, 2), box(3, 3)]))
    assert segkit("convert", data, "--val", 0, "--to", target).code == 0
    found = rows(here / "dataset")
    assert [(each["action"], each["why"], each["shapes"]) for each in found] == [
        ("left out", "a box without a mask, which the format cannot hold", 1)
    ] * 2


def test_boxes_that_leave_the_image_are_named(segkit, here):
    draw(here / "in")
    data = write(here / "in/t.json", document([box(1, 1, (50, 40, 30, 30)), box(2, 2, (64, 0, 5, 5)), box(3, 3)]))
    assert segkit("convert", data, "--val", 0).code == 0
    (row,) = rows(here / "dataset")
    assert (row["action"], row["shape"], row["why"]) == ("left out", 1, "a box that covers nothing of the image")
    assert [each["bbox"] for each in annotations(here / "dataset")] == [[50, 40, 30, 30], [5, 6, 20, 10]]
    assert segkit("convert", data, "--val", 0, "--to", "yolo", "--out", "y").code == 0
    assert "a box that leaves the image is cut at its border" in {each["why"] for each in rows(here / "y")}


def test_a_validation_split_of_boxes_is_refused_before_training(segkit, here):
    draw(here / "in/images")
    write(here / "in/train.json", document([annotation(1), annotation(2, 2)]))
    write(here / "in/val.json", document([box(1), box(2, 2)]))
    refused = train(segkit, "in", "maskrcnn")
    assert refused.code == 1
    assert refused.err.startswith(
        "error: in: the annotations of its val split are boxes without a segmentation\nhint: "
    )
    assert not (here / "runs").exists()


def train(segkit, data, model):
    return segkit("train", data, "--model", model, "--weights", "none", "--size", 64, "--steps", 1, "--batch", 2,
                  "--device", "cpu", "--workers", 0)  # fmt: skip


def test_boxes_that_seem_to_be_corners_are_named(segkit, here):
    draw(here / "in")
    data = write(here / "in/t.json", document([box(1, 1, (40, 30, 60, 45)), box(2, 2)]))
    assert segkit("convert", data, "--val", 0).code == 0
    (row,) = rows(here / "dataset")
    assert (row["action"], row["why"]) == ("noted", "a box leaves the image: as x1, y1, x2, y2 it would fit")


def test_models_of_boxes_learn_boxes_and_others_say_what_is_missing(segkit, here, boxes):
    assert segkit("convert", boxes, "--val", 0).code == 0
    assert train(segkit, "dataset", "fasterrcnn").code == 0
    for model in ("maskrcnn", "unet"):
        refused = train(segkit, "dataset", model)
        assert refused.code == 1
        assert refused.err.startswith("error: dataset: 3 of its 3 annotations are boxes without a segmentation\nhint: ")
    assert [each.name for each in (here / "runs").iterdir() if each.is_dir() and not each.is_symlink()] == [
        "fasterrcnn-1"
    ]
