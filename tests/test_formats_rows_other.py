"""Lines of docs/formats.md on VIA, CVAT, Label Studio, tables, boxes and what is written."""

import json

import numpy as np
import pytest
from coco_files import annotation, box, document, draw
from coco_files import write as write_coco
from labelme_files import square, write
from mask_folders import areas, mask, picture, whys
from PIL import Image


def convert(segkit, *more, source="in", code=0):
    outcome = segkit("convert", source, "--val", 0, "--force", *more)
    assert outcome.code == code, outcome.err
    return outcome


def annotations(here):
    return json.loads((here / "dataset/train.json").read_text())["annotations"]


def rows_like(here, action, words):
    """How many rows have an action, and words in their reason."""
    return sum(count for (done, why), count in whys(here / "dataset").items() if done == action and words in why)


def files_of(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("target", "written"),
    [
        ("coco", {"train.json", "labels.txt", "images/a.png"}),
        ("yolo", {"data.yaml", "images/train/a.png", "labels/train/a.txt"}),
        ("voc", {"JPEGImages/a.jpg", "SegmentationClass/a.png", "SegmentationObject/a.png", "Annotations/a.xml",
                 "ImageSets/Segmentation/train.txt", "class_names.txt"}),
        ("idmask", {"images/a.png", "masks/a.png", "instances.csv"}),
        ("semantic", {"train/a.png", "trainannot/a.png", "classes.txt"}),
        ("labelme", {"a.png", "a.json", "labels.txt"}),
    ],
)  # fmt: skip
def test_a_format_is_written_as_the_table_says(segkit, here, target, written):
    write(here / "in/a.json", [square(10, 10, 20, "a"), square(50, 10, 20, "a")])
    convert(segkit, "--to", target)
    found = files_of(here / "dataset")
    assert {name.replace(".jpg", ".png") for name in written} <= {name.replace(".jpg", ".png") for name in found}
    if target == "idmask":
        with Image.open(here / "dataset/masks/a.png") as image:
            assert image.mode.startswith("I")
            assert sorted(np.unique(np.asarray(image))) == [0, 1, 2]


def via(here, entries):
    for name in ("p0.png", "p1.png"):
        picture(here / "in" / name)
    (here / "in/via.json").write_text(json.dumps({"_via_img_metadata": entries}))


def region(own, **outline):
    points = {"name": "polygon", "all_points_x": [5, 15, 15, 5], "all_points_y": [5, 5, 15, 15]}
    return {"shape_attributes": outline or points, "region_attributes": own}


def test_a_usual_attribute_of_few_via_regions_names_no_categories(segkit, here):
    own = [{"material": "steel"}, {"material": "steel"}, {"material": "wood", "class": "x"}]
    via(here, {"a": {"filename": "p0.png", "regions": [region(each) for each in own]}})
    convert(segkit)
    assert {name: len(found) for name, found in areas(here / "dataset").items()} == {"steel": 2, "wood": 1}
    assert rows_like(here, "noted", "'material' names the categories: 3 of 3 regions") == 1
    assert annotations(here)[2]["attributes"] == {"attributes": {"class": "x"}}


def test_an_attribute_that_numbers_via_regions_names_no_categories(segkit, here):
    own = [{"number": str(n), "material": "steel"} for n in range(3)] + [{"number": "9"}]
    via(here, {"a": {"filename": "p0.png", "regions": [region(each) for each in own]}})
    convert(segkit)
    assert {name: len(found) for name, found in areas(here / "dataset").items()} == {"steel": 3, "object": 1}


def test_via_entries_without_a_file_name_or_regions_are_counted(segkit, here):
    good = {"filename": "p0.png", "regions": [region({"class": "x"})]}
    via(here, {"a": good, "b": {"filename": "p1.png"}, "c": {"regions": []}})
    convert(segkit, "--strict")
    alone = ("noted", "1 image without an annotation file: not in the dataset")
    assert whys(here / "dataset") == {("noted", "2 entries without a file name and regions"): 1, alone: 1}
    via(here, {"a": good, "b": {"filename": "p1.png"}, "c": {"regions": good["regions"] * 2}})
    convert(segkit, "--strict", code=3)
    assert whys(here / "dataset") == {("left out", "2 entries without a file name and regions"): 1, alone: 1}
    assert json.loads((here / "dataset/report.json").read_text())["lost"] == 2


