"""Pictures of annotation files are found one by one, looked at, and compared with the size that the file says."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segkit.data.pictures import read_header

POLYGON = [8.0, 4.0, 24.0, 4.0, 24.0, 20.0, 8.0, 20.0]


def coco(path: Path, names: list[str], size: tuple[int, int] | None = (32, 48), **more: Any) -> Path:
    """A COCO file with one polygon in each image of ``size`` (height, width)."""
    sides = {} if size is None else {"height": size[0], "width": size[1]}
    images = [{"id": n, "file_name": name} | sides | more for n, name in enumerate(names)]
    annotations = [
        {"id": n, "image_id": n, "category_id": 1, "segmentation": [POLYGON], "bbox": [8, 4, 16, 16], "area": 256}
        for n in range(len(names))
    ]
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "crack"}]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def picture(path: Path, size: tuple[int, int] = (32, 48), orientation: int = 1) -> Path:
    """A noisy picture of ``size`` (height, width), as it is stored."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    tags = Image.Exif()
    tags[274] = orientation
    Image.fromarray(pixels).save(path, **({"exif": tags.tobytes()} if orientation != 1 else {}))
    return path


def converted(segkit: Any, source: Path, *more: object) -> tuple[dict[str, Any], dict[str, Any]]:
    """The train split of a conversion, and its report."""
    assert segkit("convert", source, "--out", "out", "--val", 0, *more).code == 0
    return json.loads(Path("out/train.json").read_text()), json.loads(Path("out/report.json").read_text())


@pytest.mark.parametrize("orientation", [2, 3, 4, 5, 6, 7, 8])
def test_a_picture_with_an_orientation_tag_is_written_upright(segkit, here, orientation):
    coco(here / "in" / "a.json", ["a.jpg"], (48, 32) if orientation > 4 else (32, 48))
    picture(here / "in" / "a.jpg", orientation=orientation)
    dataset, report = converted(segkit, here / "in")
    with Image.open(here / "out" / "images" / "a.jpg") as written:
        assert written.size == (dataset["images"][0]["width"], dataset["images"][0]["height"])
        assert written.getexif().get(274) is None
    assert report["findings"] == []


def test_annotations_in_the_frame_of_the_stored_pixels_keep_it(segkit, here):
    coco(here / "in" / "a.json", ["a.jpg"], (32, 48))
    picture(here / "in" / "a.jpg", orientation=6)
    dataset, _ = converted(segkit, here / "in")
    assert (dataset["images"][0]["height"], dataset["images"][0]["width"]) == (32, 48)
    with Image.open(here / "out" / "images" / "a.jpg") as written:
        assert written.size == (48, 32)
        assert written.getexif().get(274) is None


def test_annotations_are_scaled_where_the_picture_has_been(segkit, here):
    coco(here / "in" / "a.json", ["a.png"], (32, 48))
    picture(here / "in" / "a.png", (64, 96))
    dataset, report = converted(segkit, here / "in")
    assert dataset["annotations"][0]["segmentation"] == [[2 * value for value in POLYGON]]
    assert dataset["annotations"][0]["area"] == 4 * 256
    assert [row["action"] for row in report["findings"]] == ["changed"]


def test_a_run_length_mask_is_scaled_where_the_picture_has_been(segkit, here):
    path = coco(here / "in" / "a.json", ["a.png"], (32, 48))
    document = json.loads(path.read_text())
    document["annotations"][0]["segmentation"] = {"size": [32, 48], "counts": [8 * 32 + 4, 16, 40 * 32 - 20]}
    path.write_text(json.dumps(document))
    picture(here / "in" / "a.png", (16, 24))
    dataset, _ = converted(segkit, here / "in")
    assert dataset["annotations"][0]["bbox"][1] == 2
    assert dataset["annotations"][0]["segmentation"]["size"] == [16, 24]


