"""Splits: near-duplicates stay together and images keep their split. Advice on labels."""

import json
from collections import Counter

import numpy as np
import pytest
from labelme_files import square, write
from PIL import Image

from segkit.conversion.label_checks import inspect_labels
from segkit.conversion.near_duplicates import group_similar
from segkit.conversion.split import SplitImage, assign_splits


def load(path):
    return json.loads(path.read_text(encoding="utf-8"))


def names(here, split, out="dataset"):
    return {image["file_name"] for image in load(here / out / f"{split}.json")["images"]}


def draw(seed, count, categories, density):
    rng = np.random.default_rng(seed)
    shares = 1 / np.arange(1, categories + 1)
    labels = [rng.choice(categories, rng.poisson(density), p=shares / shares.sum()) for _ in range(count)]
    return [SplitImage(f"{seed}_{n:04d}", [str(label) for label in some]) for n, some in enumerate(labels)]


@pytest.mark.parametrize(("count", "categories", "density"), [(300, 2, 60), (1000, 20, 5), (100, 10, 7)])
def test_instances_of_every_category_are_split_in_the_requested_fractions(count, categories, density):
    members = draw(1, count, categories, density)
    splits = assign_splits(members, val=0.2, test=0.1, group_by=None, seed=0)
    totals = Counter(label for member in members for label in member.labels)
    for split, share in (("val", 0.2), ("test", 0.1)):
        there = Counter(
            label for member, own in zip(members, splits, strict=True) if own == split for label in member.labels
        )
        assert abs(splits.count(split) / count - share) < 0.02
        assert abs(there.total() / totals.total() - share) < 0.02
        assert all(abs(there[label] / totals[label] - share) < 0.06 for label in totals if totals[label] > 20)


