"""YOLO folders as other tools and people write them: every line becomes an instance or a row of the report."""

import json

import numpy as np
import pytest
from labelme_files import write
from mask_folders import areas, picture, whys
from PIL import Image

SQUARE = "0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75"  # of a picture of 48 x 64: 768 pixels
NAMES = "names: [crack, hole]\n"


def folder(here, labels, *, yaml=NAMES, images="images", texts="labels", suffix=".txt", encoding="utf-8"):
    """A folder ``in`` with a picture for each label file."""
    for stem, text in labels.items():
        picture(here / "in" / images / f"{stem}.png")
        path = here / "in" / texts / f"{stem}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode(encoding))
    if yaml is not None:
        (here / "in/data.yaml").write_bytes(yaml.encode(encoding))


def convert(segkit, *more, code=0):
    outcome = segkit("convert", "in", "--val", 0, *more)
    assert outcome.code == code, outcome.err
    return outcome


@pytest.mark.parametrize(
    "yaml",
    [
        "names: {'0': crack, '1': hole}\n",
        "names:\n  0: crack\n  1: hole\n",
        "names: {0.0: crack, 1.0: hole}\n",
        "train: x\nnc: 2\nnames: ['crack', \"hole\"]\n",
        "names: names.list\n",
    ],
)
def test_names_in_every_form(segkit, here, yaml):
    folder(here, {"a": f"0 {SQUARE}\n1 {SQUARE}\n"}, yaml=yaml)
    (here / "in/names.list").write_text("crack\nhole\n")
    (here / "in/a_training.yaml").write_text("lr: 0.1\nnames: [wrong]\n")
    convert(segkit, "--strict")
    assert areas(here / "dataset") == {"crack": [768], "hole": [768]}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_files_with_a_byte_order_mark(segkit, here, encoding):
    folder(here, {"a": f"0 {SQUARE}\n1 {SQUARE}\n"}, encoding=encoding)
    convert(segkit)
    assert areas(here / "dataset") == {"crack": [768], "hole": [768]}


def test_words_that_yaml_takes_for_truth_stay_words(segkit, here):
    folder(here, {"a": f"0 {SQUARE}\n1 {SQUARE}\n"}, yaml="names: [no, 1.10]\n")
    convert(segkit)
    assert areas(here / "dataset") == {"no": [768], "1.10": [768]}


def test_categories_without_names_are_told(segkit, here):
    folder(here, {"a": f"0 {SQUARE}\n"}, yaml=None)
    convert(segkit, "--strict")
    assert areas(here / "dataset") == {"class_0": [768]}
    assert ["no file names the categories" in why for _, why in whys(here / "dataset")] == [True]


@pytest.mark.parametrize("name", ["classes.txt", "labels/classes.txt", "obj.names", "data/obj.names"])
def test_names_in_lists(segkit, here, name):
    folder(here, {"a": f"0 {SQUARE}\n1 {SQUARE}\n"}, yaml=None)
    (here / "in" / name).parent.mkdir(exist_ok=True)
    (here / "in" / name).write_text("crack\nhole\n", encoding="utf-8-sig")
    convert(segkit, "--strict")
    assert areas(here / "dataset") == {"crack": [768], "hole": [768]}
    assert not whys(here / "dataset")


@pytest.mark.parametrize(
    "yaml",
    [
        "- a list\n",
        "names: [" * 5000,
        "a: &a [x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(12))
        + "names: *m\n",
        "names: {x: crack, 1: [hole]}\n",
        "nc: 2\n",
        "\x00",
        "names: 7\n",
    ],
)
def test_a_yaml_file_that_says_nothing_useful_is_noted(segkit, here, yaml):
    folder(here, {"a": f"0 {SQUARE}\n"}, yaml=yaml)
    convert(segkit)
    assert [*areas(here / "dataset").values()] == [[768]]
    if yaml != "names: 7\n":
        assert all(action == "noted" for action, _ in whys(here / "dataset"))
        assert whys(here / "dataset")


def test_a_name_of_five_thousand_letters_is_a_name(segkit, here):
    folder(here, {"a": f"0 {SQUARE}\n"}, yaml=f"names: [{'x' * 5000}]\n")
    convert(segkit)
    assert areas(here / "dataset") == {"x" * 5000: [768]}


