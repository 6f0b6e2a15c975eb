"""A folder with annotations in several formats is refused, by name and count; --from reads the one that it names."""

import json
from itertools import combinations

import pytest
from coco_files import annotation, document
from labelme_files import square
from labelme_files import write as write_labelme
from mask_folders import mask, picture

CVAT = (
    '<annotations><image id="0" name="{}.png" width="64" height="48"><polygon label="a" points="5,5;25,5;25,25;5,25"/>'
    "</image></annotations>"
)
VOC = (
    "<annotation><filename>{}.png</filename><object><name>a</name><bndbox><xmin>6</xmin><ymin>6</ymin><xmax>20</xmax>"
    "<ymax>20</ymax></bndbox></object></annotation>"
)
SQUARE = [5, 5, 25, 5, 25, 25, 5, 25]
PAIRS = [[x, y] for x, y in zip(SQUARE[::2], SQUARE[1::2], strict=True)]


def write(folder, kind):
    """A folder with one picture and one object in a format."""
    folder.mkdir(parents=True)
    name = f"p_{kind}"
    picture(folder / f"{name}.png")
    tops = {
        "coco": document([annotation(1)], [{"id": 1, "file_name": f"{name}.png", "height": 48, "width": 64}]),
        "via": {
            "p": {
                "filename": f"{name}.png",
                "regions": [
                    {
                        "shape_attributes": {"name": "rect", "x": 5, "y": 5, "width": 20, "height": 20},
                        "region_attributes": {"class": "a"},
                    }
                ],
            }
        },
        "labelstudio": [{
            "data": {"image": f"/data/upload/1/{name}.png"},
            "annotations": [{"result": [{
                "type": "rectanglelabels", "original_width": 64, "original_height": 48,
                "value": {"rectanglelabels": ["a"], "x": 10, "y": 10, "width": 25, "height": 25, "rotation": 0},
            }]}],
        }],
        "isat": {
            "info": {"description": "ISAT", "name": f"{name}.png", "width": 64, "height": 48},
            "objects": [{"category": "a", "group": 1, "segmentation": PAIRS, "iscrowd": 0}],
        },
    }  # fmt: skip
    if kind == "labelme":
        write_labelme(folder / f"{name}.json", [square(5, 5, 20, "a")], size=(48, 64))
    elif kind == "cvat":
        (folder / "annotations.xml").write_text(CVAT.format(name))
    elif kind == "yolo":
        (folder / f"{name}.txt").write_text("0 0.1 0.1 0.5 0.1 0.5 0.5\n")
    elif kind == "voc":
        (folder / "Annotations").mkdir()
        (folder / "Annotations" / f"{name}.xml").write_text(VOC.format(name))
        (folder / "JPEGImages").mkdir()
        (folder / f"{name}.png").rename(folder / "JPEGImages" / f"{name}.png")
    else:
        (folder / "notes.json").write_text(json.dumps(tops[kind]))


NAMES = {
    "labelme": "LabelMe", "coco": "COCO", "via": "VIA", "labelstudio": "Label Studio", "isat": "ISAT", "cvat": "CVAT",
    "yolo": "YOLO", "voc": "VOC",
}  # fmt: skip


@pytest.mark.parametrize("kind", NAMES)
def test_each_format_alone_is_found_in_a_folder_below(segkit, here, kind):
    write(here / "in/a", kind)
    outcome = segkit("convert", "in", "--val", 0, "--json")
    assert (outcome.code, json.loads(outcome.out or "{}").get("format")) == (0, kind), outcome.err


@pytest.mark.parametrize(("first", "second"), [*combinations(NAMES, 2)])
def test_two_formats_are_refused_by_name_and_count(segkit, here, first, second):
    write(here / "in/a", first)
    write(here / "in/b", second)
    outcome = segkit("convert", "in", "--val", 0)
    error, hint = outcome.err.splitlines()
    assert outcome.code == 1
    assert error.startswith("error: in: has annotations in 2 formats: ")
    assert NAMES[first] in error
    assert NAMES[second] in error
    assert hint.startswith(f"hint: --from {first} or --from {second} says which to read")
    assert not (here / "dataset").exists()


def test_from_reads_the_format_that_it_names(segkit, here):
    for kind in NAMES:
        write(here / "in" / kind, kind)
    assert "in 8 formats" in segkit("convert", "in").err
    for kind in NAMES:
        outcome = segkit("convert", "in", "--from", kind, "--val", 0, "--json", "--force")
        top = json.loads(outcome.out)
        assert (outcome.code, top["format"], [*top["categories"].values()]) == (0, kind, [1]), outcome.err


def test_a_mix_among_many_files_of_one_format_is_found(segkit, here):
    for number in range(120):
        write_labelme(here / f"in/{number:03}.json", [square(5, 5, 20)], picture=number == 0)
    write(here / "in/z", "coco")
    outcome = segkit("convert", "in")
    assert outcome.code == 1
    assert "LabelMe (120 files, such as 000.json), COCO (z/notes.json)" in outcome.err


def test_results_and_lists_of_images_are_no_second_format(segkit, here):
    write(here / "in", "via")
    results = [{"image_id": 1, "category_id": 1, "score": 0.5, "bbox": [1, 1, 5, 5]}]
    (here / "in/results.json").write_text(json.dumps(results))
    (here / "in/test-info.json").write_text(json.dumps({"images": [], "categories": []}))
    outcome = segkit("convert", "in", "--val", 0, "--json")
    assert (outcome.code, json.loads(outcome.out)["format"]) == (0, "via"), outcome.err


def test_datasets_that_segkit_wrote_into_the_folder_are_no_second_format(segkit, here):
    write(here / "in", "labelme")
    for target in ("yolo", "voc", "idmask"):
        outcome = segkit("convert", "in", "--to", target, "--out", f"in/{target}")
        assert outcome.code == 0, outcome.err
    outcome = segkit("convert", "in", "--val", 0, "--json")
    assert [row["why"] for row in json.loads(outcome.out)["findings"]] == [
        "a dataset that segkit wrote: it is passed over; to convert it, name it"
    ] * 3


def test_masks_beside_other_annotations_are_noted(segkit, here):
    write(here / "in", "coco")
    picture(here / "in/images/a.png")
    mask(here / "in/masks/a.png", (1, 20))
    outcome = segkit("convert", "in", "--val", 0, "--json")
    rows = [row for row in json.loads(outcome.out)["findings"] if "mask" in row["why"]]
    assert [(row["action"], row["why"].partition(",")[0]) for row in rows] == [("noted", "1 picture has a mask")]