def test_images_linked_through_other_images_stay_together():
    members = [SplitImage(str(n), ("a",), (("look", n // 10),)) for n in range(100)]
    members[5] = SplitImage("5", ("a",), (("look", 0), ("picture", "p")))
    members[95] = SplitImage("95", ("a",), (("look", 9), ("picture", "p")))
    splits = assign_splits(members, val=0.3, test=0, group_by=None, seed=0)
    assert len({splits[n] for n in (*range(10), *range(90, 100))}) == 1
    assert 20 <= splits.count("val") <= 40


def test_images_keep_their_split_when_others_are_added(segkit, here):
    for number in range(30):
        write(here / f"in/a{number}.json", [square(10, 10, 20, "ab"[number % 2])], size=(40, 40))
    segkit("convert", "in", "--test", 0.1)
    before = {split: names(here, split) for split in ("train", "val", "test")}
    for number in range(12):
        write(here / f"in/0{number}.json", [square(10, 10, 20, "abc"[number % 3])], size=(40, 40))
    assert segkit("convert", "in", "--test", 0.1, "--force").code == 0
    assert all(before[split] <= names(here, split) for split in before)
    assert segkit("convert", "in", "--test", 0.1, "--out", "other", "--keep-splits", "dataset").code == 0
    assert all(names(here, split) == names(here, split, "other") for split in before)
    assert segkit("convert", "in", "--val", 0.5, "--force").code == 0  # other settings: a new split
    assert len(names(here, "val")) == 21
    assert "no dataset to take splits from" in segkit("convert", "in", "--out", "x", "--keep-splits", "in").err


@pytest.mark.parametrize("target", ["yolo", "voc", "labelme"])
def test_images_keep_their_split_in_every_format(segkit, here, target):
    for number in range(10):
        write(here / f"in/a{number}.json", [square(10, 10, 20)], size=(40, 40))
    segkit("convert", "in", "--val", 0.3, "--to", target)
    before = load(here / "dataset/report.json")["image_splits"]
    for number in range(10):
        write(here / f"in/0{number}.json", [square(10, 10, 20)], size=(40, 40))
    assert segkit("convert", "in", "--val", 0.3, "--to", target, "--force").code == 0
    after = load(here / "dataset/report.json")["image_splits"]
    assert all(set(before[split]) <= set(after[split]) for split in before)
    assert segkit("convert", "in", "--out", "other", "--keep-splits", "dataset").code == 0
    assert names(here, "val", "other") == set(after["val"])


def test_an_image_with_two_annotation_files_is_in_one_split(segkit, here):
    for number in range(20):
        for annotator in ("", "_by_b"):
            path = here / f"in/{number}{annotator}.json"
            write(path, [square(10, 10, 20)], size=(40, 40), picture=not annotator, imagePath=f"{number}.png")
    segkit("convert", "in", "--val", 0.3)
    train, val = ({name.split("_")[0].split(".")[0] for name in names(here, split)} for split in ("train", "val"))
    assert not train & val
    assert len(val) == 6
    rows = load(here / "dataset/report.json")["findings"]
    assert {row["why"].split(" as ")[0].split(":")[0] for row in rows} == {"annotates the same image", "renamed"}


@pytest.mark.parametrize("how", ["dots", "link", "hard link"])
def test_a_picture_that_is_named_in_two_ways_is_in_one_split(segkit, here, how):
    for number in range(12):
        own = write(here / f"in/{number}.json", [square(10, 10, 20)], size=(40, 40)).with_suffix(".png")
        other = here / f"in/by_b/{number}.png"
        named = f"../{number}.png" if how == "dots" else other.name
        write(other.with_suffix(".json"), [square(10, 10, 20)], picture=False, size=(40, 40), imagePath=named)
        if how == "link":
            other.symlink_to(own)
        if how == "hard link":
            other.hardlink_to(own)
    segkit("convert", "in", "--val", 0.3)
    train, val = ({name.rpartition("/")[2].split("_")[0] for name in names(here, split)} for split in ("train", "val"))
    assert val
    assert not train & val
    rows = load(here / "dataset/report.json")["findings"]
    assert sum(row["why"].startswith("annotates the same image") for row in rows) == 12


def test_near_duplicates_stay_in_one_split(segkit, here):
    rng = np.random.default_rng(0)
    for scene in range(10):
        base = rng.normal(128, 60, (12, 16)).clip(0, 255).astype(np.uint8)
        for take in range(3):
            large = np.asarray(Image.fromarray(base).resize((160, 120), Image.Resampling.BICUBIC), np.float64)
            pixels = (large * (1 - 0.1 * take) + rng.normal(0, 4, large.shape)).clip(0, 255).astype(np.uint8)
            path = write(here / f"in/{take}{scene}.json", [square(10, 10, 20)], size=(120, 160), picture=False)
            Image.fromarray(pixels).save(path.with_suffix(".png"))
    assert segkit("convert", "in", "--val", 0.3, "--group-similar").code == 0
    val = names(here, "val")
    assert Counter(name[1] for name in val) == dict.fromkeys({name[1] for name in val}, 3)
    assert len(val) == 9


def test_near_duplicates_among_many_images():
    rng = np.random.default_rng(0)
    scenes = rng.integers(0, 256, (500, 256), np.uint8)
    takes = (scenes[:, None].astype(int) + rng.integers(-4, 5, (500, 3, 256))).clip(0, 255).astype(np.uint8)
    numbers = np.array(group_similar([take.tobytes() for take in takes.reshape(-1, 256)])).reshape(500, 3)
    assert (numbers == numbers[:, :1]).all()
    assert len(np.unique(numbers)) == 500
    assert group_similar([None, bytes(256), None]) == [None, 1, None]


@pytest.mark.parametrize(
    ("labels", "difference"),
    [
        (("crack", "cracks"), "a plural"),
        (("Cell", "cell "), "spaces, dashes"),
        (("cell", "Cell"), "capital letters"),
        (("cell", "cell "), "spaces"),
        (("café", "cafe"), "accents"),
        (("café", "cafe\u0301"), "the way that accents are stored"),
        (("pore", "роre"), "letters of another script"),
        (("corn leaf", "corn_leaf"), "spaces, dashes or underscores"),
        (("box", "boxes"), "a plural"),
        (("body", "bodies"), "more than one"),
    ],
)
def test_label_names_that_differ_by_accident_are_reported(labels, difference):
    counts = dict(zip(labels, (9, 7), strict=True))
    (advice,) = inspect_labels(counts, {"train": Counter(counts)})
    assert advice.concern == "similar names"
    assert set(advice.labels) == set(labels)
    assert difference in advice.why or advice.why.endswith("more than one of these")


@pytest.mark.parametrize("labels", [("glass", "glas"), ("cat", "bat"), ("bus", "bu"), ("细胞", "细菌"), ("a1", "b1")])
def test_label_names_that_differ_on_purpose_are_not_reported(labels):
    counts = dict.fromkeys(labels, 9)
    assert inspect_labels(counts, {"train": Counter(counts)}) == ()


def test_numbered_rare_and_missing_labels_are_reported():
    counts = {"person-1": 9, "person-2": 8, "dog": 50, "cat": 2}
    split = {"train": Counter(counts), "val": Counter({"dog": 9, "person-1": 2, "person-2": 1})}
    advice = {each.concern: each for each in inspect_labels(counts, split)}
    assert advice["number in name"].remedy == "--map 'person-1=person,person-2=person'"
    assert advice["missing in split"].labels == ("cat",)
    assert advice["few instances"].labels == ("cat",)


def test_advice_on_labels_is_in_the_report_and_does_not_fail_a_strict_run(segkit, here):
    write(here / "in/a.json", [square(10, 10, 20, "crack"), square(50, 10, 20, "cracks"), square(80, 10, 2, "crack")])
    write(here / "in/b.json", [square(10, 10, 20, "crack"), square(10, 10, 20, "crack")])
    outcome = segkit("convert", "in", "--val", 0, "--strict")
    assert outcome.code == 0
    report = load(here / "dataset/report.json")
    assert [each["concern"] for each in report["hygiene"]] == ["similar names"]
    assert sorted(row["why"].split(":")[0] for row in report["findings"]) == ["duplicate", "tiny"]
    assert "crack" in outcome.err
    assert "--map 'cracks=crack'" in outcome.err