def cvat(here, shapes, name="in/annotations.xml"):
    picture(here / "in/a.png")
    image = f'<image id="0" name="a.png" width="64" height="48">{shapes}</image>'
    (here / name).write_text(f"<annotations><version>1.1</version>{image}</annotations>", "utf-8")


BOX = '<box label="nut" xtl="10" ytl="10" xbr="30" ybr="20"/>'


def test_cvat_boxes_have_no_mask_and_turned_ones_are_polygons(segkit, here):
    cvat(here, BOX + BOX.replace("/>", ' rotation="30"/>'))
    convert(segkit, "--strict")
    found = sorted(annotations(here), key=lambda each: bool(each["segmentation"]))
    assert (found[0]["segmentation"], found[0]["bbox"]) == ([], [10, 10, 20, 10])
    assert len(found[1]["segmentation"][0]) == 8
    assert found[1]["area"] == pytest.approx(200, abs=8)


def test_cvat_cuboids_skeletons_and_tracks_are_left_out_and_tags_are_noted(segkit, here):
    cvat(here, BOX + '<cuboid label="nut"/><skeleton label="nut"/><tag label="wet"/><tag label="old"/>')
    text = (here / "in/annotations.xml").read_text()
    (here / "in/annotations.xml").write_text(text.replace("<image", '<track label="nut"><box/><box/></track><image'))
    convert(segkit, "--strict", code=3)
    assert sorted(action for action, _ in whys(here / "dataset").elements()) == ["left out"] * 3 + ["noted"]
    assert rows_like(here, "noted", "2 tags of the whole image") == 1
    report = json.loads((here / "dataset/report.json").read_text())
    assert (report["shapes"], report["lost"]) == (5, 4)


@pytest.mark.parametrize("start", ["<annotations>", '<?xml version="1.0" encoding="utf-16"?><annotations meta="a">'])
def test_a_cvat_file_is_found_in_utf_16_and_with_attributes(segkit, here, start):
    cvat(here, BOX)
    text = (here / "in/annotations.xml").read_text().replace("<annotations>", start)
    (here / "in/annotations.xml").write_text(text, encoding="utf-16" if "utf-16" in start else "utf-8")
    convert(segkit)
    assert len(annotations(here)) == 1


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_voc_file_that_was_verified_in_labelimg_is_found(segkit, here, encoding):
    picture(here / "in/a.png")
    box = "<xmin>10</xmin><ymin>10</ymin><xmax>30</xmax><ymax>20</ymax>"
    (here / "in/a.xml").write_text(
        f'<annotation verified="yes"><filename>a.png</filename><object><name>nut</name><bndbox>{box}</bndbox></object>'
        "</annotation>",
        encoding=encoding,
    )
    convert(segkit)
    assert len(annotations(here)) == 1


@pytest.mark.parametrize("encoding", ["GBK", "Shift_JIS", "iso-8859-1", "UTF-8", "utf-8-sig"])
def test_an_xml_file_is_read_in_the_encoding_that_it_declares(segkit, here, encoding):
    name = "naïve" if encoding == "iso-8859-1" else "日本"
    cvat(here, BOX.replace("nut", name))
    text = (here / "in/annotations.xml").read_text("utf-8")
    declaration = f'<?xml version="1.0" encoding="{encoding.removesuffix("-sig")}"?>\n'
    (here / "in/annotations.xml").write_text(declaration + text, encoding)
    convert(segkit, "--strict")
    assert json.loads((here / "dataset/train.json").read_text("utf-8"))["categories"][0]["name"] == name


@pytest.mark.parametrize(
    "text", ["<annotations><image", '<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>']
)
def test_cvat_files_that_are_broken_or_declare_entities_are_left_out_beside_others(segkit, here, text):
    cvat(here, BOX)
    (here / "in/other.xml").write_text(text)
    convert(segkit, "--strict", code=3)
    assert [action for action, _ in whys(here / "dataset")] == ["left out"]


