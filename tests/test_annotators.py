"""``segkit eval`` of a second annotator: annotations as results."""

import json
import math

import numpy as np
import pytest
from labelme_files import shape, square, write

from segkit.data.masks import mask_to_rle
from segkit.data.outline_distance import outline_distance


def evaluated(segkit, *arguments):
    outcome = segkit("eval", *arguments, "--json")
    assert outcome.code == 0, outcome.err
    assert "Traceback" not in outcome.err
    return json.loads(outcome.out)


@pytest.fixture
def people(tmp_path):
    """Two folders: the second person drew a's box two pixels to the right, missed one and swapped one in b."""
    for person, shift in (("first", 0), ("second", 2)):
        write(tmp_path / person / "a.json", [square(20 + shift, 20, 40), square(100, 20, 40)])
    write(tmp_path / "first/b.json", [square(20, 20, 40), square(100, 20, 40, "nut"), square(100, 70, 30, "nut")])
    write(tmp_path / "second/b.json", [square(20, 20, 40, "nut"), square(100, 20, 40, "nut")])
    for person in ("first", "second"):
        write(tmp_path / person / f"only-{person}.json", [square(20, 20, 40)])
    return tmp_path


def test_two_people(segkit, people, monkeypatch):
    document = evaluated(segkit, people / "second", "--data", people / "first")
    agreement = document["agreement"]
    assert document["images"] == 2
    assert [each for each in document["warnings"] if "left out" in each] == [
        "1 image is annotated by the first only: left out", "1 image is annotated by the second only: left out",
    ]  # fmt: skip
    boxes, nuts = agreement["per_category"]["box"], agreement["per_category"]["nut"]
    iou = 38 / 42
    assert (boxes["first"], boxes["second"], boxes["agreed"], boxes["only_first"]) == (3, 2, 2, 1)
    assert boxes["PQ"] == pytest.approx((iou + 1) / 2.5)
    assert boxes["F1"] == pytest.approx(2 * 2 / 5)
    assert (nuts["first"], nuts["second"], nuts["agreed"], nuts["PQ"]) == (2, 2, 1, pytest.approx(1 / 2))
    assert nuts["outline_distance"] == 0
    assert boxes["outline_distance"] == pytest.approx(0.5, abs=0.05)  # two pixels at two sides of one of two boxes
    assert agreement["categories"]["confused"] == [{"first": "box", "second": "nut", "count": 1}]
    assert (agreement["categories"]["pairs"], agreement["categories"]["same"]) == (4, 3)
    assert agreement["categories"]["kappa"] == pytest.approx((3 / 4 - (3 * 2 + 1 * 2) / 16) / (1 - 8 / 16))
    assert [row["file_name"] for row in agreement["pictures"]] == ["b.png", "a.png"]
    monkeypatch.chdir(people)
    text = segkit("eval", "second", "--data", "first").out
    assert "Cohen's kappa 0.500" in text
    assert "box for the first is nut for the second: 1" in text
    assert not (people / "evaluation").exists()
    assert segkit("eval", "second", "--data", "first", "--report").code == 0
    page = " ".join((people / "evaluation/report.html").read_text("utf-8").split())
    for part in ("<h2>Two annotators</h2>", "Of 4 instances that both have, 3 have the same category.",
                 "kappa is 0.500", "<td>box</td><td>nut</td><td>1</td>", "<td>b.png</td>"):  # fmt: skip
        assert part in page


