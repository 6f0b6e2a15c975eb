"""Splits that lists and tables beside the images give, in any format; and pictures that lie in other folders."""

import json
from pathlib import Path

import coco_files as coco
import pytest
from labelme_files import square, write
from mask_folders import mask, picture

LABEL = "0 0.2 0.2 0.6 0.2 0.6 0.6 0.2 0.6\n"
XML = """<annotation><object><name>cat</name>
<bndbox><xmin>3</xmin><ymin>3</ymin><xmax>20</xmax><ymax>20</ymax></bndbox></object></annotation>"""


def text(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def convert(segkit, *arguments):
    """The stems of the images in each split, and the report."""
    outcome = segkit("convert", *arguments, "--out", "out", "--force", "--json")
    assert outcome.code == 0, outcome.err
    report = json.loads(outcome.out)
    tops = {split: json.loads(Path(f"out/{split}.json").read_text(encoding="utf-8")) for split in report["splits"]}
    return {split: sorted(Path(i["file_name"]).stem for i in top["images"]) for split, top in tops.items()}, report


def draw(kind, names):
    """A source of a format with an image for each name."""
    root = Path("in")
    if kind == "yolo":
        for name in names:
            picture(root / "images" / f"{name}.png")
            text(root / "labels" / f"{name}.txt", LABEL)
        text(root / "data.yaml", "names: [crack]\n")
    elif kind == "labelme":
        for name in names:
            write(root / f"{name}.json", [square(5, 5, 20)])
    elif kind == "semantic":
        for name in names:
            picture(root / "images" / f"{name}.png")
            mask(root / "masks" / f"{name}.png", (1, 20))
        text(root / "classes.txt", "_background_\ncrack\n")
    elif kind == "voc":
        for name in names:
            picture(root / "JPEGImages" / f"{name}.png")
            text(root / "Annotations" / f"{name}.xml", XML)
    else:
        coco.draw(root, 4)
        coco.write(root / "all.json", coco.document([coco.annotation(n, n) for n in range(1, 5)], 4))


@pytest.mark.parametrize("kind", ["yolo", "labelme", "semantic", "voc", "coco"])
@pytest.mark.parametrize("lines", ["{}", "images/{}.png", "D:\\set\\images\\{}.png"])
def test_lists_of_images_are_splits_in_every_format(segkit, here, kind, lines):
    draw(kind, ["p1", "p2", "p3", "p4"])
    for split, names in (("train", ["p1", "p4"]), ("val", ["p2", "p3"])):
        text(Path(f"in/{split}.txt"), "".join(lines.format(name) + "\n" for name in names))
    found, report = convert(segkit, "in")
    assert found == {"train": ["p1", "p4"], "val": ["p2", "p3"]}
    assert [each["from"] for each in report["split_origins"]] == ["train.txt", "val.txt"]


@pytest.mark.parametrize(
    ("kind", "name", "line"),
    [("yolo", "autosplit_{}.txt", "./images/{}.png"), ("voc", "ImageSets/Main/cat_{}.txt", "{} -1")],
)
def test_lists_whose_names_have_other_words_are_splits_where_two_splits_have_some(segkit, here, kind, name, line):
    draw(kind, ["p1", "p2", "p3", "p4"])
    text(Path("in") / name.format("train"), "".join(line.format(each) + "\n" for each in ("p1", "p2", "p4")))
    text(Path("in") / name.format("val"), line.format("p3") + "\n")
    assert convert(segkit, "in")[0] == {"train": ["p1", "p2", "p4"], "val": ["p3"]}


def test_texts_that_are_no_lists_of_images_are_no_splits(segkit, here):
    draw("labelme", ["p1", "p2", "p3", "p4"])
    text(Path("in/test.txt"), "remarks on the test\nnothing broke\np1\n")
    text(Path("in/val.txt"), "")
    found, report = convert(segkit, "in", "--val", "0")
    assert found == {"train": ["p1", "p2", "p3", "p4"]}
    assert "findings" not in report or not report["findings"]


def test_the_labels_of_images_that_are_named_after_splits_are_no_lists(segkit, here):
    for name in ("train_1", "train_2", "test_1"):
        picture(Path(f"in/{name}.png"))
        text(Path(f"in/{name}.txt"), LABEL)
    text(Path("in/classes.txt"), "crack\n")
    assert convert(segkit, "in", "--val", "0")[0] == {"train": ["test_1", "train_1", "train_2"]}


def test_a_table_of_masks_has_a_column_of_splits(segkit, here):
    rows = []
    for name, split in (("p1", "train"), ("p2", "Validation"), ("p3", "test"), ("p4", "train")):
        picture(Path(f"in/{name}.png"))
        mask(Path(f"in/m/{name}.png"), (1, 20))
        rows.append(f"{name}.png;m/{name}.png;{split}\n")
    text(Path("in/t.csv"), "image;mask;split\n" + "".join(rows))
    found, report = convert(segkit, "in/t.csv")
    assert found == {"train": ["p1", "p4"], "val": ["p2"], "test": ["p3"]}
    assert [each["from"] for each in report["split_origins"]] == ["the table"]


def test_pictures_and_masks_are_found_in_img_dir_and_ann_dir(segkit, here):
    for split, name in (("train", "p1"), ("train", "p2"), ("val", "p3")):
        picture(Path(f"in/img_dir/{split}/{name}.png"))
        mask(Path(f"in/ann_dir/{split}/{name}.png"), (1, 20))
    text(Path("in/classes.txt"), "_background_\ncrack\n")
    assert convert(segkit, "in")[0] == {"train": ["p1", "p2"], "val": ["p3"]}


def test_pictures_of_a_coco_file_are_found_in_folders_of_splits_and_keep_these(segkit, here):
    for split, number in (("train", 1), ("train", 2), ("val", 3)):
        coco.draw(Path("in") / "deep" / split, [f"p{number}.png"])
    coco.write(Path("in/all.json"), coco.document([coco.annotation(n, n) for n in range(1, 4)]))
    found, report = convert(segkit, "in")
    assert found == {"train": ["p1", "p2"], "val": ["p3"]}
    assert report["split_origins"][0]["from"] == "folders train, val"


def test_pictures_are_found_in_folders_below_images_dir_unless_two_have_the_name(segkit, here):
    coco.draw(Path("pictures/a"), ["p1.png", "p2.png"])
    coco.draw(Path("pictures/b"), ["P2.png", "p3.png"])
    coco.write(Path("in/all.json"), coco.document([coco.annotation(n, n) for n in range(1, 4)]))
    found, _ = convert(segkit, "in", "--images-dir", "pictures", "--val", "0")
    assert found == {"train": ["p1", "p3"]}
    assert [row["why"] for row in coco.rows(Path("out"))] == ["image not found"]


def test_pictures_in_datasets_that_segkit_wrote_are_not_found(segkit, here):
    coco.draw(Path("in"), 2)
    coco.write(Path("in/all.json"), coco.document([coco.annotation(n, n) for n in (1, 2)], 2))
    assert segkit("convert", "in", "--out", "in/first", "--images", "copy").code == 0
    Path("in/p2.png").unlink()
    assert convert(segkit, "in", "--val", "0")[0] == {"train": ["p1"]}


@pytest.mark.parametrize("target", ["coco", "labelme", "yolo", "voc", "semantic"])
def test_spaces_at_the_ends_of_labels_are_removed_and_reported(segkit, here, target):
    write(Path("in/a.json"), [square(5, 5, 20, label=" pad "), square(40, 5, 20, label="nut")])
    assert segkit("convert", "in", "--to", target, "--val", "0", "--out", "first", "--strict").code == 3
    assert "spaces at the ends of the label are removed" in {row["why"] for row in coco.rows(Path("first"))}
    assert segkit("convert", "first", "--val", "0", "--out", "out").code == 0
    assert {each["name"] for each in json.loads(Path("out/train.json").read_text())["categories"]} == {"pad", "nut"}


def test_images_of_voc_are_found_whatever_the_case_of_their_suffix(segkit, here):
    draw("voc", ["p1"])
    Path("in/JPEGImages/p1.png").rename("in/JPEGImages/p1.Png")
    assert convert(segkit, "in", "--val", "0")[0] == {"train": ["p1"]}
