"""VIA files: one attribute names the categories of a whole file; what is no category is kept or has a row."""

import json

import pytest
from mask_folders import areas, picture, whys

NUMBER = "label 3 is a number; read as a string"


def region(own, side=10, **outline):
    xs, ys = [5, 5 + side, 5 + side, 5], [5, 5, 15, 15]
    default = {"name": "polygon", "all_points_x": xs, "all_points_y": ys}
    return {"shape_attributes": outline or default, "region_attributes": own}


def via(here, *regions, name="in/via.json"):
    """A VIA file with one picture for each list of regions."""
    files = {}
    for number, each in enumerate(regions):
        picture(here / f"in/p{number}.png")
        files[f"p{number}.png-1"] = {"filename": f"p{number}.png", "size": -1, "regions": each}
    (here / name).write_text(json.dumps({"_via_img_metadata": files, "_via_settings": {}}))


def convert(segkit, *more, code=0):
    outcome = segkit("convert", "in", "--val", 0, *more)
    assert outcome.code == code, outcome.err
    return outcome


def test_numbers_are_categories_and_told(segkit, here):
    via(here, [region({"class": 3})], [region({"class": 4}, 20)])
    convert(segkit)
    assert areas(here / "dataset") == {"3": [100], "4": [200]}
    assert whys(here / "dataset")["repaired", NUMBER] == 1


def test_one_attribute_counts_for_the_whole_file(segkit, here):
    """By name it would be another one in each region, and sizes would be categories."""
    own = [{"size": "big", "defect": "crack", "id": n} for n in range(3)] + [{"size": "", "defect": "hole", "id": 9}]
    via(here, [region(each) for each in own])
    convert(segkit)
    assert areas(here / "dataset") == {"crack": [100, 100, 100], "hole": [100]}
    ((action, why),) = [each for each in whys(here / "dataset") if "attribute" in each[1]]
    assert (action, "'defect' names the categories: 4 of 4 regions" in why) == ("noted", True)
    found = json.loads((here / "dataset/train.json").read_text())["annotations"]
    assert found[0]["attributes"] == {"attributes": {"size": "big", "id": 0}}


def test_the_usual_names_count_before_others(segkit, here):
    via(here, [region({"note": "wet", "Class": "crack"}), region({"note": "wet", "Class": ""}, 20)])
    convert(segkit, "--strict", code=3)
    assert areas(here / "dataset") == {"crack": [100], "object": [200]}
    assert ("changed", "no value of 'Class': called 'object'") in whys(here / "dataset")


def test_ticked_boxes(segkit, here):
    boxes = [{"crack": True}, {"hole": True, "crack": False}, {"hole": True, "crack": True}, {}]
    via(here, [region({"kind": each}) for each in boxes])
    convert(segkit, "--strict", code=3)
    assert {name: len(found) for name, found in areas(here / "dataset").items()} == {"crack": 1, "hole": 2, "object": 1}
    assert ("changed", "2 boxes of 'kind' are ticked: the first is the category") in whys(here / "dataset")


def test_regions_without_attributes_are_objects_with_a_note(segkit, here):
    via(here, [region({})])
    convert(segkit, "--strict")
    assert areas(here / "dataset") == {"object": [100]}
    assert [action for action, _ in whys(here / "dataset")] == ["noted"]


def test_lines_and_points_have_rows_or_areas(segkit, here):
    line = {"name": "polyline", "all_points_x": [5, 25], "all_points_y": [30, 30]}
    point = {"name": "point", "cx": 40, "cy": 30}
    via(here, [region({"c": "a"}), region({"c": "a"}, **line), region({"c": "a"}, **point), region({"c": "a"}, x=1)])
    convert(segkit, "--strict", code=3)
    assert [action for action, _ in whys(here / "dataset")] == ["left out"] * 3
    convert(segkit, "--force", "--line-width", 4, "--point-radius", 3)
    assert len(areas(here / "dataset")["a"]) == 3


@pytest.mark.parametrize("chosen", ["auto", "via"])
def test_projects_of_via_3_are_recognised(segkit, here, chosen):
    picture(here / "in/a.png")
    top: dict[str, object] = {"project": {}, "config": {}, "attribute": {}, "file": {}, "metadata": {}}
    (here / "in/p.json").write_text(json.dumps(top))
    outcome = convert(segkit, "--from", chosen, code=1)
    assert "VIA 3" in outcome.err
    assert "VIA 2" in outcome.err