def test_agreement_is_the_same_from_both_sides_and_in_other_formats(segkit, people):
    """PQ, F1 and distances are symmetric; AP is not. A COCO file and a folder of LabelMe files are alike."""
    one = evaluated(segkit, people / "second", "--data", people / "first")["agreement"]
    other = evaluated(segkit, people / "first", "--data", people / "second")["agreement"]
    for name in ("PQ", "F1", "mean_IoU", "outline_distance", "hausdorff95", "agreed"):
        assert one["overall"][name] == pytest.approx(other["overall"][name])
    for person in ("first", "second"):
        assert segkit("convert", people / person, "--out", people / f"{person}-coco", "--val", 0).code == 0
    coco = evaluated(segkit, people / "second-coco/train.json", "--data", people / "first-coco")
    assert coco["agreement"] == one
    mixed = evaluated(segkit, people / "second-coco", "--data", people / "first", "--iou", "segm,boundary,bbox")
    assert mixed["agreement"] == one
    assert mixed["segm"] == coco["segm"]
    assert mixed["boundary"]["AP"] <= mixed["segm"]["AP"]


def test_equal_annotations_agree_in_everything(segkit, people, tmp_path):
    document = evaluated(segkit, people / "first", "--data", people / "first", "--details", "--out", tmp_path / "out")
    assert document["segm"]["AP"] == document["details"]["overall"]["PQ"] == 1
    assert document["agreement"]["overall"]["PQ"] == document["agreement"]["categories"]["kappa"] == 1
    assert document["agreement"]["overall"]["hausdorff95"] == 0
    assert json.loads((tmp_path / "out/metrics.json").read_text())["agreement"] == document["agreement"]


def test_what_cannot_be_compared_is_refused(segkit, people, tmp_path, monkeypatch):
    write(tmp_path / "other/x.json", [square(5, 5, 30)])
    write(tmp_path / "size/a.json", [square(5, 5, 30)], size=(60, 90))
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    for arguments, message in (
        (["other", "--data", "first"], "has no image in common with first"),
        (["size", "--data", "first"], "has no image in common with first"),
        (["second"], "annotations, and no model"),
        (["second", "--data", "nothing"], "no such file or folder"),
        (["second", "--data", "first", "--compare", "other"], "--compare: second is annotations, not a model"),
        (["second", "--data", "first", "--task", "semantic"], "--task semantic scores models"),
        (["second", "--data", "first", "--split", "val"], "no images of the split 'val'"),
        (["empty", "--data", "first"], "a folder that is no run"),
    ):
        outcome = segkit("eval", *arguments)
        assert outcome.code == 1, (arguments, outcome.err)
        assert message in outcome.err
        assert "Traceback" not in outcome.err


def test_lines_and_empty_pictures(segkit, tmp_path):
    """Pictures without instances agree; nothing is divided by nothing."""
    for person in ("first", "second"):
        write(tmp_path / person / "a.json", [])
    outcome = segkit("eval", tmp_path / "second", "--data", tmp_path / "first")
    assert (outcome.code, "neither has an instance" in outcome.err) == (1, True)
    write(tmp_path / "second/a.json", [shape("a", [[1, 1], [30, 1], [30, 30]])])
    document = evaluated(segkit, tmp_path / "second", "--data", tmp_path / "first")
    assert document["agreement"]["per_category"]["a"]["only_second"] == 1


def test_distance_of_outlines():
    mask = np.zeros((60, 80), np.uint8)
    mask[10:30, 10:30] = 1
    moved = np.roll(mask, 5, axis=1)
    far = outline_distance(mask_to_rle(mask), mask_to_rle(moved))
    assert outline_distance(mask_to_rle(mask), mask_to_rle(mask)) == (0, 0)
    assert far == outline_distance(mask_to_rle(moved), mask_to_rle(mask))
    assert far.hausdorff95 == 5
    inner = np.zeros_like(mask)
    inner[13:27, 13:27] = 1
    assert outline_distance(mask_to_rle(mask), mask_to_rle(inner)).mean == pytest.approx(3, abs=0.1)
    assert math.isclose(
        outline_distance(mask_to_rle(mask), mask_to_rle(inner)).hausdorff95, 3 * math.sqrt(2), abs_tol=1
    )
    assert outline_distance(mask_to_rle(mask), mask_to_rle(mask * 0)) is None