def result(kind, *labels, **value):
    return {
        "id": f"{kind}{value}", "type": f"{kind}labels", "original_width": 64, "original_height": 48,
        "value": {f"{kind}labels": [*labels], **value},
    }  # fmt: skip


RECTANGLE = {"x": 50, "y": 50, "width": 25, "height": 25}


def label_studio(here, *done):
    picture(here / "in/a.png")
    task = {"data": {"image": "a.png"}, "annotations": [*done]}
    (here / "in/project.json").write_text(json.dumps([task]))


def test_label_studio_rectangles_have_no_mask_and_turned_ones_are_polygons(segkit, here):
    both = [result("rectangle", "nut", **RECTANGLE, rotation=turn) for turn in (0, 30)]
    label_studio(here, {"result": both})
    convert(segkit, "--strict")
    found = sorted(annotations(here), key=lambda each: bool(each["segmentation"]))
    assert (found[0]["segmentation"], found[0]["bbox"]) == ([], [32, 24, 16, 12])
    assert len(found[1]["segmentation"][0]) == 8


@pytest.mark.parametrize(("key", "value"), [("ground_truth", 1), ("was_cancelled", 0)])
def test_of_several_annotations_in_label_studio_one_counts(segkit, here, key, value):
    """The ground truth; without one the first that was not skipped."""
    done = [{"result": [result("rectangle", name, **RECTANGLE)]} for name in ("one", "two", "three")]
    done[value][key] = True
    label_studio(here, *done)
    convert(segkit, "--strict", code=3)
    assert areas(here / "dataset") == {"two": [192]}
    report = json.loads((here / "dataset/report.json").read_text())
    assert [(row["action"], row["shapes"]) for row in report["findings"]] == [("left out", 2)]


def test_the_first_of_several_labels_in_label_studio_counts(segkit, here):
    label_studio(here, {"result": [result("rectangle", "nut", "bolt", **RECTANGLE)]})
    convert(segkit, "--strict", code=3)
    assert areas(here / "dataset") == {"nut": [192]}
    assert whys(here / "dataset") == {("changed", "2 labels: the first counts"): 1}


def test_keypoints_and_brushes_of_another_size_in_label_studio(segkit, here):
    brush = result("brush", "nut", format="rle", rle=[0, 0, 0, 8, 0])
    point = result("keypoint", "nut", x=50, y=50, width=1)
    label_studio(here, {"result": [result("rectangle", "nut", **RECTANGLE), brush, point]})
    convert(segkit, "--strict", code=3)
    assert [action for action, _ in whys(here / "dataset").elements()] == ["left out"] * 2
    convert(segkit, "--strict", "--point-radius", 4, code=3)
    assert len(areas(here / "dataset")["nut"]) == 2


def test_a_table_with_tabs_and_ids_of_instances(segkit, here):
    picture(here / "in/p.png")
    mask(here / "in/m.png", (1, 20), (2, 21))
    (here / "in/t.csv").write_text("image\tlabel\np.png\tm.png\np.png\tnothing.png\n")
    convert(segkit, "--masks", "idmask", "--strict", source="in/t.csv", code=3)
    assert areas(here / "dataset") == {"object": [200, 210]}
    assert whys(here / "dataset")["left out", "mask not found"] == 1


def test_a_mask_beside_its_picture(segkit, here):
    picture(here / "in/a.png")
    mask(here / "in/a_mask.png", (255, 20))
    convert(segkit, "--strict")
    assert areas(here / "dataset") == {"object": [200]}


@pytest.mark.parametrize(
    ("top", "message"),
    [
        ({"asset": {}, "regions": []}, "a VoTT file"),
        ({"dataset": {}, "item": {}, "annotations": []}, "a V7 Darwin file"),
    ],
)
def test_files_of_vott_and_darwin_are_known_by_name(segkit, here, top, message):
    (here / "in").mkdir()
    (here / "in/a.json").write_text(json.dumps(top))
    outcome = convert(segkit, code=1)
    assert message in outcome.err
    assert "hint:" in outcome.err


