"""The pictures of every format are looked at by the same rules as those of COCO."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from labelme_files import square, write
from PIL import Image
from test_picture_looks import coco, converted, picture

XML = (
    "<annotation><size><height>32</height><width>48</width></size><object><name>crack</name><bndbox>"
    "<xmin>5</xmin><ymin>5</ymin><xmax>20</xmax><ymax>20</ymax></bndbox></object></annotation>"
)


def ids(path: Path, size: tuple[int, int] = (32, 48)) -> None:
    mask = np.zeros(size, np.uint8)
    mask[4:20, 8:24] = 1
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)


def yolo(folder: Path, stem: str) -> Path:
    (folder / "labels").mkdir(parents=True, exist_ok=True)
    (folder / "labels" / f"{stem}.txt").write_text("0 0.1 0.1 0.5 0.1 0.5 0.5\n")
    return folder / "images" / f"{stem}.jpg"


def via(folder: Path, stem: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    outline = {"name": "rect", "x": 8, "y": 4, "width": 16, "height": 16}
    region = {"shape_attributes": outline, "region_attributes": {"name": "crack"}}
    document = {stem: {"filename": f"{stem}.jpg", "size": 1, "regions": [region]}}
    (folder / f"{stem}.json").write_text(json.dumps(document))
    return folder / f"{stem}.jpg"


def voc(folder: Path, stem: str) -> Path:
    ids(folder / "SegmentationClass" / f"{stem}.png")
    ids(folder / "SegmentationObject" / f"{stem}.png")
    return folder / "JPEGImages" / f"{stem}.jpg"


def voc_boxes(folder: Path, stem: str) -> Path:
    (folder / "Annotations").mkdir(parents=True, exist_ok=True)
    (folder / "Annotations" / f"{stem}.xml").write_text(XML)
    return folder / "JPEGImages" / f"{stem}.jpg"


def semantic(folder: Path, stem: str) -> Path:
    ids(folder / "masks" / f"{stem}.png")
    (folder / "classes.txt").write_text("0 road\n1 crack\n")
    return folder / "images" / f"{stem}.jpg"


def labelme(folder: Path, stem: str) -> Path:
    write(folder / f"{stem}.json", [square(8, 4, 16)], size=(32, 48), picture=False, imagePath=f"{stem}.jpg")
    return folder / f"{stem}.jpg"


Write = Callable[[Path, str], Path]
FORMATS = [yolo, via, voc, voc_boxes, semantic, labelme]


@pytest.mark.parametrize("annotate", FORMATS)
def test_a_broken_picture_is_left_out_of_every_format(segkit, here, annotate):
    picture(annotate(here / "in", "a"))
    for stem, cut in (("b", -100), ("c", 0)):
        broken = picture(annotate(here / "in", stem))
        broken.write_bytes(broken.read_bytes()[:cut])
    dataset, report = converted(segkit, here / "in")
    assert len(dataset["images"]) == 1
    assert [row["action"] for row in report["findings"] if row["action"] == "left out"] == ["left out"] * 2


@pytest.mark.parametrize("annotate", [voc, voc_boxes, semantic, labelme])
def test_a_picture_that_was_rotated_is_left_out_of_every_format_that_says_sizes(segkit, here, annotate):
    picture(annotate(here / "in", "a"))
    picture(annotate(here / "in", "b"), (60, 24))
    dataset, _ = converted(segkit, here / "in")
    assert {(image["height"], image["width"]) for image in dataset["images"]} <= {(32, 48)}


@pytest.mark.parametrize("annotate", [voc, voc_boxes, semantic])
def test_annotations_of_every_format_are_scaled_with_their_picture(segkit, here, annotate):
    picture(annotate(here / "in", "a"), (64, 96))
    dataset, report = converted(segkit, here / "in")
    assert (dataset["images"][0]["height"], dataset["images"][0]["width"]) == (64, 96)
    x, y, width, height = dataset["annotations"][-1]["bbox"]
    assert (x + width <= 48 and y + height <= 48) or (x, y) == (0, 0)
    assert width > 16
    assert "changed" in [row["action"] for row in report["findings"]]


@pytest.mark.parametrize("annotate", FORMATS)
def test_pictures_of_every_format_are_written_upright(segkit, here, annotate):
    picture(annotate(here / "in", "a"), (48, 32), orientation=8)
    converted(segkit, here / "in")
    [written] = (here / "out" / "images").rglob("*.jpg")
    with Image.open(written) as upright:
        assert upright.size == (48, 32)
        assert upright.getexif().get(274) is None


def test_exchanged_sides_in_a_labelme_file_do_not_distort_the_picture(segkit, here):
    path = labelme(here / "in", "a")
    picture(path, (48, 32))
    dataset, report = converted(segkit, here / "in")
    assert (dataset["images"][0]["height"], dataset["images"][0]["width"]) == (48, 32)
    assert [row["action"] for row in report["findings"]] == ["repaired"]


def test_frames_after_the_first_are_mentioned(segkit, here):
    path = labelme(here / "in", "a").with_suffix(".gif")
    frames = [Image.fromarray(np.full((32, 48), value, np.uint8)) for value in (0, 99, 200)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    _, report = converted(segkit, here / "in")
    assert any("3 frames: the first is used" in row["why"] for row in report["findings"])


@pytest.mark.parametrize("kind", ["auto", "semantic", "idmask", "yolo", "voc", "via", "labelme", "coco"])
def test_pictures_of_every_format_may_be_in_another_folder(segkit, here, kind):
    writers = {"auto": semantic, "semantic": semantic, "idmask": semantic, "yolo": yolo, "voc": voc, "via": via}
    if kind == "coco":
        coco(here / "in" / "a.json", ["a.jpg"])
    else:
        writers.get(kind, labelme)(here / "in", "a")
    picture(here / "photos" / "a.jpg")
    dataset, _ = converted(segkit, here / "in", "--from", kind, "--images-dir", here / "photos")
    assert [image["file_name"].rpartition("/")[2] for image in dataset["images"]] == ["a.jpg"]
    assert dataset["annotations"]


def test_names_of_voc_match_in_any_unicode_form(segkit, here):
    voc(here / "in", "ri\u00df-\u00e9")
    picture(here / "in" / "JPEGImages" / "ri\u00df-e\u0301.jpg")
    dataset, _ = converted(segkit, here / "in")
    assert len(dataset["images"]) == 1
