"""COCO's panoptic segmentation: segments become instances, and instances segments."""

import json

import numpy as np
import pytest
from coco_files import HEIGHT, WIDTH, draw, image, rows, write
from PIL import Image

from segkit.data.masks import rle_to_mask, to_rle

CATEGORIES = [
    {"id": 1, "name": "nut", "supercategory": "", "isthing": 1},
    {"id": 7, "name": "sky", "supercategory": "", "isthing": 0},
]
NUT, FAR_NUT, SKY = 5, 300, 70_000  # ids that need one, two and three channels


def png(path, ids):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.stack([ids >> shift & 255 for shift in (0, 8, 16)], axis=-1).astype(np.uint8)).save(path)


def segment(number, category=1, **more):
    return {"id": number, "category_id": category, "area": 1, "bbox": [0, 0, 1, 1], "iscrowd": 0} | more


@pytest.fixture
def ids():
    ids = np.zeros((HEIGHT, WIDTH), np.int64)
    ids[:10], ids[20:30, 5:15], ids[20:30, 30:50] = SKY, NUT, FAR_NUT
    return ids


def written(folder, ids, segments=None, name="panoptic_train2017", **more):
    segments = segments or [segment(NUT), segment(FAR_NUT, iscrowd=1), segment(SKY, 7)]
    draw(folder / "images", 1)
    png(folder / "annotations" / name / "p1.png", ids)
    record = {"image_id": 1, "file_name": "p1.png", "segments_info": segments}
    top = {"images": [image(1)], "annotations": [record], "categories": CATEGORIES} | more
    return write(folder / f"annotations/{name}.json", top)


def regions(dataset):
    top = json.loads((dataset / "train.json").read_text())
    names = {category["id"]: category["name"] for category in top["categories"]}
    return [
        (names[a["category_id"]], a["iscrowd"], rle_to_mask(to_rle(a["segmentation"], HEIGHT, WIDTH)).astype(bool))
        for a in top["annotations"]
    ]


def test_segments_become_instances(segkit, here, ids):
    written(here / "in", ids)
    assert segkit("convert", "in", "--val", 0).code == 0
    found = regions(here / "dataset")
    assert [(name, crowd) for name, crowd, _ in found] == [("nut", 0), ("nut", 1), ("sky", 0)]
    for (_, _, mask), number in zip(found, (NUT, FAR_NUT, SKY), strict=True):
        assert (mask == (ids == number)).all()
    (row,) = rows(here / "dataset")
    with Image.open(here / "dataset/images/p1.png") as written_picture, Image.open(here / "in/images/p1.png") as own:
        assert written_picture.tobytes() == own.tobytes()  # not the PNG of segments, which is called the same
    assert (row["action"], row["why"]) == (
        "changed", "1 category is stuff, which the format cannot say: regions are instances",
    )  # fmt: skip
    assert json.loads((here / "dataset/report.json").read_text())["format"] == "panoptic"


def test_pixels_without_a_segment_are_unlabelled_where_there_is_stuff(segkit, here, ids):
    written(here / "in", ids)
    assert segkit("convert", "in", "--val", 0, "--to", "semantic").code == 0
    classes = np.asarray(Image.open(here / "dataset/trainannot/p1.png"))
    assert set(np.unique(classes[ids == 0])) == {255}
    assert len(set(np.unique(classes[ids != 0]))) == 2


def test_every_segment_that_cannot_be_read_has_a_row(segkit, here, ids):
    ids[40:] = 999
    odd = [segment(NUT), segment(NUT), segment(8), segment(FAR_NUT, 9), segment("x"), {"id": SKY}, 5]
    written(here / "in", ids, odd)
    assert segkit("convert", "in", "--val", 0).code == 0
    why = [row["why"] for row in rows(here / "dataset") if row["action"] == "left out"]
    assert why == [
        "segment 5 is there twice",
        "segment 8 has no pixel in p1.png",
        "category_id is 9, which is not in the file",
        "id is 'x', not a number from 1 to 16777215",
        "key 'category_id' is missing",
        "it is 5, not a record",
    ]
    assert "3 ids in p1.png are of no segment: their pixels belong to nothing" in {
        row["why"] for row in rows(here / "dataset")
    }


