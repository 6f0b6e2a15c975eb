"""Images with one stem, or with names that some file systems take for one, never share a file; in any format."""

import importlib.util
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from labelme_files import square
from PIL import Image

from segkit.conversion.names import unique_names

TARGETS = ["coco", "labelme", "yolo", "voc", "idmask", "semantic"]


def load(path):
    return json.loads(path.read_text(encoding="utf-8"))


def annotate(folder, squares, split=None):
    """A COCO file of images by name, each with one square (x, y, side) and a grey level of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for number, (name, (x, y, side)) in enumerate(squares.items(), 1):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((60, 80, 3), 10 * number, np.uint8)).save(folder / name)
        images.append({"id": number, "file_name": name, "height": 60, "width": 80})
        polygon = [[value for point in square(x, y, side)["points"] for value in point]]
        annotations.append({"id": number, "image_id": number, "category_id": 1, "segmentation": polygon, "iscrowd": 0})
    top = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "box"}]}
    (folder / f"{split or 'ann'}.json").write_text(json.dumps(top))


def areas(folder):
    """The area and box of the instance of each image, by the grey level of the image."""
    found = {}
    for file in folder.glob("*.json"):
        top = load(file)
        if "annotations" not in top:
            continue
        for annotation in top["annotations"]:
            image = next(each for each in top["images"] if each["id"] == annotation["image_id"])
            with Image.open(folder / "images" / image["file_name"]) as picture:
                level = round(float(np.asarray(picture.convert("L")).mean()))
            assert level not in found
            found[level] = (annotation["area"], tuple(annotation["bbox"]))
    return found


SQUARES = {
    "p0.jpg": (5, 5, 10),
    "p0.png": (30, 20, 15),
    "p0_2.jpg": (40, 20, 8),
    "P0.jpg": (1, 1, 5),
    "s/p0.jpg": (10, 10, 20),
    "report.png": (20, 20, 6),
    "s p.tar.png": (2, 2, 12),
}
EXPECTED = {10 * number: (side * side, (x, y, side, side)) for number, (x, y, side) in enumerate(SQUARES.values(), 1)}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("val", [0, 0.3])
def test_images_with_equal_stems_keep_their_own_instances(segkit, here, target, val):
    annotate(here / "in", SQUARES)
    assert segkit("convert", "in", "--to", target, "--out", "one", "--val", val).code == 0
    outcome = segkit("convert", "one", "--out", "two", "--from", target)
    assert outcome.code == 0, outcome.err
    found = areas(here / "two")
    assert {level: area for level, (area, _) in found.items()} == {level: area for level, (area, _) in EXPECTED.items()}
    assert all(np.allclose(found[level][1], EXPECTED[level][1]) for level in EXPECTED)


ROLES = {
    "images/a.png": (5, 5, 5),
    "masks/a.png": (30, 20, 15),
    "labels/a.png": (40, 20, 8),
    "images/images/a.png": (10, 10, 7),
    "a_mask.png": (1, 1, 6),
    "a.png": (20, 20, 9),
}


@pytest.mark.parametrize("target", [*TARGETS, "panoptic"])
def test_pictures_in_folders_that_are_called_as_those_of_a_format_keep_their_masks(segkit, here, target):
    annotate(here / "in", ROLES)
    assert segkit("convert", "in", "--to", target, "--out", "one", "--val", 0).code == 0
    assert segkit("convert", "one", "--out", "two", "--val", 0).code == 0
    found = {level: (area, tuple(map(round, box))) for level, (area, box) in areas(here / "two").items()}
    assert found == {10 * n: (side * side, (x, y, side, side)) for n, (x, y, side) in enumerate(ROLES.values(), 1)}


def test_other_programs_find_the_labels_of_such_pictures(segkit, here):
    annotate(here / "in", ROLES)
    segkit("convert", "in", "--to", "yolo", "--val", 0)
    pictures = [path.relative_to(here / "dataset").as_posix() for path in (here / "dataset/images").rglob("*.png")]
    labels = [f"/{name}".rsplit("/images/", 1) for name in pictures]  # the last "images" of a path, as in Ultralytics
    assert all((here / "dataset" / "labels" / end).with_suffix(".txt").is_file() for _, end in labels)
    assert len(labels) == len(ROLES)
    rows = load(here / "dataset/report.json")["findings"]
    assert {row["file"] for row in rows} == {"images/images/a.png", "masks/a.png", "labels/a.png", "images/a.png"}


def test_images_that_are_renamed_are_noted(segkit, here):
    annotate(here / "in", {"a.jpg": (5, 5, 10), "a.png": (5, 5, 10)})
    outcome = segkit("convert", "in", "--to", "yolo", "--val", 0, "--json", "--strict")
    assert outcome.code == 0
    assert [(row["file"], row["why"]) for row in json.loads(outcome.out)["findings"]] == [
        ("a.png", "renamed: another image has this name, or a file for it")
    ]


@pytest.mark.parametrize("target", TARGETS)
def test_names_stay_the_own_ones_where_they_differ(segkit, here, target):
    annotate(here / "in", {"b c.jpg": (5, 5, 10), "a.png": (5, 5, 10)})
    assert segkit("convert", "in", "--to", target, "--out", "one", "--val", 0).code == 0
    there = {path.name for path in (here / "one").rglob("*") if path.is_symlink()}
    assert there == {"b c.jpg", "a.png"}


@pytest.mark.parametrize("target", ["yolo", "semantic", "idmask"])
def test_the_folder_of_a_split_is_not_repeated(segkit, here, target):
    for split, name in (("train", "a.png"), ("val", "a.png")):
        annotate(here / "in" / split, {name: (5, 5, 10)}, split)
    segkit("convert", "in", "--to", target, "--out", "one")
    segkit("convert", "one", "--to", target, "--out", "two")
    trees = [sorted(str(path.relative_to(out)) for path in out.rglob("*")) for out in (here / "one", here / "two")]
    assert trees[0] == trees[1]
    assert not any("train/train" in path for path in trees[0])


name = st.sampled_from(["a", "A", "a_2", "a_3", "é", "e\u0301", "b"])
path = st.builds("{}{}{}".format, st.sampled_from(["", "s/", "S/"]), name, st.sampled_from([".jpg", ".png", ""]))


@given(st.lists(st.lists(path, min_size=1, max_size=2), max_size=12), st.booleans())
def test_names_are_unique_whatever_is_wanted(wanted, by_stem):
    names = unique_names(wanted, by_stem=by_stem, taken=["b.json"])
    again = unique_names([[each] for each in names], by_stem=by_stem, taken=["b.json"])
    assert again == names
    first = {}
    for candidates, found in zip(wanted, names, strict=True):
        first.setdefault(candidates[0], found)
    assert len(set(names)) == len(names)


CHECK = """
import sys
from ultralytics.data.utils import check_det_dataset
found = check_det_dataset(sys.argv[1], autodownload=False)
print("found:", found["train"], found["val"], found["names"])
"""


def test_ultralytics_opens_what_is_written_from_any_folder(segkit, here):
    if importlib.util.find_spec("ultralytics") is None:
        pytest.skip("ultralytics is not installed")
    annotate(here / "in", {f"{number}.jpg": (5, 5, 10) for number in range(4)})
    (here / "other").mkdir()
    for out, val in (("both", 0.5), ("train_only", 0)):
        segkit("convert", "in", "--to", "yolo", "--out", out, "--val", val)
        moved = here / "elsewhere" / out
        shutil.copytree(here / out, moved)
        command = [sys.executable, "-c", CHECK, str(moved / "data.yaml")]  # a process: it changes Pillow's functions
        done = subprocess.run(command, cwd=here / "other", capture_output=True, text=True, check=False)
        val_folder = moved / "images/val" if val else None
        assert f"found: {moved / 'images/train'} {val_folder} {{0: 'box'}}" in done.stdout, done.stderr


def test_data_yaml_names_no_path_and_both_splits(segkit, here):
    annotate(here / "in", {"a.jpg": (5, 5, 10)})
    segkit("convert", "in", "--to", "yolo", "--val", 0)
    assert (here / "dataset/data.yaml").read_text() == "train: images/train\nval: null\nnames:\n  0: box\n"
    outcome = segkit("convert", "dataset", "--out", "again", "--val", 0, "--json")
    assert json.loads(outcome.out)["findings"] == []