@pytest.mark.parametrize(
    ("images", "texts", "suffix"),
    [
        ("images", "labels", ".txt"),
        ("images/train2017", "labels/train2017", ".txt"),
        ("train/images", "train/labels", ".txt"),
        ("dataset/train/images", "dataset/train/labels", ".txt"),
        ("Images", "Labels", ".TXT"),
        (".", ".", ".txt"),
        ("obj_train_data", "obj_train_data", ".txt"),
        ("pics", "pics/labels", ".txt"),
        ("images", "labels_yolo", ".txt"),
    ],
)
def test_layouts(segkit, here, images, texts, suffix):
    folder(here, {"a": f"0 {SQUARE}\n", "b": ""}, images=images, texts=texts, suffix=suffix)
    convert(segkit, "--strict", "--from", "auto" if suffix == ".txt" else "yolo")
    assert areas(here / "dataset") == {"crack": [768], "hole": []}
    assert len(json.loads((here / "dataset/train.json").read_text())["images"]) == 2


def test_what_has_no_partner_is_reported(segkit, here):
    folder(here, {"a": f"0 {SQUARE}\n", "b": f"0 {SQUARE}\n0 {SQUARE}\n", "c": ""})
    for stem in ("b", "c"):
        (here / f"in/images/{stem}.png").unlink()
    picture(here / "in/images/d.jpg")
    picture(here / "in/elsewhere/e.jpg")
    convert(segkit, "--strict", code=3)
    assert whys(here / "dataset") == {
        ("left out", "no picture for this label file"): 1,
        ("noted", "no picture for this empty label file"): 1,
        ("noted", "1 of 2 images have no label file: they are images without instances"): 1,
        ("noted", "1 image has no label file, and no folder for labels beside theirs: not read"): 1,
    }
    report = json.loads((here / "dataset/report.json").read_text())
    assert (report["shapes"], report["lost"], report["images"]) == (3, 2, 2)


def test_one_label_file_of_two_pictures(segkit, here):
    folder(here, {"a": f"0 {SQUARE}\n"})
    picture(here / "in/images/a.jpg")
    convert(segkit)
    assert areas(here / "dataset")["crack"] == [768, 768]
    assert whys(here / "dataset") == {("noted", "2 images have this label file: all of them get its instances"): 1}


TRIANGLE = "0.25 0.25 0.75 0.25 0.75 0.75"
NOT_PIXELS = "coordinates are shares of the picture, not pixels"
ODD = "an odd number of coordinates: the last is ignored"
LINES = [
    (f"0 {SQUARE}", None),
    (f"0.0 {SQUARE}  ", None),
    (f"0\t{SQUARE}".replace(" ", "\t"), None),
    (f"0,{SQUARE}".replace(" ", ","), None),
    (f"0, {SQUARE}".replace(" ", ", "), None),
    ("0 2.5e-1 2.5E-1 0.75 0.25 0.75 0.75 0.25 .75", None),
    (f"0 {SQUARE}".replace(".", ","), ("repaired", "decimal commas are read as points")),
    (f"0 {SQUARE}".replace("0.25 0.25", "-0.002 -0.002", 1), ("repaired", "coordinates slightly outside of 0 to 1")),
    (f"0 {SQUARE}".replace("0.75", "1.002"), ("repaired", "coordinates slightly outside of 0 to 1")),
    (f"0 {SQUARE} 0.5 0.5 0.5", ("repaired", ODD)),
    ("0 16 12 48 12 48 36 16 36", ("left out", NOT_PIXELS)),
    ("0 0 0 63 0 63 47 0 47", ("left out", NOT_PIXELS)),
    ("0 32 24 10 10", ("left out", NOT_PIXELS)),
    ("0 0.2 0.2 1.5 0.2 1.5 0.8 0.2 0.8", ("left out", "coordinates outside of the picture")),
    ("0 0.1 0.2", ("left out", "a line of fewer than 4 numbers")),
    ("0", ("left out", "a line of fewer than 4 numbers")),
    (f"-1 {SQUARE}", ("left out", "the category is not a whole number from 0")),
    (f"0.5 {SQUARE}", ("left out", "the category is not a whole number from 0")),
    (f"1e300 {SQUARE}", ("left out", "the category is not a whole number from 0")),
    (f"crack {SQUARE}", ("left out", "not a line of numbers")),
    (f"0 {SQUARE} nan nan", ("left out", "numbers that are not finite")),
    ("0 inf 0.5 0.5 0.5", ("left out", "numbers that are not finite")),
    ("0 0.1 0.1 0.2 0.2 0.3 0.3", ("left out", "covers no pixel")),
    (f"7 {SQUARE}", ("noted", "a category that is not among the names")),
    ("0 0.5 0.25 0.75 0.5 0.5 0.75 0.25 0.5", None),
    ("0 0.5 0.5 0.5 0.5 0.5 0.5 2 0.4 0.4 1 0.1 0.1 0", ("changed", "keypoints are left out: the box is kept")),
]


