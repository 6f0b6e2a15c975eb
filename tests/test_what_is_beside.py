"""What lies beside the annotations or in other places than usual: it is found, counted, or said."""

import json

import pytest
from coco_files import SQUARE, annotation, box, document, draw, image
from coco_files import write as write_coco
from labelme_files import square
from labelme_files import write as write_labelme
from mask_folders import mask, picture

from segkit.formats.dataset_folder import split_file
from segkit.formats.splits import split_of_name, without_split

LINE = "0 0.1 0.1 0.5 0.1 0.5 0.5\n"


def rows(segkit, *command, code=0):
    outcome = segkit("convert", *command, "--json", "--force")
    assert outcome.code == code, outcome.err
    return [(row["action"], row["why"], row["shapes"]) for row in json.loads(outcome.out)["findings"]]


def test_a_leak_between_splits_counts_under_strict(segkit, here):
    draw(here / "in/images")
    for split, number in (("train", 1), ("val", 2)):
        top = document([annotation(1, number)], [image(number), image(3)])
        write_coco(here / f"in/annotations/instances_{split}2017.json", top)
    said = rows(segkit, "in", "--strict", code=3)
    assert ("noted", "leak: the same image is in train and in val, as the source has it", 0) in said


@pytest.mark.parametrize("kind", ["labelme", "coco", "via", "cvat"])
def test_pictures_that_no_annotation_file_names_are_counted(segkit, here, kind):
    for name in ("a", "b", "sub/c"):
        picture(here / f"in/{name}.png")
    mask(here / "in/masks/a.png", (1, 5))  # no picture
    if kind == "labelme":
        write_labelme(here / "in/a.json", [square(5, 5, 20)], size=(48, 64))
    elif kind == "coco":
        write_coco(here / "in/all.json", document([annotation(1)], [image(1, file_name="a.png")]))
    elif kind == "via":
        outline = {"name": "rect", "x": 5, "y": 5, "width": 20, "height": 20}
        region = {"shape_attributes": outline, "region_attributes": {"class": "x"}}
        (here / "in/via.json").write_text(json.dumps({"a": {"filename": "a.png", "regions": [region]}}))
    else:
        points = "5,5;25,5;25,25;5,25"
        polygon = f'<image name="a.png" width="64" height="48"><polygon label="x" points="{points}"/></image>'
        (here / "in/annotations.xml").write_text(f"<annotations>{polygon}</annotations>")
    assert ("noted", "2 images without an annotation file: not in the dataset", 0) in rows(segkit, "in", "--val", 0)
    for name in ("b", "sub/c"):
        (here / f"in/{name}.png").unlink()
    assert not any("without an annotation file" in why for _, why, _ in rows(segkit, "in", "--val", 0))


def test_a_negative_area_is_computed_anew(segkit, here):
    draw(here / "in")
    write_coco(here / "in/t.json", document([annotation(1, area=-5), box(2, 2) | {"area": -1}]))
    assert ("repaired", "area is negative: computed from the segmentation", 0) in rows(segkit, "in/t.json", "--val", 0)
    results = [{"image_id": 1, "category_id": 1, "score": 0.9, "segmentation": [SQUARE]}]
    write_coco(here / "in/r.json", results)
    outcome = segkit("eval", "in/r.json", "--data", "in/t.json", "--json")
    assert outcome.code == 0, outcome.err
    assert "area is negative: computed from the segmentation" in outcome.err


def test_a_row_of_a_table_without_its_picture_counts_what_is_in_the_mask(segkit, here):
    picture(here / "in/a.png")
    mask(here / "in/m/a.png", (1, 20))
    mask(here / "in/m/b.png", (1, 20), (2, 20))
    (here / "in/t.csv").write_text("picture,mask\na.png,m/a.png\nb.png,m/b.png\n")
    said = rows(segkit, "in/t.csv", "--val", 0)
    assert [row for row in said if row[0] == "left out"] == [("left out", "a mask without a picture", 2)]


def test_entries_of_via_keep_their_folders(segkit, here):
    outline = {"name": "rect", "x": 5, "y": 5, "width": 20, "height": 20}
    entries = {}
    for split in ("train", "val"):
        picture(here / f"in/{split}/a.png")
        region = {"shape_attributes": outline, "region_attributes": {"class": split}}
        entries[split] = {"filename": f"{split}/a.png", "regions": [region]}
    (here / "in/via.json").write_text(json.dumps(entries))
    assert rows(segkit, "in") == []
    tops = {split: json.loads((here / f"dataset/{split}.json").read_text()) for split in entries}
    for split, top in tops.items():
        names = {each["id"]: each["name"] for each in top["categories"]}
        assert [each["file_name"] for each in top["images"]] == [f"{split}/a.png"]
        assert [names[each["category_id"]] for each in top["annotations"]] == [split]