def test_height_and_width_that_were_exchanged_are_repaired(segkit, here):
    coco(here / "in" / "a.json", ["a.png"], (48, 32))
    picture(here / "in" / "a.png", (32, 48))
    dataset, report = converted(segkit, here / "in")
    assert dataset["images"][0]["width"] == 48
    assert dataset["annotations"][0]["segmentation"] == [POLYGON]
    assert [row["action"] for row in report["findings"]] == ["repaired"]


def test_a_picture_of_another_shape_is_left_out_and_the_others_stay(segkit, here):
    coco(here / "in" / "a.json", ["a.png", "b.png"])
    picture(here / "in" / "a.png", (32, 40))
    picture(here / "in" / "b.png")
    dataset, report = converted(segkit, here / "in")
    assert [image["file_name"] for image in dataset["images"]] == ["b.png"]
    assert [(row["file"], row["action"], row["shapes"]) for row in report["findings"]] == [("a.png", "left out", 1)]


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("a.jpg", b"", "empty"),
        ("a.jpg", b"<!DOCTYPE html><html>404</html>", "HTML"),
        ("a.jpg", None, "cut off"),
        ("a.png", None, "cut off"),
        ("a.tif", None, "cut off"),
        ("a.bmp", None, "cut off"),
        ("a.webp", None, "cut off"),
        ("a.gif", None, "cut off"),
    ],
)
def test_a_broken_picture_is_left_out_with_the_reason(segkit, here, name, data, why):
    coco(here / "in" / "a.json", [name, "b.png"])
    broken = picture(here / "in" / name)
    broken.write_bytes(broken.read_bytes()[:-200] if data is None else data)
    picture(here / "in" / "b.png")
    dataset, report = converted(segkit, here / "in")
    assert [image["file_name"] for image in dataset["images"]] == ["b.png"]
    [row] = report["findings"]
    assert (row["file"], row["action"], row["shapes"]) == (name, "left out", 1)
    assert why in row["why"] or "decoded" in row["why"]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".bmp", ".webp", ".gif", ".ppm", ".jp2", ".jfif", ".JPG"])
def test_a_whole_picture_of_every_format_is_kept_without_a_row(segkit, here, suffix):
    coco(here / "in" / "a.json", [f"a{suffix}"])
    picture(here / "in" / f"a{suffix}")
    _, report = converted(segkit, here / "in")
    assert report["findings"] == []


def test_without_pictures_a_broken_one_is_only_mentioned(segkit, here):
    coco(here / "in" / "a.json", ["a.png"])
    (here / "in" / "a.png").write_bytes(b"")
    dataset, report = converted(segkit, here / "in", "--images", "none")
    assert len(dataset["annotations"]) == 1
    assert [row["action"] for row in report["findings"]] == ["noted"]


def test_sizes_that_the_file_does_not_have_are_read_from_the_pictures(segkit, here):
    coco(here / "in" / "a.json", ["a.png"], None)
    picture(here / "in" / "a.png")
    dataset, _ = converted(segkit, here / "in")
    assert (dataset["images"][0]["height"], dataset["images"][0]["width"]) == (32, 48)


@pytest.mark.parametrize(
    ("annotations", "name", "place"),
    [
        ("in/a.json", "a.png", "in/a.png"),
        ("in/a.json", "a.png", "in/images/a.png"),
        ("in/a.json", "a.png", "in/a/a.png"),
        ("in/annotations/instances_train2017.json", "a.png", "in/train2017/a.png"),
        ("in/annotations/instances_default.json", "a.png", "in/images/default/a.png"),
        ("in/annotations/instances_Train.json", "a.png", "in/images/Train/a.png"),
        ("in/a.json", "C:\\data\\set\\a.png", "in/set/a.png"),
        ("in/a.json", "/home/nobody/set/a.png", "in/images/a.png"),
        ("in/a.json", "a.JPG", "in/a.jpg"),
        ("in/a.json", "a.jpg", "in/images/A.JPG"),
        ("in/a.json", "ri\u00df-\u00e9.png", "in/ri\u00df-e\u0301.png"),
        ("in/a.json", "ri\u00df-e\u0301.png", "in/images/ri\u00df-\u00e9.png"),
        ("in/a.json", "000001", "in/images/000001.png"),
        ("in/a.json", "images/my%20pic%20%C3%A9.png", "in/images/my pic \u00e9.png"),
        ("in/a.json", "100%25%20a.png", "in/100% a.png"),
        ("in/a.json", "https://host/d/a%20b.png?token=%2F", "in/images/a b.png"),
        ("in/a.json", "/data/local-files/?d=set/a%20b.png", "in/images/a b.png"),
        ("in/a.json", "50%.png", "in/50%.png"),
    ],
)
def test_a_picture_is_found_where_others_put_it(segkit, here, annotations, name, place):
    coco(here / annotations, [name])
    picture(here / place)
    dataset, report = converted(segkit, here / "in")
    assert len(dataset["images"]) == 1
    assert report["findings"] == []


