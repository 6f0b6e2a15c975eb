"""Names and folders that ``predict`` copes with: no ending, too long, not UTF-8; resuming with other formats."""

import json
import os
import sys

import pytest
from random_models import card_of, checkpoint
from test_predict_files import draw, names_in, predict


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return checkpoint(tmp_path_factory.mktemp("models") / "m.pt", card_of("unet"))


def test_files_without_an_ending_and_with_long_names_are_predicted(segkit, here, model):
    long = "ä" * 120 + ".png"
    source = draw(here / "in/a.png")
    for name in ("scan", ".hidden", long):
        (here / "in" / name).write_bytes(source.read_bytes())
    outcome, lines = predict(segkit, *(f"in/{name}" for name in ("scan", ".hidden", long)), "--model", model)
    assert outcome.code == 0, outcome.err
    assert [line["file"] for line in lines] == ["scan", ".hidden", long]
    overlays = {path.name for path in (here / "predictions/overlay").iterdir()}
    assert overlays == {"scan.jpg", ".hidden.jpg", "ä" * 110 + ".jpg"}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_not_utf8_does_not_stop_the_others(segkit, here, model):
    draw(here / "in/z.png")
    (here / "in" / os.fsdecode(b"\xff.png")).write_bytes((here / "in/z.png").read_bytes())
    outcome, lines = predict(segkit, "in", "--model", model, "--format", "coco,labelme")
    assert outcome.code == 1
    assert "its name is not UTF-8" in outcome.err
    assert [line["file"] for line in lines] == names_in(here / "predictions") == ["z.png"]


def test_resume_writes_the_formats_that_are_missing(segkit, here, model):
    draw(here / "in/a.png"), draw(here / "in/b.png", seed=1)
    predict(segkit, "in", "--model", model, "--format", "coco")
    out = here / "predictions"
    before = (out / "results.json").read_bytes()
    (out / "overlay/s").mkdir(parents=True)
    (out / "overlay/s/.a.jpg.writing").touch()
    outcome, _ = predict(segkit, "in", "--model", model, "--format", "coco,labelme", "--resume")
    assert outcome.code == 0, outcome.err
    assert {path.name for path in (out / "labelme").iterdir()} == {"a.json", "b.json"}
    assert names_in(out) == ["a.png", "b.png"]
    assert (out / "results.json").read_bytes() == before
    assert not list(out.rglob("*.writing"))
    outcome, lines = predict(segkit, "in", "--model", model, "--format", "coco,labelme", "--resume")
    assert (outcome.code, lines) == (0, [])
    assert len(json.loads((out / "images.json").read_text())["images"]) == 2
