"""Rows of the tables in docs/formats.md that no other file tests."""

import json
import struct
import zlib
from pathlib import Path

import coco_files as coco
import numpy as np
import pytest
from coco_files import HEIGHT, WIDTH, annotation, document, draw, image, rows
from labelme_files import png, shape, square
from labelme_files import write as write_labelme
from mask_folders import picture
from PIL import Image

RING = np.ones((30, 30))
RING[10:20, 10:20] = 0
# An image for each column of the table "What a format cannot store".
COLUMNS = {
    "attributes": [square(10, 10, 20, flags={"occluded": True}, score=0.5), square(50, 10, 20, difficult=True)],
    "crowd": [square(10, 10, 20, flags={"iscrowd": True}), square(50, 10, 20)],
    "hole": [shape("box", [[60, 60], [89, 89]], "mask", mask=png(RING))],
    "ignore": [square(10, 10, 20), square(50, 10, 20, "__ignore__")],
    "overlap": [square(10, 10, 20, "box"), square(20, 10, 20, "pad")],
    "parts": [square(10, 10, 20, group_id=1), square(50, 10, 20, group_id=1)],
}
TINY = (
    "--model",
    "unet",
    "--weights",
    "none",
    "--size",
    32,
    "--steps",
    1,
    "--batch",
    2,
    "--device",
    "cpu",
    "--workers",
    0,
)
NO_ATTRIBUTES = ("attributes", "changed", "the format has no place for flags and attributes")
NO_CROWDS = ("crowd", "changed", "the format has no crowds: written as an instance")
HIDDEN = ("overlap", "changed", "partly hidden under later instances: a pixel has one number")
IGNORED = ("ignore", "left out", "a region to ignore, which the format cannot hold")
OUTLINED = ("hole", "changed", "RLE written as the outline of its pixels")
FILLED = ("hole", "changed", "YOLO has no holes: they are filled")
JOINED = ("parts", "changed", "YOLO has one polygon per instance: parts are joined by lines")
YOLO_CROWDS = ("crowd", "changed", "YOLO has no crowds: written as an instance")
ONE_REGION = [
    (name, "changed", "instances of one class in an image are one region") for name in ("attributes", "crowd")
]
# Of each format: its rows; and the areas that come back, and crowds, where they are not those of the source.
TARGETS = {
    "labelme": ([], {}, 1),
    "coco": ([IGNORED], {}, 1),
    "yolo": ([NO_ATTRIBUTES, YOLO_CROWDS, OUTLINED, FILLED, IGNORED, JOINED], {"hole": [900]}, 0),
    "voc": ([NO_ATTRIBUTES, NO_CROWDS, HIDDEN], {"overlap": [200, 400]}, 0),
    "idmask": ([NO_ATTRIBUTES, NO_CROWDS, IGNORED, HIDDEN], {"overlap": [200, 400]}, 0),
    "semantic": (
        [NO_ATTRIBUTES, NO_CROWDS, *ONE_REGION, HIDDEN],
        {"overlap": [200, 400], "attributes": [800], "crowd": [800]},
        0,
    ),
    "panoptic": ([NO_ATTRIBUTES, HIDDEN], {"overlap": [200, 400]}, 1),
}