def test_a_picture_that_another_record_names_is_not_taken_for_one_of_a_url(segkit, here):
    coco(here / "in" / "a.json", ["a%20b.png", "a b.png", "c%20d.png"])
    picture(here / "in" / "a b.png")
    picture(here / "in" / "c%20d.png")
    picture(here / "in" / "c d.png")
    dataset, report = converted(segkit, here / "in")
    assert [image["file_name"] for image in dataset["images"]] == ["a b.png", "c%20d.png"]
    assert [row["why"] for row in report["findings"] if row["action"] == "left out"] == ["image not found"]


def test_pictures_are_looked_for_one_by_one(segkit, here):
    coco(here / "in" / "a.json", ["a.png", "b.png", "c.png", "d.png"])
    picture(here / "in" / "images" / "b.png")
    picture(here / "in" / "c.png")
    picture(here / "elsewhere" / "d.png")
    dataset, report = converted(segkit, here / "in", "--images-dir", here / "elsewhere")
    assert [image["file_name"] for image in dataset["images"]] == ["b.png", "c.png", "d.png"]
    assert [(row["file"], row["why"]) for row in report["findings"]] == [("a.png", "image not found")]


def test_the_name_of_a_picture_may_be_the_end_of_its_url(segkit, here):
    path = coco(here / "in" / "a.json", ["x"], coco_url="http://images.example.org/val2017/0001.png")
    document = json.loads(path.read_text())
    del document["images"][0]["file_name"]
    path.write_text(json.dumps(document))
    picture(here / "in" / "val2017" / "0001.png")
    dataset, _ = converted(segkit, here / "in")
    assert [image["file_name"] for image in dataset["images"]] == ["0001.png"]


def test_a_file_that_is_no_picture_is_not_copied_from_elsewhere(segkit, here):
    (here / "secret.txt").write_text("a password")
    picture(here / "private.png")
    coco(here / "in" / "a.json", [str(here / "secret.txt"), "../secret.txt", "../private.png", "b.png"])
    picture(here / "in" / "b.png")
    _, report = converted(segkit, here / "in", "--images", "copy")
    assert not any(b"a password" in path.read_bytes() for path in (here / "out" / "images").rglob("*.*"))
    rows = [row["action"] for row in report["findings"]]
    assert rows.count("left out") == 2
    assert any("outside of the source folder" in row["why"] for row in report["findings"])


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".gif", ".webp", ".tif"])
@pytest.mark.parametrize("more", [{}, {"progressive": True}, {"icc_profile": b"x" * 300}, {"comment": b"y" * 3000}])
@pytest.mark.parametrize("orientation", [1, 6])
def test_headers_are_those_that_pillow_reads(tmp_path, suffix, more, orientation):
    path, tags = tmp_path / f"a{suffix}", Image.Exif()
    tags[274] = orientation
    exif = {"exif": tags.tobytes()} if orientation != 1 and suffix != ".gif" else {}
    Image.new("RGB", (300, 21), "red").save(path, **more, **exif)
    assert read_header(path) == read_header(path.read_bytes())
