"""Results of other tools that are not quite COCO's: scored with a warning, or refused with what to do."""

import json

import pytest
from test_evaluate_together import CATEGORIES, annotation, result, write

IMAGES = [{"id": n, "file_name": f"set/{n:04}.png", "height": 48, "width": 64} for n in (1, 2)]
TRUTH = {
    "images": IMAGES,
    "annotations": [annotation(1, 1, 1, 30, 20, 20), annotation(2, 2, 2, 40, 25, 18)],
    "categories": CATEGORIES,
}
RESULTS = [result(1, 1, 0.9, 30, 20, 20, 20), result(2, 2, 0.8, 40, 25, 18, 18)]


def boxes(convert):
    return [
        {**{k: v for k, v in each.items() if k != "segmentation"}, "bbox": convert(*each["bbox"])} for each in RESULTS
    ]


@pytest.fixture
def evaluated(segkit, tmp_path):
    def run(results, *options):
        data, file = write(tmp_path / "t.json", TRUTH), write(tmp_path / "r.json", results)
        outcome = segkit("eval", file, "--data", data, *options)
        assert "Traceback" not in outcome.err
        return outcome

    return run


@pytest.mark.parametrize("name", ["set/{:04}.png", "{:04}.png", "{:04}", "set/{:04}"])
@pytest.mark.parametrize("options", [(), ("--details",)])
def test_images_and_categories_are_matched_by_name(evaluated, here, name, options):
    named = [each | {"image_id": name.format(each["image_id"])} for each in RESULTS]
    scores = json.loads(evaluated(named, "--json", *options).out)
    assert scores["segm"]["AP50"] == pytest.approx(1)
    assert "the image_ids of the results are names, and were matched to the data by name" in scores["warnings"]
    named = [each | {"category_id": "ab"[each["category_id"] - 1]} for each in RESULTS]
    scores = json.loads(evaluated(named, "--json", *options).out)
    assert scores["segm"]["AP50"] == pytest.approx(1)
    assert "the category_ids of the results are names, and were matched to the data by name" in scores["warnings"]


def test_names_that_the_data_does_not_have_are_refused(evaluated):
    named = [each | {"image_id": f"{each['image_id'] + 1:04}"} for each in RESULTS]
    assert "2 images of the results are not in the annotations: 0002, 0003" in evaluated(named).err


@pytest.mark.parametrize("options", [(), ("--engine", "pycocotools")])
def test_boxes_that_are_not_x_y_width_height_are_said(evaluated, options):
    corners = boxes(lambda x, y, w, h: [x, y, x + w, y + h])
    assert "2 of 2 boxes of the results reach beyond their image: are they corners" in evaluated(corners, *options).err
    shares = boxes(lambda x, y, w, h: [x / 64, y / 48, w / 64, h / 48])
    assert (
        "all boxes of the results lie within one pixel: are they shares of the image?"
        in evaluated(shares, *options).err
    )
    assert "boxes of the results" not in evaluated(boxes(lambda *box: list(box)), *options).err


def test_categories_that_are_counted_from_zero_are_said(evaluated):
    lower = [each | {"category_id": each["category_id"] - 1} for each in RESULTS]
    said = "1 result is of a category that the data does not have, and does not count: 0; does their tool count"
    assert said in evaluated(lower).err
    other = [*RESULTS, RESULTS[0] | {"category_id": 7}]
    assert "does not count: 7\n" in evaluated(other).err


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ({"predictions": RESULTS}, "it must be a list of results\nhint: save the list under 'predictions' alone"),
        (TRUTH, "if results are to be compared with annotations: segkit eval RESULTS.json --data"),
        ({"info": 1}, "it must be a list of results\n"),
        ([RESULTS[0] | {"score": "0.9"}], "result 0: its score is '0.9', not a finite number"),
        ([RESULTS[0] | {"segmentation": {"size": [48, 64], "counts": "b'PPP'"}}], "Python bytes that were written"),
        ([RESULTS[0] | {"segmentation": {"size": [64, 48], "counts": "PPT3"}}], "height and width are the other way"),
    ],
)  # fmt: skip
def test_what_to_do_is_said(evaluated, results, message):
    outcome = evaluated(results)
    assert outcome.code == 1
    assert message in outcome.err


def test_results_without_annotations(segkit, here):
    file, data = write(here / "r.json", RESULTS), write(here / "t.json", {**TRUTH, "annotations": []})
    refused = segkit("eval", file)
    assert "there is no folder dataset with annotations to compare the results with\nhint: name them" in refused.err
    refused = segkit("eval", file, "--data", data, "--compare", file)
    assert refused.code == 1
    assert "there is nothing to compare: it has no annotations, or only crowds" in refused.err