def test_a_box_that_voc_moves_to_whole_pixels_has_a_row(segkit, here):
    draw(here / "in", 1)
    boxes = [annotation(1), box(2, 1, (40, 20, 10, 20)), box(3, 1, (30.4, 30, 4.3, 4))]
    data = write_coco(here / "in/t.json", document(boxes, images=1))
    convert(segkit, "--to", "voc", "--strict", source=data, code=3)
    assert whys(here / "dataset") == {("changed", "a box is rounded to whole pixels"): 1}


def test_boxes_are_rectangles_with_a_key_in_labelme_and_others_are_areas(segkit, here):
    draw(here / "in", 1)
    data = write_coco(here / "in/t.json", document([box(1, 1, (40, 20, 10, 20))], images=1))
    convert(segkit, "--to", "labelme", source=data)
    (path,) = [each for each in (here / "dataset").rglob("*.json") if each.name != "report.json"]
    document_ = json.loads(path.read_text())
    (shape,) = document_["shapes"]
    assert (shape["shape_type"], shape["box_only"]) == ("rectangle", True)
    del shape["box_only"]
    path.write_text(json.dumps(document_))
    (here / "dataset").rename(here / "again")
    convert(segkit, "--from", "labelme", source="again")
    (found,) = annotations(here)
    assert (bool(found["segmentation"]), found["area"]) == (True, 200)


def test_points_of_cvat_get_an_area_with_a_radius(segkit, here):
    cvat(here, BOX + '<points label="nut" points="45,30"/>')
    convert(segkit, "--strict", "--point-radius", 4)
    assert len(areas(here / "dataset")["nut"]) == 2


def test_labels_txt_in_a_labelme_folder_gives_the_order_of_the_categories(segkit, here):
    write(here / "in/a.json", [square(10, 10, 20, "a"), square(50, 10, 10, "b")])
    (here / "in/labels.txt").write_text("__ignore__\n_background_\nb\na\n")
    convert(segkit, "--strict")
    assert [*areas(here / "dataset").items()] == [("b", [100]), ("a", [400])]


def test_several_coco_files_of_a_folder_become_one_dataset(segkit, here):
    for name in ("one", "two"):
        draw(here / f"in/{name}", 1)
        write_coco(here / f"in/{name}/t.json", document([annotation(1)], images=1))
    convert(segkit, "--strict")
    assert len(annotations(here)) == 2


def test_regions_of_a_skipped_task_in_label_studio_are_left_out(segkit, here):
    drawn = {"result": [result("rectangle", "nut", **RECTANGLE)]}
    label_studio(here, drawn | {"was_cancelled": True}, drawn | {"was_cancelled": True})
    picture(here / "in/b.png")
    tasks = json.loads((here / "in/project.json").read_text())
    tasks.append({"data": {"image": "b.png"}, "annotations": [drawn]})
    tasks.append({"data": {"image": "a.png"}, "annotations": [{"result": [], "was_cancelled": True}]})
    (here / "in/project.json").write_text(json.dumps(tasks[:2]))
    convert(segkit, "--strict", code=3)
    assert areas(here / "dataset") == {"nut": [192]}
    report = json.loads((here / "dataset/report.json").read_text())
    assert (report["shapes"], report["lost"], report["images"]) == (3, 2, 2)
    (here / "in/project.json").write_text(json.dumps(tasks[1:]))
    convert(segkit, "--strict")
    assert whys(here / "dataset") == {("noted", "a task that was skipped"): 1}


def test_labelme_gets_polygons_masks_and_groups(segkit, here):
    ring = square(10, 10, 30, "ring", group_id=3)
    inner = square(20, 20, 10, "hole", group_id=3)
    parts = [square(60 + 20 * n, 10, 10, "parts", group_id=7) for n in range(2)]
    write(here / "in/a.json", [ring, inner, *parts, square(120, 10, 10, "one")])
    convert(segkit, "--to", "labelme", "--hole-label", "hole", "--strict")
    shapes = json.loads((here / "dataset/a.json").read_text())["shapes"]
    found = {(each["label"], each["shape_type"]) for each in shapes}
    assert found == {("ring", "mask"), ("parts", "polygon"), ("one", "polygon")}
    first, second = (each["group_id"] for each in shapes if each["label"] == "parts")
    assert first == second is not None
