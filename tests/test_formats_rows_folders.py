"""Lines of docs/formats.md on folders of YOLO, VOC and masks."""

import json
from pathlib import Path

import numpy as np
import pytest
from mask_folders import areas, mask, picture, whys
from PIL import Image

SQUARE = "0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75"  # of a picture of 48 x 64: 768 pixels


def convert(segkit, *more, source="in", code=0):
    outcome = segkit("convert", source, "--val", 0, "--force", *more)
    assert outcome.code == code, outcome.err
    return outcome


def annotations(here):
    return json.loads((here / "dataset/train.json").read_text())["annotations"]


def rows_like(here, action, words):
    """How many rows have an action, and words in their reason."""
    return sum(count for (done, why), count in whys(here / "dataset").items() if done == action and words in why)


def yolo(here, **texts):
    for stem, text in texts.items():
        picture(here / f"in/images/{stem}.png")
        (here / "in/labels").mkdir(exist_ok=True)
        (here / f"in/labels/{stem}.txt").write_text(text)
    (here / "in/data.yaml").write_text("names: [crack, hole]\n")


@pytest.mark.parametrize("between", [";", "; "])
def test_yolo_lines_with_semicolons_are_read(segkit, here, between):
    yolo(here, a=f"0 {SQUARE}".replace(" ", between))
    convert(segkit, "--strict")
    assert areas(here / "dataset")["crack"] == [768]


@pytest.mark.parametrize(("value", "kept"), [("-0.09", True), ("1.09", True), ("-0.11", False), ("1.11", False)])
def test_yolo_coordinates_beyond_a_tenth_outside_are_left_out(segkit, here, value, kept):
    yolo(here, a=f"0 {SQUARE}\n1 {value} 0.2 0.5 0.2 0.5 0.8")
    convert(segkit, "--strict", code=3)
    assert [action for action, _ in whys(here / "dataset")] == ["repaired" if kept else "left out"]


def test_the_same_yolo_line_twice_is_two_instances(segkit, here):
    yolo(here, a=f"0 {SQUARE}\n0 {SQUARE}\n")
    convert(segkit, "--strict")
    assert areas(here / "dataset")["crack"] == [768, 768]


def test_yolo_pictures_with_an_empty_folder_for_labels_are_images_without_instances(segkit, here):
    for split in ("train", "val"):
        picture(here / f"in/images/{split}/{split}.png")
        (here / f"in/labels/{split}").mkdir(parents=True)
    (here / "in/labels/train/train.txt").write_text(f"0 {SQUARE}")
    (here / "in/data.yaml").write_text("names: [crack]\n")
    outcome = segkit("convert", "in", "--strict")
    assert outcome.code == 0, outcome.err
    assert len(json.loads((here / "dataset/val.json").read_text())["images"]) == 1
    assert rows_like(here, "noted", "have no label file: they are images without instances") == 1


def voc(here, *, objects="SegmentationObject", classes="SegmentationClass", stem="a", folder="in", ids=(1, 2)):
    picture(here / folder / f"JPEGImages/{stem}.jpg")
    for name, values in ((objects, (1, 2)), (classes, ids)):
        if name:
            mask(here / folder / f"{name}/{stem}.png", (values[0], 20), (values[1], 21))


def xml(here, *names, folder="in", stem="a"):
    where = "<bndbox><xmin>3</xmin><ymin>5</ymin><xmax>20</xmax><ymax>14</ymax></bndbox>"
    path = here / folder / f"Annotations/{stem}.xml"
    path.parent.mkdir(parents=True)
    path.write_text(f"<annotation>{''.join(f'<object><name>{n}</name>{where}</object>' for n in names)}</annotation>")


@pytest.mark.parametrize("classes", ["", "SegmentationClass"])
def test_a_voc_xml_without_an_image_of_objects_gives_boxes_without_a_mask(segkit, here, classes):
    voc(here, objects="", classes=classes)
    xml(here, "cat", "nut")
    convert(segkit, "--strict")
    assert [(each["segmentation"], each["bbox"]) for each in annotations(here)] == [([], [2, 4, 18, 10])] * 2
    assert rows_like(here, "noted", "SegmentationClass is not read") == bool(classes)


