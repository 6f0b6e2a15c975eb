"""Datasets as tools export them: labelImg, Roboflow, FiftyOne, nnU-Net, Ultralytics and others."""

import json

import numpy as np
import pytest
from coco_files import annotation, document, draw, image
from coco_files import write as write_coco
from mask_folders import mask, picture
from PIL import Image

LINE = "0 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5\n"
BOX = "<bndbox><xmin>6</xmin><ymin>6</ymin><xmax>20</xmax><ymax>20</ymax></bndbox>"


def converted(segkit, *more):
    outcome = segkit("convert", "in", "--force", "--json", *more)
    assert outcome.code == 0, outcome.err
    top = json.loads(outcome.out)
    return top, [(row["action"], row["why"]) for row in top["findings"]]


def voc(path, inner=BOX):
    path.parent.mkdir(parents=True, exist_ok=True)
    name = f"{path.stem}.jpg"
    path.write_text(f"<annotation><filename>{name}</filename><object><name>cat</name>{inner}</object></annotation>")


@pytest.mark.parametrize(
    ("xml", "pictures"),
    [
        ("a.xml", "a.jpg"),  # labelImg
        ("annotations/a.xml", "images/a.jpg"),
        ("annotations/xmls/a.xml", "images/a.jpg"),
        ("Annotations/a.xml", "JPEGImages/a.jpg"),
    ],
)
def test_xml_files_of_voc_where_tools_put_them(segkit, here, xml, pictures):
    voc(here / "in" / xml)
    (here / "in" / pictures).parent.mkdir(parents=True, exist_ok=True)
    picture(here / "in" / pictures)
    top, rows = converted(segkit, "--val", 0)
    assert (top["format"], top["images"], top["categories"], rows) == ("voc", 1, {"cat": 1}, [])


def test_splits_of_xml_files_beside_their_pictures(segkit, here):
    for split in ("train", "valid"):
        voc(here / f"in/{split}/{split}.xml")
        picture(here / f"in/{split}/{split}.jpg")
    top, rows = converted(segkit)
    assert ({name: each["images"] for name, each in top["splits"].items()}, rows) == ({"train": 1, "val": 1}, [])


@pytest.mark.parametrize(
    "polygon",
    [
        "<x1>5</x1><y1>5</y1><x2>25</x2><y2>5</y2><x3>25</x3><y3>25</y3><x4>5</x4><y4>25</y4>",  # Roboflow
        "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in ((5, 5), (25, 5), (25, 25), (5, 25))),
    ],
)
def test_polygons_in_xml_files_are_masks(segkit, here, polygon):
    voc(here / "in/a.xml", f"<polygon>{polygon}</polygon>{BOX}")
    picture(here / "in/a.jpg")
    assert converted(segkit, "--val", 0)[1] == []
    (found,) = json.loads((here / "dataset/train.json").read_text())["annotations"]
    assert (found["area"], len(found["segmentation"])) == (400, 1)


def test_a_picture_of_another_record_is_not_taken_for_a_missing_one(segkit, here):
    draw(here / "in/cam1", ["p1.png"])
    images = [image(1, file_name="cam1/p1.png"), image(2, file_name="cam2/p1.png")]
    write_coco(here / "in/t.json", document([annotation(1), annotation(2, 2)], images))
    top, rows = converted(segkit, "--val", 0)
    assert (top["images"], rows) == (1, [("left out", "image not found")])
    train = ["train", "in/t.json", "--weights", "none", "--backbone", "resnet18", "--steps", 1, "--size", 32]
    outcome = segkit(*train, "--device", "cpu", "--workers", 0, "-q")
    assert (outcome.code, "cam2/p1.png" in outcome.err) == (1, True), outcome.err


def test_masks_in_a_folder_of_labels_get_no_labels(segkit, here):
    picture(here / "in/images/a.png")
    mask(here / "in/labels/a.png", (1, 20))
    (here / "in/labels/a.txt").write_text(LINE)
    (here / "in/data.yaml").write_text("names: [a]\n")
    top, rows = converted(segkit, "--val", 0)
    assert top["images"] == 1
    assert ("noted", "1 picture beside labels of other pictures: taken for masks, not read") in rows


