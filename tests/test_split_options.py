"""Splits of a source and the options about them, and images in two splits."""

import json

from labelme_files import square, write
from split_sources import coco, load, origins, splits


def test_a_source_with_train_and_test_keeps_both(segkit, here):
    for number in range(10):
        write(here / f"in/{'train' if number < 8 else 'test'}/{number}.json", [square(10, 10, 20)], size=(40, 60))
    found, report = splits(segkit, "in")
    assert {split: len(names) for split, names in found.items()} == {"train": 8, "test": 2}
    assert [row["why"] for row in report["findings"]] == [
        "the source (folders test, train) has no val split; --val 0.2 draws one from train"
    ]
    found, report = splits(segkit, "in", "--val", 0.25)
    assert {split: len(names) for split, names in found.items()} == {"train": 6, "val": 2, "test": 2}
    assert found["test"] == ["test/8.png", "test/9.png"]


def test_val_that_is_asked_for_replaces_the_val_of_the_source_and_is_reported(segkit, here):
    for number in range(12):
        folder = "train" if number < 8 else "val" if number < 10 else "test"
        write(here / f"in/{folder}/{number}.json", [square(10, 10, 20)], size=(40, 60))
    found, report = splits(segkit, "in", "--val", 0.5)
    assert {split: len(names) for split, names in found.items()} == {"train": 5, "val": 5, "test": 2}
    assert [(row["action"], row["why"]) for row in report["findings"]] == [
        ("changed", "--val: val of the source (folders test, train, val) is not kept")
    ]
    assert segkit("convert", "in", "--val", 0.5, "--strict", "--out", "out", "--force").code == 3


def test_a_folder_named_like_its_class_is_no_split(segkit, here):
    for name in ("bus", "train"):
        for number in range(5):
            write(here / f"in/{name}/{name}{number}.json", [square(10, 10, 20, name)], size=(40, 60))
    found, _ = splits(segkit, "in")
    assert {split: len(names) for split, names in found.items()} == {"train": 8, "val": 2}
    assert {name.split("/")[0] for name in found["val"]} == {"bus", "train"}


def test_the_folder_of_the_source_names_no_split(segkit, here):
    for number in range(10):
        write(here / f"test/{number}.json", [square(10, 10, 20)], size=(40, 60))
    found, report = splits(segkit, here / "test")
    assert {split: len(names) for split, names in found.items()} == {"train": 8, "val": 2}
    assert origins(report) == {"drawn by segkit (val 0.2, seed 0)": {"train": 8, "val": 2}}


def test_one_image_in_two_splits_of_the_source_is_reported(segkit, here):
    coco(here / "in/train.json", ["a.jpg", "b.jpg"])
    coco(here / "in/val.json", ["b.jpg", "c.jpg"])
    _, report = splits(segkit, "in")
    assert "leak: the same image is in train and in val, as the source has it" in {
        row["why"] for row in report["findings"]
    }


def test_near_duplicates_and_groups_in_two_splits_of_the_source_are_reported(segkit, here):
    for folder in ("train", "val"):
        write(here / f"in/{folder}/scene1_{folder}.json", [square(10, 10, 20)], size=(40, 60))
    found, report = splits(segkit, "in", "--group-similar", "--group-by", r"(scene\d)")
    assert found == {"train": ["train/scene1_train.png"], "val": ["val/scene1_val.png"]}
    assert sorted(row["why"] for row in report["findings"]) == [
        "leak: images of one group (--group-by) are in train and in val, as the source has it",
        "leak: near-duplicates are in train and in val, as the source has it",
    ]


def test_group_by_that_does_not_group_is_told(segkit, here):
    for number in range(12):
        write(here / f"in/img{number // 3}_{number}.json", [square(10, 10, 20)], size=(40, 60))
    outcome = segkit("convert", "in", "--group-by", "zzz")
    assert outcome.code == 2
    assert "matches none of 12 paths" in outcome.err
    assert segkit("convert", "in", "--group-by", "(").code == 2
    _, report = splits(segkit, "in", "--group-by", r"img[01]")
    assert [row["why"] for row in report["findings"]] == ["--group-by: 6 of 12 images are groups of their own"]
    _, report = splits(segkit, "in", "--group-by", "dir")
    assert [row["why"] for row in report["findings"]] == [
        "--group-by: all 12 images are one group, so none can be held out"
    ]


def test_the_summary_says_where_splits_come_from(segkit, here):
    for folder in ("train", "val"):
        write(here / f"in/{folder}/{folder}.json", [square(10, 10, 20)], size=(40, 60))
    outcome = segkit("convert", "in")
    assert "split: folders train, val: train 1, val 1" in outcome.err
    assert load(here / "dataset/report.json")["split_origins"] == [
        {"from": "folders train, val", "images": {"train": 1, "val": 1}}
    ]


def test_keep_splits_counts_more_than_the_source_and_is_reported(segkit, here):
    for number in range(10):
        write(here / f"in/{number}.json", [square(10, 10, 20)], size=(40, 60), split="val" if number < 2 else "train")
    segkit("convert", "in", "--out", "before", "--val", 0.5)
    found, report = splits(segkit, "in", "--keep-splits", "before")
    assert found["val"] == sorted(image["file_name"] for image in load(here / "before/val.json")["images"])
    assert {row["action"] for row in report["findings"]} == {"changed"}
    assert origins(report) == {"the earlier dataset in before": {"train": 5, "val": 5}}


def test_a_dataset_that_segkit_wrote_into_the_source_is_passed_over(segkit, tmp_path):
    write(tmp_path / "in/train/a.json", [square(5, 5, 20)])
    write(tmp_path / "in/val/b.json", [square(5, 5, 20)])
    assert segkit("convert", tmp_path / "in", "--out", tmp_path / "in/coco").code == 0
    done = segkit("convert", tmp_path / "in", "--out", tmp_path / "out", "--json")
    document = json.loads(done.out)
    assert {name: split["images"] for name, split in document["splits"].items()} == {"train": 1, "val": 1}
    assert [(row["file"], row["action"]) for row in document["findings"] if "segkit wrote" in row["why"]] == [
        ("coco", "noted")
    ]
    (tmp_path / "in/train/a.json").unlink()
    (tmp_path / "in/val/b.json").unlink()
    again = segkit("convert", tmp_path / "in", "--out", tmp_path / "two", "--json")
    assert json.loads(again.out)["images"] == 2
