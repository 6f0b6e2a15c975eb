"""LabelMe files that a person has corrected: no option of ``predict`` deletes or replaces them."""

import json

import pytest
from drawn_discs import disc_model, draw_discs, save

NAMES = ("a", "b", "c")


@pytest.fixture
def predicted(segkit, here, monkeypatch):
    monkeypatch.setattr("segkit.inference.predict.load", lambda *_, **__: disc_model(here / "m.pt"))
    for number, name in enumerate(NAMES):
        save(here / f"in/{name}.png", draw_discs(80, 90, [(30 + 5 * number, 40, 20, 1)]))

    def run(*options):
        return segkit("predict", "in", "--score", 0.1, "--format", "labelme,coco", "--device", "cpu", *options)

    assert run().code == 0
    return run


def correct(here, name="a"):
    path = here / f"predictions/labelme/{name}.json"
    document = json.loads(path.read_text())
    document["shapes"][0]["label"] = "corrected"
    path.write_text(json.dumps(document))
    return path, path.read_bytes()


def journal(here):
    return [json.loads(line) for line in (here / "predictions/pictures.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("others", ["pictures", "no pictures"])
def test_force_keeps_a_corrected_file_and_replaces_the_others(predicted, here, others):
    path, content = correct(here)
    untouched = here / "predictions/labelme/b.json"
    before = untouched.stat().st_mtime_ns
    if others == "no pictures":  # the one that was corrected is not predicted again
        (here / "in/a.png").unlink()
    for _ in range(2):  # and it is still known the second time
        outcome = predicted("--force")
        assert outcome.code == 0, outcome.err
        assert path.read_bytes() == content
        assert untouched.stat().st_mtime_ns != before
    assert ("labelme/a.json: was not written by this prediction" in outcome.err) == (others == "pictures")
    assert {each["file"]: "labelme" in each for each in journal(here)}["b.png"]


def test_force_keeps_files_of_which_nobody_knows_who_wrote_them(predicted, here):
    """Journals of an older segkit have no fingerprints."""
    path = here / "predictions/pictures.jsonl"
    lines = [{key: value for key, value in each.items() if key != "labelme"} for each in journal(here)]
    path.write_text("".join(json.dumps(each) + "\n" for each in lines))
    before = (here / "predictions/labelme/c.json").read_bytes()
    outcome = predicted("--force", "--score", 0.9)  # nothing is found: other content
    assert outcome.code == 0, outcome.err
    assert (here / "predictions/labelme/c.json").read_bytes() == before
    assert "(and 2 more such files)" in outcome.err


def test_resume_keeps_a_corrected_file(predicted, here):
    path, content = correct(here)
    save(here / "in/d.png", draw_discs(80, 90, [(30, 40, 20, 2)]))
    outcome = predicted("--resume", "--format", "labelme,coco,overlay")  # overlays are missing: all are predicted again
    assert outcome.code == 0, outcome.err
    assert path.read_bytes() == content
    assert (here / "predictions/overlay/a.jpg").is_file()
    assert (here / "predictions/labelme/d.json").is_file()
