"""Data in which every annotation is a crowd, as some tools write it: said by convert, refused by train, mended."""

import json

import pytest
from coco_files import annotation, document, draw, rows, write

WHY = "every annotation is a crowd (iscrowd 1): models learn nothing from it; --crowds instances"


@pytest.fixture
def crowds(here):
    draw(here / "in")
    return write(here / "in/t.json", document([annotation(n, n, iscrowd=1) for n in (1, 2, 3)]))


def train(segkit, model):
    return segkit("train", "dataset", "--model", model, "--weights", "none", "--size", 64, "--steps", 1, "--batch", 2,
                  "--device", "cpu", "--workers", 0)  # fmt: skip


@pytest.mark.parametrize("target", ["coco", "labelme"])
def test_convert_says_that_there_are_only_crowds(segkit, here, crowds, target):
    outcome = segkit("convert", crowds, "--val", 0, "--to", target)
    assert outcome.code == 0
    assert [(row["action"], row["why"], row["shapes"]) for row in rows(here / "dataset")] == [("noted", WHY, 0)]
    assert "every annotation is a crowd" in " ".join(outcome.err.split())


@pytest.mark.parametrize("model", ["maskrcnn", "fasterrcnn", "unet"])
def test_train_refuses_data_of_crowds_alone(segkit, here, crowds, model):
    assert segkit("convert", crowds, "--val", 0).code == 0
    refused = train(segkit, model)
    assert refused.code == 1
    assert refused.err.startswith("error: dataset: every annotation is a crowd (iscrowd 1): nothing to learn\nhint: ")
    assert "--crowds instances" in refused.err
    assert not (here / "runs").exists()


@pytest.mark.parametrize("source", ["coco", "labelme"])
def test_crowds_become_instances_on_request(segkit, here, crowds, source):
    if source == "labelme":
        assert segkit("convert", crowds, "--val", 0, "--to", "labelme", "--out", "lm").code == 0
        crowds = "lm"
    assert segkit("convert", crowds, "--val", 0, "--crowds", "instances", "--strict").code == 0
    annotations = json.loads((here / "dataset/train.json").read_text())["annotations"]
    assert [each["iscrowd"] for each in annotations] == [0, 0, 0]
    assert not any(each.get("attributes") for each in annotations)
    assert source == "labelme" or train(segkit, "unet").code == 0


def test_one_instance_among_crowds_is_not_worth_a_word(segkit, here):
    draw(here / "in")
    write(here / "in/t.json", document([annotation(1, 1, iscrowd=1), annotation(2, 2)]))
    assert segkit("convert", "in", "--val", 0, "--strict").code == 0
    assert rows(here / "dataset") == []
