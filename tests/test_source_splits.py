"""The splits that a source has are kept, whatever its format; and the summary says where each split comes from."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from labelme_files import square, write
from PIL import Image
from split_sources import coco, draw, origins, splits, yolo

from segkit.formats.splits import split_of_name, splits_of_paths


@pytest.mark.parametrize(
    ("name", "split", "exact"),
    [
        ("train", "train", True),
        ("Training", "train", True),
        ("train2017", "train", True),
        ("train_v2", "train", True),
        ("trainset", "train", True),
        ("TrainImages", "train", True),
        ("trainA", "train", True),
        ("valid", "val", True),
        ("validation", "val", True),
        ("dev", "val", True),
        ("instances_val2017", "val", True),
        ("image_info_test-dev2017", "test", True),
        ("Test Images 2", "test", True),
        ("obj_train_data", "train", True),
        ("defects_train_v2", "train", False),
        ("tensile_test_03", "test", False),
        ("trainval", None, None),
        ("train_val", None, None),
        ("contest", None, None),
        ("latest", None, None),
        ("restrained", None, None),
        ("default", None, None),
        ("валидация", None, None),
        ("", None, None),
    ],
)
def test_the_split_that_a_name_means(name, split, exact):
    named = split_of_name(name)
    assert (named and named.split, named and named.exact) == (split, exact)


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["images/train2017", "images/val2017"], ["train", "val"]),
        (["train/images", "valid/images", "test/images"], ["train", "val", "test"]),
        (["train/val_images", "val/val_images"], ["train", "val"]),
        (["train/test", "val/test"], ["train", "val"]),  # a folder of the class "test"
        (["test/train", "test/val", "."], ["train", "val", None]),
        (["tensile_test_1/train", "tensile_test_1/val"], ["train", "val"]),
        (["train/tensile_test_1", "val/tensile_test_1"], ["train", "val"]),
        (["defects_train_v2", "defects_val_v2"], ["train", "val"]),
        (["tensile_test_1", "tensile_test_2"], [None, None]),
        (["crash_test", "train"], ["test", "train"]),
        (["a", "train"], [None, "train"]),
    ],
)
def test_the_split_that_a_path_means(paths, expected):
    named = splits_of_paths([tuple(path.split("/")) for path in paths])
    assert [each and each.split for each in named] == expected


@given(st.text())
def test_any_name_can_be_read(name):
    assert (named := split_of_name(name)) is None or named.split in ("train", "val", "test")


def test_coco_files_in_folders_of_splits(segkit, here):
    for folder, count in (("train", 6), ("valid", 3), ("test", 2)):
        coco(here / "in" / folder / "_annotations.coco.json", [f"p{n}.jpg" for n in range(count)])
    found, report = splits(segkit, "in")
    assert {split: len(names) for split, names in found.items()} == {"train": 6, "val": 3, "test": 2}
    assert found["test"] == ["test/p0.jpg", "test/p1.jpg"]
    assert origins(report) == {"folders test, train, valid": {"train": 6, "val": 3, "test": 2}}


@pytest.mark.parametrize(
    "names",
    [
        ("instances_train2017", "instances_val2017"),
        ("defects_train_v2", "defects_valid_v2"),
        ("train", "val"),
        ("TRAIN_coco", "dev_coco"),
    ],
)
def test_coco_files_named_after_splits(segkit, here, names):
    coco(here / f"in/annotations/{names[0]}.json", ["a.jpg", "b.jpg", "c.jpg"], here / "in/images")
    coco(here / f"in/annotations/{names[1]}.json", ["d.jpg"], here / "in/images")
    found, report = splits(segkit, "in")
    assert found == {"train": ["a.jpg", "b.jpg", "c.jpg"], "val": ["d.jpg"]}
    assert origins(report) == {f"files {names[0]}, {names[1]}": {"train": 3, "val": 1}}
    assert report["findings"] == []


@pytest.mark.parametrize(
    ("lists", "path"),
    [
        ({"train": "train.txt", "val": "val.txt"}, None),
        ({"train": ["train.txt"], "val": "./val.txt"}, None),
        ({"train": "/home/other/set/train.txt", "val": "/home/other/set/val.txt"}, "/home/other/set"),
    ],
)
@pytest.mark.parametrize(
    "line", ["./images/{}.jpg", "images/{}.jpg", "/home/other/set/images/{}.jpg", "images\\{}.jpg"]
)
def test_lists_of_a_data_yaml(segkit, here, lists, path, line):
    yolo(here / "in", ["a", "b c", "d", "e"])
    (here / "in/data.yaml").write_text(json.dumps({"path": path, "names": ["box"]} | lists))
    (here / "in/train.txt").write_text("".join(line.format(name) + "\n" for name in ("a", "b c", "d")))
    (here / "in/val.txt").write_text(line.format("e") + "\n")
    found, report = splits(segkit, "in")
    assert found == {"train": ["a.jpg", "b c.jpg", "d.jpg"], "val": ["e.jpg"]}
    assert origins(report) == {"data.yaml, train.txt": {"train": 3}, "data.yaml, val.txt": {"val": 1}}


@pytest.mark.parametrize(
    ("declared", "found"),
    [
        ({"train": "images/one", "val": "images/two"}, {"train": ["one/a", "one/b"], "val": ["two/c"]}),
        ({"train": "../images/one", "val": "../images/two"}, {"train": ["one/a", "one/b"], "val": ["two/c"]}),
        ({"train": ["images/one"], "valid": ["images/two"]}, {"train": ["one/a", "one/b"], "val": ["two/c"]}),
        (
            {"path": ".", "train": ["images/two"], "test": "images/one"},
            {"train": ["two/c"], "test": ["one/a", "one/b"]},
        ),
        (
            {"path": "/x/y", "train": "images/one", "val": "/x/y/images/two"},
            {"train": ["one/a", "one/b"], "val": ["two/c"]},
        ),
    ],
)
def test_folders_of_a_data_yaml(segkit, here, declared, found):
    yolo(here / "in", ["one/a", "one/b", "two/c"])
    (here / "in/data.yaml").write_text(json.dumps({"names": ["box"]} | declared))
    there, report = splits(segkit, "in")
    assert {split: [name.removesuffix(".jpg") for name in names] for split, names in there.items()} == found
    assert "data.yaml" in origins(report)


def test_a_data_yaml_counts_for_its_own_folder(segkit, here):
    for name in ("one", "two"):
        yolo(here / "in" / name, ["a", "b", "c"])
        (here / f"in/{name}/data.yaml").write_text(json.dumps({"names": ["box"], "train": "t.txt", "val": "v.txt"}))
        (here / f"in/{name}/t.txt").write_text("images/a.jpg\nimages/b.jpg\n")
        (here / f"in/{name}/v.txt").write_text("images/c.jpg\n")
    found, report = splits(segkit, "in")
    assert found == {"train": ["one/a.jpg", "one/b.jpg", "two/a.jpg", "two/b.jpg"], "val": ["one/c.jpg", "two/c.jpg"]}
    assert origins(report)["two/data.yaml, v.txt"] == {"val": 1}


def test_yolo_folders_with_a_year(segkit, here):
    yolo(here / "in", ["train2017/a", "train2017/b", "val2017/c"])
    found, report = splits(segkit, "in")
    assert found == {"train": ["train2017/a.jpg", "train2017/b.jpg"], "val": ["val2017/c.jpg"]}
    assert origins(report) == {"folders train2017, val2017": {"train": 2, "val": 1}}


def test_lists_without_a_data_yaml(segkit, here):
    yolo(here / "in", ["a", "b", "c"])
    (here / "in/train.txt").write_text("data/images/a.jpg\ndata/images/b.jpg\n")
    (here / "in/valid.txt").write_text("data/images/c.jpg\n")
    assert splits(segkit, "in")[0] == {"train": ["a.jpg", "b.jpg"], "val": ["c.jpg"]}


def test_an_image_in_two_lists_is_held_out_and_reported(segkit, here):
    yolo(here / "in", ["a", "b", "c"])
    (here / "in/data.yaml").write_text(json.dumps({"names": ["box"], "train": "images", "val": "val.txt"}))
    (here / "in/val.txt").write_text("images/c.jpg\nimages/gone.jpg\n")
    found, report = splits(segkit, "in")
    assert found == {"train": ["a.jpg", "b.jpg"], "val": ["c.jpg"]}
    assert sorted(row["why"] for row in report["findings"]) == [
        "1 of 2 lines name no image of the source: 'images/gone.jpg'",
        "leak: 1 image is listed in train and in val: kept in val only",
    ]
    assert segkit("convert", "in", "--strict", "--force", "--out", "out").code == 3


def test_train_and_val_of_one_folder_are_a_source_without_val(segkit, here):
    yolo(here / "in", [f"train2017/{n}" for n in range(10)])
    (here / "in/data.yaml").write_text(
        json.dumps({"names": ["box"], "train": "images/train2017", "val": "images/train2017"})
    )
    found, report = splits(segkit, "in")
    assert len(found["val"]) == 2
    whys = [row["why"] for row in report["findings"]]
    assert "leak: train and val are the same 10 images: read as a source without splits" in whys


def test_voc_lists_are_read_by_whole_lines(segkit, here):
    for number in range(8):
        write(here / f"in/my pic {number}.json", [square(10, 10, 20)], size=(40, 60))
    segkit("convert", "in", "--to", "voc", "--val", 0.25, "--out", "voc")
    written = (here / "voc/ImageSets/Segmentation/val.txt").read_text().split("\n")[:-1]
    (here / "voc/ImageSets/Segmentation/default.txt").write_text("my pic 0\n")
    (here / "voc/ImageSets/Segmentation/trainval.txt").write_text("my pic 0\n")
    found, report = splits(segkit, "voc")
    assert found["val"] == [f"{name}.png" for name in written]
    assert origins(report) == {
        "ImageSets/Segmentation/train.txt": {"train": 6}, "ImageSets/Segmentation/val.txt": {"val": 2},
    }  # fmt: skip


def test_one_stray_file_does_not_undo_the_splits(segkit, here):
    for split, count in (("train", 8), ("val", 4)):
        for number in range(count):
            write(here / f"in/{split}/{split}{number}.json", [square(10, 10, 20)], size=(40, 60))
    write(here / "in/stray.json", [square(10, 10, 20)], size=(40, 60))
    found, report = splits(segkit, "in")
    assert found["val"] == [f"val/val{number}.png" for number in range(4)]
    assert found["train"] == ["stray.png", *(f"train/train{number}.png" for number in range(8))]
    assert origins(report) == {"folders train, val": {"train": 8, "val": 4}, "drawn by segkit (train)": {"train": 1}}
    rows = [(row["file"], row["why"]) for row in report["findings"]]
    assert rows == [("stray.json", "the source has no split for it: it is in train")]


def test_folders_of_class_id_masks(segkit, here):
    for folder, names in (("train", "ab"), ("val", "c"), ("test", "d")):
        for name in names:
            draw(here / f"in/{folder}/{name}.png")
            mask = here / f"in/{folder}annot/{name}.png"
            mask.parent.mkdir(exist_ok=True)
            Image.fromarray(np.eye(40, 60, dtype=np.uint8)).save(mask)
    found, _ = splits(segkit, "in")
    assert {split: len(names) for split, names in found.items()} == {"train": 2, "val": 1, "test": 1}


def test_a_split_of_another_name_is_reported(segkit, here):
    for number, split in enumerate(("train", "validation", "holdout", "default")):
        write(here / f"in/{number}.json", [square(10, 10, 20)], size=(40, 60), split=split)
    found, report = splits(segkit, "in")
    assert found == {"train": ["0.png", "2.png", "3.png"], "val": ["1.png"]}
    assert [row["why"] for row in report["findings"] if row["action"] == "changed"] == [
        "its split 'holdout' is not kept: it is none of train, val, test"
    ]


def test_mask_folders_named_after_splits(segkit, here):
    for folder, name in (("train_images", "a"), ("train_images", "b"), ("val_images", "c")):
        draw(here / f"in/{folder}/{name}.png")
        mask = here / "in" / folder.replace("images", "masks") / f"{name}.png"
        mask.parent.mkdir(exist_ok=True)
        Image.fromarray(np.eye(40, 60, dtype=np.uint8)).save(mask)
    found, _ = splits(segkit, "in")
    assert {split: len(names) for split, names in found.items()} == {"train": 2, "val": 1}


def test_only_a_train_folder_val_is_drawn_from_it(segkit, here):
    for number in range(10):
        write(here / f"in/train/{number}.json", [square(10, 10, 20)], size=(40, 60))
    found, report = splits(segkit, "in")
    assert {split: len(names) for split, names in found.items()} == {"train": 8, "val": 2}
    assert [row["why"] for row in report["findings"]] == ["val drawn from train (folders train)"]
