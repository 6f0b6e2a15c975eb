"""What a conversion says about options, names and records that are most likely mistakes."""

import io
import json
import sys
from pathlib import Path

import coco_files as coco
import pytest
from labelme_files import square, write
from mask_folders import picture

from segkit.formats.splits import split_of_name


def whys(segkit, *arguments):
    """The action and reason of each finding."""
    outcome = segkit("convert", *arguments, "--val", "0", "--out", "out")
    assert outcome.code == 0, outcome.err
    return [(row["action"], row["why"]) for row in coco.rows(Path("out"))]


def test_a_label_that_map_names_and_nothing_has_is_noted(segkit, here):
    write(Path("in/a.json"), [square(5, 5, 20, label="nut")])
    assert whys(segkit, "in", "--map", "nut=bolt,Nut=bolt") == [("noted", "--map Nut=: no label is 'Nut'")]


def test_a_category_of_a_list_that_has_no_instance_may_be_mapped(segkit, here):
    coco.draw(Path("in"), 1)
    coco.write(Path("in/a.json"), coco.document([coco.annotation(1)], 1, ("nut", "bolt")))
    assert whys(segkit, "in", "--map", "bolt=screw") == []


@pytest.mark.parametrize("name", [None, ""])
def test_categories_without_a_name_are_named_after_their_ids_with_a_row(segkit, here, name):
    coco.draw(Path("in"), 1)
    coco.write(Path("in/a.json"), coco.document([coco.annotation(1)], 1, [{"id": 1, "name": name}]))
    assert whys(segkit, "in") == [("repaired", "1 category has no name: named after the id")]
    assert json.loads(Path("out/train.json").read_text())["categories"][0]["name"] == "class_1"


def test_equal_annotations_of_one_coco_file_are_kept_and_noted(segkit, here):
    coco.draw(Path("in"), 1)
    coco.write(Path("in/a.json"), coco.document([coco.annotation(1), coco.annotation(1), coco.annotation(2)], 1))
    why = "duplicate: 2 annotations have category, box and area of an earlier one"
    assert whys(segkit, "in") == [("noted", why)]
    assert len(json.loads(Path("out/train.json").read_text())["annotations"]) == 3


@pytest.mark.parametrize("name", ["panoptic_val2017", "person_keypoints_val2017", "lvis_v1_val", "stuff_val2017"])
def test_the_official_names_of_coco_files_name_a_split_by_themselves(name):
    named = split_of_name(name)
    assert named is not None
    assert (named.split, named.exact) == ("val", True)


def test_a_broken_data_yaml_is_described_without_words_of_the_parser(segkit, here):
    picture(Path("in/images/a.png"))
    Path("in/labels").mkdir()
    Path("in/labels/a.txt").write_text("0 0.2 0.2 0.6 0.2 0.6 0.6\n")
    Path("in/data.yaml").write_text("names: [crack")
    (_, why), *_ = whys(segkit, "in")
    assert why.startswith("not valid YAML: while parsing a flow sequence in line 1, column 8")
    assert "unicode string" not in why


def test_nothing_to_convert_says_what_is_missing(segkit, here, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    coco.write(Path("in/a.json"), coco.document([], []))
    assert segkit("convert", "in/a.json").err.startswith("error: in/a.json: nothing to convert: it names no image\n")
    assert "files of annotations must name images" in segkit("convert", "in").err
    assert "standard input names no annotation file" in segkit("convert", "-").err


def test_images_of_a_voc_folder_without_annotations_are_noted_with_their_number(segkit, here):
    for name in ("a", "b", "c"):
        picture(Path(f"in/JPEGImages/{name}.png"))
    Path("in/Annotations").mkdir()
    box = "<bndbox><xmin>3</xmin><ymin>3</ymin><xmax>20</xmax><ymax>20</ymax></bndbox>"
    Path("in/Annotations/a.xml").write_text(f"<annotation><object><name>cat</name>{box}</object></annotation>")
    why = "images with neither an XML file nor a mask are not read: 2, such as b.png"
    assert whys(segkit, "in") == [("noted", why)]