def test_every_line_is_an_instance_or_has_a_row(segkit, here):
    folder(here, {f"{n:02d}": f"0 {TRIANGLE}\r\n\r\n{line}\r\n" for n, (line, _) in enumerate(LINES)})
    convert(segkit, "--strict", code=3)
    report = json.loads((here / "dataset/report.json").read_text())
    rows = {row["file"]: (row["action"], row["why"]) for row in report["findings"]}
    for number, (line, expected) in enumerate(LINES):
        action, why = rows.pop(f"{number:02d}.png", (None, ""))
        assert (action, why[: len(expected[1])]) == expected if expected else action is None, line
    assert not rows
    lost = sum(row is not None and row[0] == "left out" for _, row in LINES)
    assert (report["shapes"], report["lost"]) == (2 * len(LINES), lost)


def test_scores_and_tracks_are_attributes(segkit, here):
    lines = ["0 0.5 0.5 0.5 0.5 0.9", "0 0.5 0.5 0.25 0.5 0.8 12"]
    folder(here, {"a": "\n".join(lines), "b": f"0 {SQUARE} 0.7\n1 {SQUARE} 0.6\n"})
    convert(segkit, "--strict")
    found = json.loads((here / "dataset/train.json").read_text())["annotations"]
    assert [annotation["attributes"] for annotation in found] == [
        {"score": 0.9}, {"score": 0.8, "track_id": 12}, {"score": 0.7}, {"score": 0.6},
    ]  # fmt: skip
    assert found[0]["bbox"] == [16, 12, 32, 24]


def test_poses_become_boxes(segkit, here):
    line = "0 0.5 0.5 0.5 0.5 " + " ".join(["0.5 0.5"] * 4)
    folder(here, {"a": f"{line}\n1 {SQUARE}\n"}, yaml=NAMES + "kpt_shape: [4, 2]\n")
    convert(segkit, "--strict", code=3)
    assert whys(here / "dataset") == {("changed", "keypoints are left out: the box is kept"): 1}
    found = json.loads((here / "dataset/train.json").read_text())["annotations"]
    assert [annotation["bbox"] for annotation in found] == [[16, 12, 32, 24]] * 2


def test_oriented_boxes_are_polygons_and_told(segkit, here):
    from math import cos, sin

    x, y = (16 * cos(0.5), 16 * sin(0.5)), (-6 * sin(0.5), 6 * cos(0.5))
    corners = [(32 + a * x[0] + b * y[0], 24 + a * x[1] + b * y[1]) for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    folder(here, {"a": "0 " + " ".join(f"{cx / 64:.6f} {cy / 48:.6f}" for cx, cy in corners)})
    convert(segkit)
    assert areas(here / "dataset")["crack"] == [pytest.approx(384, rel=0.03)]
    assert whys(here / "dataset") == {
        ("noted", "four points with right angles: an oriented box is read as a polygon"): 1
    }


def test_the_same_line_twice_is_noted(segkit, here):
    folder(here, {"a": f"0 {SQUARE}\n0 {SQUARE}\n"})
    convert(segkit)
    assert whys(here / "dataset") == {("noted", "duplicate: the same line twice"): 1}


@pytest.mark.parametrize("suffix", [".gif", ".jfif", ".webp", ".bmp", ".tif", ".JPG", ".PNG"])
def test_pictures_of_every_kind(segkit, here, suffix):
    folder(here, {"a": f"0 {SQUARE}\n"})
    (here / "in/images/a.png").unlink()
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(here / f"in/images/a{suffix}", {".jfif": "JPEG"}.get(suffix))
    convert(segkit, "--strict")
    assert areas(here / "dataset")["crack"] == [768]


@pytest.mark.parametrize("side", [24, 32, 48, 97, 640, 1333])
def test_coordinates_of_tenths_come_back_to_the_bit(segkit, tmp_path, side):
    tenths = [round(0.1 * n, 1) for n in range(1, 10 * side, max(1, side // 30))]
    points = [[x, y] for x, y in zip(tenths, reversed(tenths), strict=True)] + [[side - 1.0, side - 1.0]]
    write(tmp_path / "in/a.json", [{"label": "a", "points": points, "shape_type": "polygon"}], size=(side, side))
    assert segkit("convert", tmp_path / "in", "--to", "yolo", "--out", tmp_path / "y").code == 0
    assert segkit("convert", tmp_path / "y", "--to", "labelme", "--out", tmp_path / "back").code == 0
    found = json.loads(next((tmp_path / "back").rglob("a.json")).read_text())
    assert found["shapes"][0]["points"] == points