def test_a_missing_png_or_image_has_a_row_with_its_segments(segkit, here, ids):
    data = written(here / "in", ids)
    top = json.loads(data.read_text())
    top["images"] += [image(2), image(3), image(4)]
    segments = [segment(1), segment(2)]
    top["annotations"] += [
        {"image_id": 2, "file_name": "p2.png", "segments_info": segments},
        {"image_id": 9, "file_name": "p1.png", "segments_info": segments},
        {"image_id": 3, "file_name": "p1.png", "segments_info": segments},
    ]
    write(data, top)
    draw(here / "in/images", 2)
    assert segkit("convert", "in", "--val", 0).code == 0
    assert {(row["why"], row["shapes"]) for row in rows(here / "dataset") if row["action"] == "left out"} == {
        ("its PNG of segments 'p2.png' was not found", 2),
        ("record 2: image_id is 9, which is not in the file", 2),
        ("image not found", 2),
        ("an image without a record of its segments", 0),
    }


def test_panoptic_files_beside_instances_are_left_to_another_run(segkit, here, ids):
    from coco_files import annotation, document

    written(here / "in", ids)
    write(here / "in/annotations/instances_train2017.json", document([annotation(1)], images=1))
    assert segkit("convert", "in", "--val", 0).code == 0
    assert len(regions(here / "dataset")) == 1
    assert "COCO's panoptic segmentation (segkit convert --from panoptic reads it)" in {
        row["why"] for row in rows(here / "dataset")
    }
    assert segkit("convert", "in", "--val", 0, "--from", "panoptic", "--out", "p").code == 0
    assert len(regions(here / "p")) == 3


def test_train_and_eval_say_what_a_panoptic_file_is(segkit, here, ids):
    data = written(here / "in", ids)
    write(here / "r.json", [])
    for command in (("train", data), ("eval", "r.json", "--data", data)):
        outcome = segkit(*command)
        assert outcome.code == 1
        assert "COCO's panoptic segmentation\nhint: segkit convert --from panoptic reads it" in outcome.err


def test_panoptic_to_panoptic_and_back_keeps_every_pixel(segkit, here, ids):
    written(here / "in", ids)
    assert segkit("convert", "in", "--val", 0, "--to", "panoptic", "--out", "p", "--strict").code == 0
    top = json.loads((here / "p/panoptic_train.json").read_text())
    assert {c["name"]: c["isthing"] for c in top["categories"]} == {"nut": 1, "sky": 0}
    (record,) = top["annotations"]
    assert [(s["area"], s["bbox"], s["iscrowd"]) for s in record["segments_info"]] == [
        (100, [5, 20, 10, 10], 0), (200, [30, 20, 20, 10], 1), (640, [0, 0, 64, 10], 0),
    ]  # fmt: skip
    assert segkit("convert", "p", "--val", 0, "--out", "q", "--to", "panoptic", "--strict").code == 0
    for path in ("panoptic_train.json", "panoptic_train/p1.png"):
        assert (here / "p" / path).read_bytes() == (here / "q" / path).read_bytes()
    assert segkit("convert", "p", "--val", 0, "--out", "c").code == 0
    for (_, _, mask), number in zip(regions(here / "c"), (NUT, FAR_NUT, SKY), strict=True):
        assert (mask == (ids == number)).all()


def test_overlaps_are_said_and_the_later_covers_the_earlier(segkit, here):
    from coco_files import annotation, document

    draw(here / "in", 1)
    later = annotation(2, segmentation=[[15, 15, 35, 15, 35, 35, 15, 35]])
    hidden = annotation(3, segmentation=[[16, 16, 18, 16, 18, 18, 16, 18]])
    write(here / "in/t.json", document([hidden, annotation(1), later], images=1))
    assert segkit("convert", "in", "--val", 0, "--to", "panoptic").code == 0
    (record,) = json.loads((here / "dataset/panoptic_train.json").read_text())["annotations"]
    assert [s["area"] for s in record["segments_info"]] == [300, 400]
    assert [row["action"] for row in rows(here / "dataset")] == ["changed", "left out"]
    back = segkit("convert", "dataset", "--val", 0, "--out", "b")
    assert back.code == 0
    assert [mask.sum() for _, _, mask in regions(here / "b")] == [300, 400]