@pytest.mark.parametrize("text", ["", "<annotation><object>", "<html><body/></html>", "\0\0"])
@pytest.mark.parametrize("masked", [False, True])
def test_a_picture_whose_voc_xml_is_broken_is_no_background(segkit, here, text, masked):
    voc(here, objects="", classes="", stem="a")
    voc(here, objects="SegmentationObject" * masked, classes="", stem="b")
    xml(here, "cat")
    (here / "in/Annotations/b.xml").write_text(text)
    convert(segkit, "--strict", code=0 if masked else 3)
    images = json.loads((here / "dataset/train.json").read_text())["images"]
    assert [image["file_name"] for image in images] == ["a.jpg", *(["b.jpg"] * masked)]
    assert rows_like(here, "noted" if masked else "left out", "its XML file: ") == 1


def test_voc_folders_with_the_ending_png_are_read(segkit, here):
    voc(here, objects="SegmentationObjectPNG", classes="SegmentationClassPNG")
    (here / "in/class_names.txt").write_text("__ignore__\n_background_\nnut\nbolt\n")
    convert(segkit, "--strict")
    assert areas(here / "dataset") == {"nut": [200], "bolt": [210]}


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("label_colors.txt", "0 0 0 background\n128 0 0\tnut\n0 128 0\tbolt\n"),
        ("class_dict.csv", "name,r,g,b\nbackground,0,0,0\nnut,128,0,0\nbolt,0,128,0\n"),
        ("_classes.csv", "Pixel Value, Class\n0, background\n1, nut\n2, bolt\n"),
        ("--labels", "nut\nbolt\n"),
    ],
)
def test_every_list_names_the_classes_of_voc(segkit, here, file, text):
    voc(here)
    path = here / ("names.txt" if file == "--labels" else f"in/{file}")
    path.write_text(text)
    convert(segkit, "--strict", *((file, path) if file == "--labels" else ()))
    assert areas(here / "dataset") == {"nut": [200], "bolt": [210]}


def test_the_folders_of_voc_tell_its_names(segkit, here):
    voc(here, folder="in/VOCdevkit/VOC2012")
    convert(segkit)
    assert areas(here / "dataset") == {"aeroplane": [200], "bicycle": [210]}


def test_xml_files_with_names_of_voc_tell_its_names(segkit, here):
    voc(here, ids=(8, 12))
    xml(here, "cat")
    convert(segkit)
    assert {name: found for name, found in areas(here / "dataset").items() if found} == {"cat": [200], "dog": [210]}


def test_voc_classes_without_objects_are_regions_with_a_note(segkit, here):
    voc(here, objects="", ids=(1, 1))
    (here / "in/classes.txt").write_text("nut\n")
    convert(segkit, "--strict")
    assert areas(here / "dataset") == {"nut": [410]}
    assert rows_like(here, "noted", "each class is one region") == 1


def pair(here, *regions, names=None, file="classes.txt"):
    picture(here / "in/images/a.jpg")
    mask(here / "in/masks/a.png", *regions)
    if names is not None:
        (here / "in" / file).write_text(names)


@pytest.mark.parametrize("names", ["0 sky\n1 crack\n2 ignore\n", "0 _background_\n1 crack\n2 ignore\n"])
def test_a_class_called_ignore_is_unlabelled_or_a_region_to_ignore(segkit, here, names):
    pair(here, (1, 20), (2, 21), names=names)
    convert(segkit, "--from", "semantic", "--ignore", "crowd")
    crowds = [each["area"] for each in annotations(here) if each["iscrowd"]]
    assert crowds == ([210] if "_background_" in names else [])
    assert "ignore" not in areas(here / "dataset")


@pytest.mark.parametrize("names", ["0 sky\n1 crack\n2 void\n", "0 _background_\n1 crack\n255 void\n"])
def test_a_class_called_void_that_is_unlabelled_is_noted(segkit, here, names):
    pair(here, (1, 20), (255 if "255" in names else 2, 21), names=names)
    convert(segkit, "--from", "semantic")
    assert "void" not in areas(here / "dataset")
    assert rows_like(here, "noted", "'void' in classes.txt is read as unlabelled") == 1