def test_equal_lists_of_train_and_val_are_no_splits(segkit, here):
    for number in range(5):
        picture(here / f"in/images/{number}.png")
        (here / "in/labels").mkdir(exist_ok=True)
        (here / f"in/labels/{number}.txt").write_text(LINE)
    (here / "in/data.yaml").write_text("train: images\nval: images\nnames: [a]\n")
    said = rows(segkit, "in")
    assert said == [("changed", "leak: train and val are the same 5 images: read as a source without splits", 0)]
    assert {path.stem for path in (here / "dataset").glob("*.json")} == {"train", "val", "report"}


def test_patterns_in_data_yaml_name_images(segkit, here):
    for name in ("one/a", "one/b", "two/c"):
        picture(here / f"in/images/{name}.png")
        (here / f"in/labels/{name}.txt").parent.mkdir(parents=True, exist_ok=True)
        (here / f"in/labels/{name}.txt").write_text(LINE)
    (here / "in/data.yaml").write_text("train: images/one/*.png\nval: images/tw*\nnames: [a]\n")
    assert rows(segkit, "in") == []
    names = {
        split: sorted(each["file_name"] for each in json.loads((here / f"dataset/{split}.json").read_text())["images"])
        for split in ("train", "val")
    }
    assert names == {"train": ["one/a.png", "one/b.png"], "val": ["two/c.png"]}


@pytest.mark.parametrize("folders", [("img", "txt"), ("images", "annotations"), ("pictures", "labels")])
def test_folders_of_yolo_with_other_names(segkit, here, folders):
    pictures, texts = folders
    picture(here / f"in/{pictures}/a.png")
    (here / f"in/{texts}").mkdir()
    (here / f"in/{texts}/a.txt").write_text(LINE)
    (here / "in/classes.txt").write_text("nut\n")
    assert rows(segkit, "in", "--val", 0) == []
    assert json.loads((here / "dataset/report.json").read_text())["categories"] == {"nut": 1}


def test_folders_of_nnu_net(segkit, here):
    for part, name in (("Tr", "case_1"), ("Ts", "case_2")):
        for channel in ("_0000", "_0001"):
            picture(here / f"in/images{part}/{name}{channel}.png")
        mask(here / f"in/labels{part}/{name}.png", (1, 20), (2, 10))
    said = rows(segkit, "in", "--val", 0)
    assert [row for row in said if row[0] == "left out"] == [("left out", "a picture without a mask", 0)] * 2
    report = json.loads((here / "dataset/report.json").read_text())
    assert {split: each["images"] for split, each in report["splits"].items()} == {"train": 1, "test": 1}
    assert split_of_name("labelsVal").split == "val"


@pytest.mark.parametrize(
    ("train", "others", "val"),
    [
        ("instances_train2017.json", ["instances_val2017.json", "person_val2017.json"], "instances_val2017.json"),
        ("train/_annotations.coco.json", ["valid/_annotations.coco.json"], "valid/_annotations.coco.json"),
        ("defects_train_v2.json", ["defects_validation_v2.json", "defects_val_v1.json"], "defects_validation_v2.json"),
        ("a.json", ["val.json", "b_val.json"], "val.json"),
        ("a_train.json", ["a_val.json", "a_valid.json"], None),
        ("a.json", ["b.json"], None),
    ],
)
def test_the_val_split_of_a_coco_file_is_called_alike(here, train, others, val):
    for name in (train, *others):
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_text("{}")
    found = split_file(here / train, "val")
    assert (found.relative_to(here).as_posix() if found else None) == val


def test_words_of_splits_are_taken_out_of_names():
    assert without_split("instances_train2017") == without_split("instances_val2017") == "instances_2017"


@pytest.mark.parametrize(("boxes", "kept"), [("keep", [0, 0, 0]), ("drop", [0]), ("crowd", [0, 1, 1])])
def test_boxes_are_kept_dropped_or_crowds(segkit, here, boxes, kept):
    draw(here / "in")
    write_coco(here / "in/t.json", document([annotation(1), box(2), box(3, 2, (40, 30, 50, 50))]))
    said = rows(segkit, "in/t.json", "--val", 0, "--boxes", boxes)
    top = json.loads((here / "dataset/train.json").read_text())
    assert sorted(each["iscrowd"] for each in top["annotations"]) == kept
    assert sum(shapes for action, _, shapes in said if action == "left out") == 3 - len(kept)
    if boxes != "keep":
        train = ["train", "dataset", "--model", "unet", "--backbone", "resnet18", "--weights", "none", "--size", "32"]
        assert segkit(*train, "--steps", 1, "--batch", 1, "--device", "cpu", "--workers", 0, "-q").code == 0
    else:
        outcome = segkit("train", "dataset", "--model", "unet", "--device", "cpu")
        assert (outcome.code, "--boxes crowd" in outcome.err) == (1, True), outcome.err