def loaded(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def found(segkit, *arguments):
    """Action, reason and number of shapes of each finding of a conversion to ``out``."""
    outcome = segkit("convert", *arguments, "--out", "out", "--force")
    assert outcome.code == 0, outcome.err
    return [(row["action"], row["why"], row["shapes"]) for row in rows(Path("out"))]


def written(*arguments, **more):
    """A COCO file in the folder ``in``, with its pictures."""
    draw(Path("in"))
    top = document(*arguments, **more)
    named = {each.get("file_name") for each in top["images"] if isinstance(each, dict)}
    for path in Path("in").glob("p?.png"):
        if path.name not in named:
            path.unlink()
    return coco.write(Path("in/t.json"), top)


@pytest.mark.parametrize("target", TARGETS)
def test_what_a_format_cannot_store_has_a_row(segkit, here, target):
    expected, areas, crowds = TARGETS[target]
    for name, shapes in COLUMNS.items():
        write_labelme(here / f"in/{name}.json", shapes)
    assert segkit("convert", "in", "--val", 0, "--to", target).code == 0
    said = [(Path(row["file"]).stem, row["action"], row["why"].partition(";")[0]) for row in rows(here / "dataset")]
    assert sorted(said) == sorted(expected)
    assert segkit("convert", "dataset", "--from", target, "--val", 0, "--out", "back").code == 0
    top = loaded("back/train.json")
    plain = {"attributes": [400] * 2, "crowd": [400] * 2, "hole": [800], "ignore": [400], "overlap": [400] * 2}
    assert {
        Path(each["file_name"]).stem: [a["area"] for a in top["annotations"] if a["image_id"] == each["id"]]
        for each in top["images"]
    } == plain | {"parts": [800]} | areas
    assert sum(each["iscrowd"] for each in top["annotations"]) == crowds


def test_regions_to_ignore_are_kept_where_the_format_can(segkit, here):
    shapes = [square(10, 10, 20), square(50, 10, 20, "__ignore__")]
    write_labelme(here / "in/a.json", shapes, size=(40, 80))
    for target, mask, value in (
        ("voc", "SegmentationObject/a.png", 255),
        ("semantic", "trainannot/a.png", 255),
        ("panoptic", "panoptic_train/a.png", 0),
    ):
        assert segkit("convert", "in", "--val", 0, "--to", target, "--out", target, "--strict").code == 0
        ids = np.asarray(Image.open(here / target / mask)).reshape(40, 80, -1).max(axis=-1)
        assert (ids[10:30, 50:70] == value).all()
        assert (ids[10:30, 10:30] != value).all()
    assert segkit("convert", "in", "--val", 0, "--to", "labelme", "--out", "lm", "--strict").code == 0
    assert [each["label"] for each in loaded("lm/a.json")["shapes"]] == ["box", "__ignore__"]


def test_voc_stores_254_instances_of_an_image(segkit, here):
    shapes = [square(5 * (n % 40), 5 * (n // 40), 4) for n in range(256)]
    write_labelme(here / "in/a.json", shapes)
    assert found(segkit, "in", "--to", "voc") == [("left out", "more than 254 instances in one image", 1)] * 2


@pytest.mark.parametrize("target", ["voc", "semantic"])
def test_label_images_store_254_categories(segkit, here, target):
    for count, code in ((254, 0), (255, 1)):
        write_labelme(here / f"{count}/a.json", [square(4 * (n % 40), 4 * (n // 40), 3, f"c{n}") for n in range(count)])
        outcome = segkit("convert", str(count), "--to", target, "--out", f"{count}_{target}")
        assert outcome.code == code, outcome.err
    assert "255 categories are too many" in outcome.err


def test_attributes_that_are_lost_have_one_row_for_each_image(segkit, here):
    for name in "ab":
        write_labelme(here / f"in/{name}.json", [square(10 * n, 10, 8, flags={"occluded": True}) for n in range(4)])
    why = "the format has no place for flags and attributes"
    assert found(segkit, "in", "--to", "idmask", "--val", 0) == [("changed", why, 0)] * 2


def test_a_picture_of_the_same_ratio_to_a_pixel_has_its_annotations_scaled(segkit, here):
    written([annotation(1)], 1)
    picture(here / "in/p1.png", (2 * HEIGHT + 1, 2 * WIDTH))
    ((action, why, shapes),) = found(segkit, "in", "--val", 0)
    assert (action, shapes) == ("changed", 0)
    assert why.endswith("annotations scaled")
    picture(here / "in/p1.png", (2 * HEIGHT + 9, 2 * WIDTH))
    assert segkit("convert", "in", "--val", 0, "--force", "--out", "out").code == 1


def test_a_size_that_is_over_eight_times_too_large_is_repaired_where_the_annotations_lie_in_the_picture(segkit, here):
    beyond = {"segmentation": [[5, 5, 250, 5, 250, 250, 5, 250]], "bbox": [5, 5, 245, 245]}
    images = [image(n, height=9 * HEIGHT, width=9 * WIDTH) for n in (1, 2)]
    written([annotation(1), annotation(2, 2, **beyond)], images)
    assert [(action, shapes) for action, _, shapes in found(segkit, "in", "--val", 0)] == [
        ("repaired", 0), ("changed", 0),
    ]  # fmt: skip
    assert [each["area"] for each in loaded("out/train.json")["annotations"]] == [400, 27 * 27]
    trained = segkit("train", "in/t.json", *TINY)
    assert trained.code == 0
    assert "annotations are scaled with them" in trained.err


def test_a_picture_of_a_labelme_file_is_scaled_to_the_points_in_any_ratio(segkit, here):
    for name, side in (("a", 20), ("b", 60)):
        write_labelme(here / f"in/{name}.json", [square(5, 5, side)], size=(100, 80))
        picture(here / f"in/{name}.png", (70, 40))
    write_labelme(here / "in/c.json", [square(5, 5, 50)], size=(70, 80), imageHeight=40, imageWidth=30)
    write_labelme(here / "in/d.json", [square(5, 5, 50)], size=(70, 40), imageHeight=40, imageWidth=70)
    assert [action for action, _, _ in found(segkit, "in", "--val", 0)] == [
        "changed", "changed", "repaired", "left out",
    ]  # fmt: skip
    sizes = [(each["height"], each["width"]) for each in loaded("out/train.json")["images"]]
    assert sizes == [(100, 80), (100, 80), (70, 80)]


def test_exchanged_sides_are_repaired_only_where_the_annotations_lie_in_the_picture(segkit, here):
    beyond = [[5, 5, 25, 5, 25, 60, 5, 60]]
    images = [image(n, height=WIDTH, width=HEIGHT) for n in (1, 2)]
    written([annotation(1), annotation(2, 2, segmentation=beyond, bbox=[5, 5, 20, 55])], images)
    assert [(action, shapes) for action, _, shapes in found(segkit, "in", "--val", 0)] == [
        ("repaired", 0), ("left out", 1),
    ]  # fmt: skip


def test_pages_after_the_first_are_noted(segkit, here):
    write_labelme(here / "in/a.json", [square(10, 10, 20)], picture=False, imagePath="a.tif")
    pages = [Image.fromarray(np.full((120, 200), value, np.uint8)) for value in (0, 99)]
    pages[0].save(here / "in/a.tif", save_all=True, append_images=pages[1:])
    ((action, why, _),) = found(segkit, "in", "--val", 0)
    assert action == "noted"
    assert "the first is used" in why


def test_a_path_out_of_the_source_to_a_picture_is_noted(segkit, here):
    picture(here / "private.png", (HEIGHT, WIDTH))
    written([annotation(1), annotation(2, 2)], [image(1, file_name="../private.png"), image(2)])
    ((action, why, _),) = found(segkit, "in", "--val", 0)
    assert action == "noted"
    assert "outside of the source folder" in why


def write_declared_png(path, side, orientation):
    """A grey PNG whose header says a size, and that has few pixels."""
    tags = Image.Exif()
    tags[274] = orientation
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    content = {b"IHDR": header, b"eXIf": tags.tobytes()[6:], b"IDAT": zlib.compress(bytes(1000)), b"IEND": b""}
    chunks = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in content.items()
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


@pytest.mark.parametrize("side", [14_000, 33_000])
@pytest.mark.parametrize("orientation", [1, 6])
def test_an_image_of_too_many_pixels_is_linked_and_left_out_where_it_is_decoded(segkit, here, side, orientation):
    coco.draw(here / "in", 1)
    write_declared_png(here / "in/p2.png", side, orientation)
    coco.write(
        here / "in/t.json", document([annotation(1), annotation(2, 2)], [image(1), image(2, height=side, width=side)])
    )
    said = found(segkit, "in", "--val", 0)
    if orientation == 1:
        assert said == []
        assert (here / "out/images/p2.png").read_bytes() == (here / "in/p2.png").read_bytes()
    else:
        ((action, why, shapes),) = said
        assert (action, shapes) == ("left out", 1)
        assert f"{side}x{side} pixels" in why


def test_an_id_that_two_categories_have_is_left_out_with_its_annotations(segkit, here):
    listed = [{"id": 1, "name": "nut"}, {"id": 1, "name": "bolt"}, {"id": 2, "name": "pin"}]
    written([annotation(1), annotation(2, 2, 2)], categories=listed)
    why = "category id 1 is that of 2: 'nut', 'bolt'"
    assert found(segkit, "in", "--val", 0) == [("left out", why, 0), ("left out", why, 1)]


def test_coco_files_of_other_kinds_are_left_out_by_name(segkit, here):
    written([annotation(1)], 1)
    coco.write(here / "in/captions.json", document([{"id": 1, "image_id": 1, "caption": "a nut"}], 1))
    coco.write(here / "in/info.json", {"images": [image(1)], "categories": []})
    coco.write(here / "in/results.json", [annotation(1, score=0.9)])
    assert segkit("convert", "in", "--val", 0).code == 0
    assert {row["file"]: row["action"] for row in rows(here / "dataset")} == {
        "captions.json": "left out", "info.json": "left out", "results.json": "left out",
    }  # fmt: skip


def test_a_box_without_a_segmentation_that_covers_nothing_is_left_out(segkit, here):
    written([annotation(1), coco.box(2, 2, (WIDTH, HEIGHT, 5, 5)), coco.box(3, 3, (5, 5, 0, 0))])
    assert found(segkit, "in", "--val", 0) == [("left out", "a box that covers nothing of the image", 1)] * 2


def test_pixels_without_a_segment_are_background_where_no_category_is_stuff(segkit, here):
    draw(here / "in/images", 1)
    ids = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    ids[10:20, 10:20, 0] = 7
    (here / "in/panoptic_train").mkdir()
    Image.fromarray(ids).save(here / "in/panoptic_train/p1.png")
    segment = {"id": 7, "category_id": 1, "area": 100, "bbox": [10, 10, 10, 10], "iscrowd": 0}
    record = {"image_id": 1, "file_name": "p1.png", "segments_info": [segment]}
    categories = [{"id": 1, "name": "nut", "isthing": 1}]
    coco.write(here / "in/panoptic_train.json", document([record], 1, categories))
    assert found(segkit, "in", "--val", 0, "--to", "semantic") == []
    classes = np.asarray(Image.open(here / "out/trainannot/p1.png"))
    assert (classes == (ids[..., 0] > 0)).all()


@pytest.mark.parametrize(
    "wrong",
    [*({"bbox": [5, 5, odd, 20]} for odd in ("text", -5, 2e6, float("nan"))), {"area": "text"}, {"area": float("nan")}],
)
def test_a_wrong_box_or_area_is_computed_from_the_segmentation(segkit, here, wrong):
    written([annotation(1, **wrong)], 1)
    assert [(action, shapes) for action, _, shapes in found(segkit, "in", "--val", 0)] == [("repaired", 0)]
    (kept,) = loaded("out/train.json")["annotations"]
    assert (kept["bbox"], kept["area"]) == ([5, 5, 20, 20], 400)


@pytest.mark.parametrize("odd", [5, "polygon", True])
def test_a_segmentation_that_is_neither_polygons_nor_rle_cannot_be_kept(segkit, here, odd):
    data = written([annotation(1, segmentation=odd), annotation(2, 2)])
    ((action, why, shapes),) = found(segkit, data, "--val", 0)
    assert (action, shapes) == ("left out", 1)
    assert "neither polygons nor RLE" in why
    coco.write(here / "r.json", [annotation(1, score=0.9)])
    for refused in (segkit("train", data, *TINY), segkit("eval", "r.json", "--data", data, "--iou", "segm")):
        assert refused.code == 1
        assert f"annotation 1: {why}" in refused.err
