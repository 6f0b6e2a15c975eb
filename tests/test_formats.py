"""Reading and writing formats: what a format can store survives a round trip, everything else is in the report."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from labelme_files import png, shape, square, write
from labelme_program import draw_in_labelme, open_in_labelme
from PIL import Image
from pycocotools.coco import COCO

from segkit.data.contours import trace
from segkit.data.masks import polygons_to_rle, rle_to_mask


def load(path):
    return json.loads(path.read_text(encoding="utf-8"))


def masks(file):
    """Every instance as (file name, category, bitmap)."""
    coco = COCO(str(file))
    names = {c["id"]: c["name"] for c in coco.dataset["categories"]}
    files = {i["id"]: i["file_name"] for i in coco.dataset["images"]}
    return [(files[a["image_id"]], names[a["category_id"]], coco.annToMask(a)) for a in coco.dataset["annotations"]]


def donut():
    mask = np.ones((30, 30))
    mask[10:20, 10:20] = 0
    return shape("ring", [[60, 60], [89, 89]], "mask", mask=png(mask))


@pytest.fixture
def zoo(here):
    """A polygon, a group of two parts, a mask with a hole, flags and attributes; two images in two folders."""
    write(
        here / "in/x/a.json",
        [
            square(
                10.25, 10.5, 20, "box", flags={"occluded": True}, description="left wing", difficult=False, score=0.5
            ),
            square(40, 10, 20, "box", group_id=7),
            square(70, 10, 20, "box", group_id=7),
            donut(),
            square(120, 10, 9, "crowded", flags={"crowd": True}),
        ],
        flags={"night": True, "rain": False},
    )
    write(here / "in/y/b.json", [shape("disc", [[50, 50], [70, 50]], "circle"), square(100, 50, 10.75, "box")])
    write(here / "in/y/c.json", [])
    return here


def test_labelme_to_coco_to_labelme_to_coco_is_identical(segkit, zoo):
    assert segkit("convert", "in", "--out", "one", "--val", 0.34).code == 0
    assert segkit("convert", "one", "--out", "two", "--to", "labelme").code == 0
    assert segkit("convert", "two", "--out", "three").code == 0
    for name in ("train.json", "val.json", "labels.txt"):
        assert (zoo / "one" / name).read_bytes() == (zoo / "three" / name).read_bytes()


def test_labelme_opens_what_segkit_writes(segkit, zoo):
    segkit("convert", "in", "--to", "labelme")
    written = sorted((zoo / "dataset").rglob("[abc].json"))
    assert len(written) == 3
    for path, opened in zip(written, open_in_labelme(*written), strict=True):
        assert opened["labels"] == [shape["label"] for shape in load(path)["shapes"]]
        assert opened["flags"] == load(path)["flags"]
        assert opened["has_picture"]
    first = load(written[0])
    assert first["flags"] == {"night": True}
    assert first["shapes"][0]["flags"] == {"occluded": True}
    assert first["shapes"][0]["description"] == "left wing"


@pytest.mark.parametrize("target", ["voc", "idmask"])
def test_pixels_survive_a_round_trip(segkit, zoo, target):
    segkit("convert", "in", "--out", "one", "--val", 0)
    assert segkit("convert", "in", "--out", "two", "--to", target, "--val", 0).code == 0
    outcome = segkit("convert", "two", "--out", "three", "--val", 0)
    assert outcome.code == 0, outcome.err
    before, after = masks(zoo / "one/train.json"), masks(zoo / "three/train.json")
    assert [name for _, name, _ in before] == [name for _, name, _ in after]
    assert all((a == b).all() for (_, _, a), (_, _, b) in zip(before, after, strict=True))


def test_splits_survive_a_round_trip(segkit, parts, here):
    for target in ("yolo", "voc", "idmask", "semantic"):
        segkit("convert", parts, "--out", target, "--to", target, "--val", 0.25)
        assert segkit("convert", target, "--out", f"{target}_back").code == 0
        assert len(load(here / f"{target}_back/val.json")["images"]) == 3


def test_what_yolo_cannot_store_is_reported(segkit, zoo):
    outcome = segkit("convert", "in", "--out", "two", "--to", "yolo", "--val", 0, "--json")
    whys = [row["why"] for row in json.loads(outcome.out)["findings"] if row["action"] == "changed"]
    assert sorted(whys) == [
        "RLE written as the outline of its pixels",
        "YOLO has no crowds: written as an instance",
        "YOLO has no holes: they are filled",
        "YOLO has one polygon per instance: parts are joined by lines",
        "the format has no place for flags and attributes",
    ]
    dry = segkit("convert", "in", "--out", "dry", "--to", "yolo", "--val", 0, "--json", "--dry-run")
    assert json.loads(dry.out)["findings"] == json.loads(outcome.out)["findings"]
    assert not (zoo / "dry").exists()
    assert segkit("convert", "two", "--out", "three", "--val", 0).code == 0
    areas = [a["area"] for a in load(zoo / "three/train.json")["annotations"]]
    before = [a["area"] for a in load_after(segkit, zoo)["annotations"]]
    assert areas == [*before[:2], 900, *before[3:]]


def load_after(segkit, zoo):
    segkit("convert", "in", "--out", "one", "--val", 0)
    return load(zoo / "one/train.json")


def test_hidden_instances_are_reported(segkit, here):
    write(here / "in/a.json", [square(10, 10, 20, "under"), square(10, 10, 20, "over"), square(25, 25, 20, "over")])
    outcome = segkit("convert", "in", "--to", "idmask", "--val", 0, "--json")
    report = json.loads(outcome.out)
    rows = {(row["action"], row["label"]): row["why"] for row in report["findings"] if row["action"] != "noted"}
    assert rows == {
        ("left out", "under"): "wholly hidden under later instances",
        ("changed", "over"): "partly hidden under later instances: a pixel has one number",
    }
    assert (report["shapes"], report["converted"], report["lost"]) == (3, 2, 1)


def test_ignored_regions_are_255_in_semantic_maps(segkit, here):
    write(here / "in/a.json", [square(10, 10, 20, "a"), square(50, 10, 20, "__ignore__")], size=(40, 80))
    assert segkit("convert", "in", "--to", "semantic", "--val", 0, "--strict").code == 0
    ids = np.asarray(Image.open(here / "dataset/trainannot/a.png"))
    assert {int(v): int((ids == v).sum()) for v in np.unique(ids)} == {0: 2400, 1: 400, 255: 400}
    assert (here / "dataset/classes.txt").read_text() == "0 _background_\n1 a\n255 __ignore__\n"


def test_ignored_regions_become_crowds_of_every_category(segkit, here):
    write(here / "in/a.json", [square(10, 10, 20, "a"), square(90, 10, 20, "b"), square(50, 10, 20, "__ignore__")])
    outcome = segkit("convert", "in", "--val", 0, "--ignore", "crowd", "--strict")
    assert outcome.code == 0, outcome.err
    annotations = load(here / "dataset/train.json")["annotations"]
    assert [(a["category_id"], a["iscrowd"]) for a in annotations] == [(1, 0), (2, 0), (1, 1), (2, 1)]
    assert segkit("convert", "in", "--val", 0, "--force", "--strict").code == 3


def test_labels_that_are_renamed_to_regions_to_ignore_become_crowds(segkit, here):
    write(here / "in/a.json", [square(10, 10, 20, "a"), square(50, 10, 20, "void")])
    segkit("convert", "in", "--val", 0, "--ignore", "crowd", "--map", "void=__ignore__")
    annotations = load(here / "dataset/train.json")["annotations"]
    assert [(a["category_id"], a["iscrowd"]) for a in annotations] == [(1, 0), (1, 1)]


@pytest.mark.parametrize("regions", ["dict", "list"])
def test_both_versions_of_via_are_read(segkit, here, regions):
    (here / "in").mkdir()
    Image.fromarray(np.zeros((60, 80, 3), np.uint8)).save(here / "in/a.png")
    outlines = [
        {"name": "polygon", "all_points_x": [10, 30, 30, 10], "all_points_y": [10, 10, 30, 30]},
        {"name": "rect", "x": 40, "y": 10, "width": 10, "height": 20},
        {"name": "circle", "cx": 60, "cy": 45, "r": 10},
        {"name": "ellipse", "cx": 20, "cy": 45, "rx": 10, "ry": 5, "theta": 0},
        {"name": "point", "cx": 20, "cy": 45},
    ]
    each = [{"shape_attributes": o, "region_attributes": {"class": "cell"}} for o in outlines]
    files = {"a.png123": {"filename": "a.png", "size": 123, "regions": each, "file_attributes": {}}}
    if regions == "dict":
        files["a.png123"]["regions"] = {str(number): region for number, region in enumerate(each)}
    (here / "in/via.json").write_text(json.dumps(files if regions == "dict" else {"_via_img_metadata": files}))
    outcome = segkit("convert", "in", "--val", 0, "--json")
    report = json.loads(outcome.out)
    assert (report["format"], report["categories"], report["lost"]) == ("via", {"cell": 4}, 1)
    areas = [a["area"] for a in load(here / "dataset/train.json")["annotations"]]
    assert areas[:2] == [400, 200]
    assert math.isclose(areas[2], math.pi * 100, rel_tol=0.02)
    assert math.isclose(areas[3], math.pi * 50, rel_tol=0.04)


def test_yolo_folders_of_other_tools_are_read(segkit, here):
    for name in ("images/train", "labels/train"):
        (here / "in" / name).mkdir(parents=True)
    for stem in ("a", "b"):
        Image.fromarray(np.zeros((100, 200, 3), np.uint8)).save(here / f"in/images/train/{stem}.png")
    lines = ["1 0.1 0.1 0.2 0.1 0.2 0.3 0.1 0.3", "0 0.5 0.5 0.2 0.2", "0 0.1 nonsense 0.2", "2 0 0 1 0 1 1 0 1"]
    (here / "in/labels/train/a.txt").write_text("\n".join(lines) + "\n")
    (here / "in/data.yaml").write_text("train: images/train\nnames: [cat, dog]\n")
    outcome = segkit("convert", "in", "--val", 0, "--json")
    report = json.loads(outcome.out)
    assert (report["format"], report["images"], report["shapes"], report["lost"]) == ("yolo", 2, 4, 1)
    assert report["categories"] == {"cat": 1, "dog": 1, "class_2": 1}
    assert [a["area"] for a in load(here / "dataset/train.json")["annotations"]] == [400, pytest.approx(800), 20000]


def test_instance_ids_in_the_layout_of_penn_fudan(segkit, here):
    for name in ("PNGImages", "PedMasks"):
        (here / "in" / name).mkdir(parents=True)
    for number in (1, 2):
        ids = np.zeros((40, 50), np.uint8)
        for instance in range(1, number + 1):
            ids[5:15, 10 * instance : 10 * instance + 5] = instance
        Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(here / f"in/PNGImages/p{number}.png")
        Image.fromarray(ids).save(here / f"in/PedMasks/p{number}_mask.png")
    outcome = segkit("convert", "in", "--val", 0, "--map", "object=person", "--json")
    report = json.loads(outcome.out)
    assert (report["format"], report["categories"]) == ("idmask", {"person": 3})
    assert [a["area"] for a in load(here / "dataset/train.json")["annotations"]] == [50, 50, 50]


def test_coco_files_of_other_tools(segkit, here):
    """Folders of another machine in file names, ids from 0, a box without mask, unusual run lengths."""
    (here / "in/images").mkdir(parents=True)
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(here / "in/images/a.png")
    good = {"image_id": 0, "category_id": 0, "segmentation": [[5, 5, 15, 5, 15, 15, 5, 15]], "bbox": [5, 5, 10, 10]}
    rle = {"size": [40, 50], "counts": "0`0`0"}
    top = {
        "images": [{"id": 0, "file_name": "balloon/val/a.png", "height": 40, "width": 50}],
        "categories": [{"id": 0, "name": "balloon"}],
        "annotations": [
            good | {"id": 0, "area": 1, "iscrowd": 0, "occluded": True},
            good | {"id": 1, "segmentation": []},
            good | {"id": 1, "segmentation": rle},
            good | {"id": 2, "category_id": 9},
            good | {"id": 3, "image_id": 9},
            "nonsense",
        ],
    }
    (here / "in/gt.json").write_text(json.dumps(top))
    outcome = segkit("convert", "in", "--val", 0, "--json")
    report = json.loads(outcome.out)
    assert (report["shapes"], report["converted"], report["lost"]) == (6, 2, 4)
    annotation, box = load(here / "dataset/train.json")["annotations"]
    assert (box["segmentation"], box["bbox"]) == ([], [5, 5, 10, 10])
    assert (annotation["area"], annotation["attributes"]) == (100, {"occluded": True})


def test_raster_labelme_gives_the_masks_of_labelme(segkit, here):
    """The expected areas are LabelMe's (docs/labelme-format.md): it also fills the pixels of the outline."""
    write(
        here / "in/a.json",
        [
            shape("p", [[20, 20], [80, 20], [80, 70], [20, 70]]),
            shape("r", [[80, 70], [20, 20]], "rectangle"),
            shape("c", [[50, 50], [80, 50]], "circle"),
            shape("l", [[20, 20], [120, 60]], "line"),
            shape("o", [[100, 50]], "point"),
        ],
    )
    assert segkit("convert", "in", "--val", 0, "--raster", "labelme", "--strict").code == 0
    areas = {name: int(mask.sum()) for _, name, mask in masks(here / "dataset/train.json")}
    assert (areas["p"], areas["r"], areas["c"], areas["o"]) == (3111, 3111, 2909, 97)
    drawn = {name: mask for _, name, mask in masks(here / "dataset/train.json")}
    shapes = load(here / "in/a.json")["shapes"]
    for raw, theirs in zip(shapes, draw_in_labelme(120, 200, shapes), strict=True):
        assert (drawn[raw["label"]] == np.array(theirs)).all()


def test_annotations_without_images(segkit, here):
    write(here / "in/a.json", [square(10, 10, 20)], picture=False)
    assert segkit("convert", "in", "--val", 0).code == 1
    assert segkit("convert", "in", "--val", 0, "--images", "none").code == 0
    top = load(here / "dataset/train.json")
    assert top["images"] == [{"id": 1, "file_name": "a.png", "height": 120, "width": 200}]
    assert top["annotations"][0]["area"] == 400


@given(st.integers(1, 9).flatmap(lambda w: st.lists(st.lists(st.booleans(), min_size=w, max_size=w), min_size=1)))
def test_outlines_reproduce_the_mask(rows):
    mask = np.array(rows)
    outer, holes = trace(mask)
    again = np.zeros(mask.shape, np.uint8)
    for ring in outer + holes:
        again ^= rle_to_mask(polygons_to_rle([[float(v) for corner in ring for v in corner]], *mask.shape))
    assert (again == mask).all()