def test_the_names_of_a_dataset_in_a_folder_below(segkit, here):
    for part in ("one", "two"):
        picture(here / f"in/{part}/images/{part}.png")
        (here / f"in/{part}/labels").mkdir()
        (here / f"in/{part}/labels/{part}.txt").write_text(LINE)
        (here / f"in/{part}/data.yaml").write_text("names: [nut]\n")
    top, rows = converted(segkit, "--val", 0)
    assert (top["categories"], rows) == ({"nut": 2}, [])
    (here / "in/two/data.yaml").write_text("names: [bolt]\n")
    top, rows = converted(segkit, "--val", 0)
    why = "names other categories than one/data.yaml, whose names are used: convert each dataset by itself"
    assert (top["categories"], rows) == ({"nut": 2}, [("changed", why)])


@pytest.mark.parametrize("labels", [{"background": 0, "nut": 1}, {"0": "background", "1": "nut"}])
def test_names_of_nnu_net(segkit, here, labels):
    picture(here / "in/imagesTr/a_0000.png")
    mask(here / "in/labelsTr/a.png", (1, 20))
    (here / "in/dataset.json").write_text(json.dumps({"labels": labels, "numTraining": 1}))
    assert [*converted(segkit, "--val", 0)[0]["categories"]] == ["background", "nut"]


@pytest.mark.parametrize(("pictures", "masks"), [("train_img", "train_lab"), ("data", "labels")])
def test_folders_of_masks_with_other_names(segkit, here, pictures, masks):
    picture(here / f"in/{pictures}/a.png")
    mask(here / f"in/{masks}/a.png", (255, 20))
    assert converted(segkit, "--val", 0)[0]["categories"] == {"object": 1}


def test_attributes_that_are_a_list_are_kept(segkit, here):
    draw(here / "in")
    write_coco(here / "in/t.json", document([annotation(1, attributes=["wet", "old"])]))
    converted(segkit, "--val", 0)
    (found,) = json.loads((here / "dataset/train.json").read_text())["annotations"]
    assert found["attributes"] == {"attributes": ["wet", "old"]}


def test_regions_of_a_task_with_two_images_are_on_the_one_that_they_name(segkit, here):
    for name in ("a", "b", "c"):
        picture(here / f"in/{name}.png")

    def result(where, label):
        value = {"x": 10, "y": 10, "width": 20, "height": 20, "rotation": 0, "rectanglelabels": [label]}
        sizes = {"original_width": 64, "original_height": 48}
        return {"to_name": where, "type": "rectanglelabels", "value": value, **sizes}

    both = {"left": "/data/upload/a.png", "right": "/data/upload/b.png"}
    tasks = [
        {"data": both, "annotations": [{"result": [result("left", "x"), result("right", "y"), result("up", "z")]}]},
        {"data": {"photo": "c.png", "file": "x/c.png"}, "annotations": [{"result": [result("image", "w")]}]},
    ]
    (here / "in/p.json").write_text(json.dumps(tasks))
    top, rows = converted(segkit, "--val", 0)
    data = json.loads((here / "dataset/train.json").read_text())
    names = {each["id"]: each["name"] for each in data["categories"]}
    images = {each["id"]: each["file_name"] for each in data["images"]}
    drawn = {images[each["image_id"]]: names[each["category_id"]] for each in data["annotations"]}
    assert drawn == {"a.png": "x", "b.png": "y", "c.png": "w"}
    assert rows == [("left out", "a task of several images does not say which one its regions are on")]
    assert top["images"] == 3


def test_further_pages_of_a_mask_are_left_out_with_a_row(segkit, here):
    picture(here / "in/images/a.png")
    pages = [Image.fromarray(np.pad(np.full((5, 5), 255, np.uint8), ((n, 43 - n), (0, 59)))) for n in (5, 20, 35)]
    (here / "in/masks").mkdir()
    pages[0].save(here / "in/masks/a.tif", save_all=True, append_images=pages[1:])
    top, rows = converted(segkit, "--val", 0)
    assert ("left out", "the mask has 3 pages: the first is used") in rows
    assert (top["shapes"], top["lost"], top["categories"]) == (3, 2, {"object": 1})


def test_two_records_of_one_picture_have_a_row(segkit, here):
    draw(here / "in", ["p1.png"])
    images = [image(1, file_name="p1.png"), image(2, file_name="p1.png")]
    write_coco(here / "in/t.json", document([annotation(1), annotation(2, 2)], images))
    assert ("noted", "annotates the same image as p1.png") in converted(segkit, "--val", 0)[1]