@pytest.mark.parametrize("given", [True, False])
def test_a_list_without_a_background_has_places_from_1(segkit, here, given):
    """Where --labels names it, or where masks have as many ids as it has names."""
    pair(here, (1, 20), (2, 21), names=None if given else "crack\nhole\n")
    (here / "names.txt").write_text("crack\nhole\nrust\n")
    convert(segkit, "--from", "semantic", "--strict", *(("--labels", "names.txt") if given else ()))
    assert areas(here / "dataset") == {"crack": [200], "hole": [210]} | ({"rust": []} if given else {})
    assert rows_like(here, "noted", "has no background: 0 is read as background") == 1


def test_masks_of_more_than_8_bits_are_instances_unless_semantic_is_said(segkit, here):
    picture(here / "in/images/a.png")
    ids = mask(here / "in/masks/a.png", (1, 20), (3, 21)).astype(np.uint16) * 200
    Image.fromarray(ids).save(here / "in/masks/a.png")
    convert(segkit, "--strict")
    assert areas(here / "dataset") == {"object": [200, 210]}
    assert rows_like(here, "noted", "--from semantic") == 1
    convert(segkit, "--strict", "--from", "semantic")
    assert [*areas(here / "dataset")] == ["class_0", "class_200", "class_600"]


@pytest.mark.parametrize(("pictures", "masks"), [("train", "trainannot"), ("images", "labels"), ("images", "masks")])
def test_folders_of_pictures_and_class_ids_are_found(segkit, here, pictures, masks):
    picture(here / f"in/{pictures}/a.png")
    mask(here / f"in/{masks}/a.png", (1, 20), (2, 21))
    (here / "in/classes.txt").write_text("0 _background_\n1 crack\n2 hole\n")
    convert(segkit, "--strict")
    assert areas(here / "dataset") == {"crack": [200], "hole": [210]}


def test_masks_of_0_and_another_number_are_background_and_that_class(segkit, here):
    pair(here, (7, 20))
    convert(segkit, "--from", "semantic", "--strict")
    assert areas(here / "dataset") == {"class_7": [200]}
    assert rows_like(here, "noted", "0 is read as background, 7 as 'class_7'") == 1
    (here / "in/classes.txt").write_text("crack\n")
    convert(segkit, "--from", "semantic", "--strict")
    assert areas(here / "dataset") == {"crack": [200]}


def test_a_jpeg_mask_of_numbers_is_left_out_beside_others(segkit, here):
    pair(here, (1, 20), (2, 21), names="0 _background_\n1 crack\n2 hole\n")
    picture(here / "in/images/b.jpg")
    mask(here / "in/masks/b.jpg", (60, 20), (120, 21))
    convert(segkit, "--from", "semantic", "--strict", code=3)
    assert areas(here / "dataset") == {"crack": [200], "hole": [210]}
    assert rows_like(here, "left out", "JPEG") == 1


def test_255_that_is_not_listed_is_a_region_to_ignore_beside_a_background(segkit, here):
    pair(here, (1, 20), (2, 21), (255, 5), names="0 _background_\n1 crack\n2 hole\n")
    convert(segkit, "--from", "semantic", "--ignore", "crowd")
    assert {each["area"] for each in annotations(here) if each["iscrowd"]} == {50}
    assert rows_like(here, "noted", "255 is not in classes.txt: it is read as unlabelled") == 1


def test_folders_of_any_two_names_are_named_one_by_one_and_keep_their_splits(segkit, here):
    for split in ("train", "val"):
        picture(here / f"in/photos/{split}/{split}.png")
        mask(here / f"in/targets/{split}/{split}.png", (1, 20), (2, 21))
    refused = convert(segkit, "--from", "semantic", code=1)
    assert "that of the pictures with --images-dir" in refused.err
    outcome = segkit("convert", "in/targets", "--from", "semantic", "--images-dir", here / "in/photos")
    assert outcome.code == 0, outcome.err
    for split in ("train", "val"):
        found = json.loads((here / f"dataset/{split}.json").read_text())
        assert [Path(image["file_name"]).stem for image in found["images"]] == [split]
        assert sorted(each["area"] for each in found["annotations"])[:2] == [200, 210]
