"""Lines of the section "Splits" in docs/formats.md that no other file tests."""

import json
from pathlib import Path

import coco_files as coco
import pytest
from labelme_files import square
from labelme_files import write as write_labelme
from mask_folders import picture
from test_formats_rows import found, loaded


def split_names(segkit, *arguments):
    """The stems of the images in each split."""
    outcome = segkit("convert", *arguments, "--out", "out", "--force", "--json")
    assert outcome.code == 0, outcome.err
    splits = json.loads(outcome.out)["splits"]
    return {name: sorted(Path(i["file_name"]).stem for i in loaded(f"out/{name}.json")["images"]) for name in splits}


def tiny_yolo(names, **listed):
    for name in names:
        picture(Path(f"in/images/{name}.png"))
        Path("in/labels").mkdir(exist_ok=True)
        Path(f"in/labels/{name}.txt").write_text("0 0.2 0.2 0.6 0.2 0.6 0.6\n")
    Path("in/data.yaml").write_text(json.dumps({"names": ["nut"]} | listed))


def test_several_lists_of_a_data_yaml_are_one_split(segkit, here):
    tiny_yolo("abcd", train=["one.txt", "two.txt"], val="images")
    Path("in/one.txt").write_text("images/a.png\n")
    Path("in/two.txt").write_text("images/b.png\n")
    Path("in/data.yaml").write_text(json.dumps({"names": ["nut"], "train": ["one.txt", "two.txt"], "val": "v.txt"}))
    Path("in/v.txt").write_text("images/c.png\nimages/d.png\n")
    assert split_names(segkit, "in") == {"train": ["a", "b"], "val": ["c", "d"]}


def test_lists_of_voc_count_in_the_order_segmentation_main_imagesets(segkit, here):
    xml = "<annotation><object><name>cat</name><bndbox><xmin>3</xmin><ymin>3</ymin><xmax>9</xmax><ymax>9</ymax>"
    for name in "abc":
        picture(Path(f"in/JPEGImages/{name}.png"))
        Path("in/Annotations").mkdir(exist_ok=True)
        Path(f"in/Annotations/{name}.xml").write_text(f"{xml}</bndbox></object></annotation>")
    for folder, held in (("", "a"), ("Main", "b"), ("Segmentation", "c")):
        (here / "in/ImageSets" / folder).mkdir(parents=True, exist_ok=True)
        (here / "in/ImageSets" / folder / "val.txt").write_text(f"{held}\n")
        (here / "in/ImageSets" / folder / "train.txt").write_text("".join(f"{n}\n" for n in "abc" if n != held))
        assert split_names(segkit, "in")["val"] == [held]


def test_via_files_named_after_splits(segkit, here):
    for name, split in (("a", "train"), ("b", "val")):
        picture(here / f"in/{name}.png")
        outline = {"name": "rect", "x": 5, "y": 5, "width": 9, "height": 9}
        region = {"shape_attributes": outline, "region_attributes": {"class": "nut"}}
        coco.write(here / f"in/defects_{split}_v2.json", {name: {"filename": f"{name}.png", "regions": [region]}})
    assert split_names(segkit, "in") == {"train": ["a"], "val": ["b"]}


@pytest.mark.parametrize("only", ["val", "test"])
def test_a_source_that_has_only_val_or_test_keeps_all_images_there(segkit, here, only):
    for name in "abcdefghij":
        write_labelme(here / f"in/{only}/{name}.json", [square(10, 10, 20)])
    assert split_names(segkit, "in") == {only: list("abcdefghij")}


def test_val_is_drawn_among_images_without_a_split_where_the_source_has_none(segkit, here):
    for number in range(10):
        write_labelme(here / f"in/free{number}.json", [square(10, 10, 20)])
        write_labelme(here / f"in/test/{number}.json", [square(10, 10, 20)])
    splits = split_names(segkit, "in")
    assert splits["test"] == [str(number) for number in range(10)]
    assert {split: len(names) for split, names in splits.items()} == {"train": 8, "val": 2, "test": 10}


def test_test_that_is_asked_for_replaces_that_of_the_source(segkit, here):
    for number in range(12):
        split = "train" if number < 8 else "val" if number < 10 else "test"
        write_labelme(here / f"in/{split}/{number}.json", [square(10, 10, 20)])
    why = "--test: test of the source (folders test, train, val) is not kept"
    assert found(segkit, "in", "--test", 0.4) == [("changed", why, 0)]
    assert {"8", "9"} == set(split_names(segkit, "in", "--test", 0.4)["val"])
    assert segkit("convert", "in", "--test", 0.4, "--out", "out", "--force", "--strict").code == 3


@pytest.mark.parametrize(("others", "held"), [(("train", "val", "test"), "test"), (("train", "val"), "val")])
def test_an_image_in_several_lists_is_held_out_in_test_else_in_val(segkit, here, others, held):
    tiny_yolo("abcd", **{split: f"{split}.txt" for split in others})
    for split, own in zip(others, "abc", strict=False):
        Path(f"in/{split}.txt").write_text(f"images/{own}.png\nimages/d.png\n")
    splits = split_names(segkit, "in")
    assert [split for split, names in splits.items() if "d" in names] == [held]
    leaks = [why for _, why, _ in found(segkit, "in") if why.startswith("leak: ")]
    assert leaks
    assert all(f"kept in {held} only" in why for why in leaks)
