"""Inputs on which pycocotools crashes or miscounts: each gives the right number, or one clear message."""

import contextlib
import io
import json

import numpy as np
import pytest
from coco_pairs import random_pair
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from segkit.evaluation.coco.fast_path import check_files

ONE = pytest.approx(1, abs=1e-12)  # COCOeval adds the smallest number to what it divides by
SQUARE = [[2, 2, 12, 2, 12, 12, 2, 12]]
IMAGE = {"id": 1, "file_name": "a.png", "height": 40, "width": 60}
TRUTH = {
    "id": 1, "image_id": 1, "category_id": 1, "segmentation": SQUARE, "bbox": [2, 2, 10, 10], "area": 100, "iscrowd": 0,
}  # fmt: skip
FOUND = {"image_id": 1, "category_id": 1, "score": 0.9, "segmentation": SQUARE, "bbox": [2, 2, 10, 10]}


def document(*annotations, images=(IMAGE,), categories=({"id": 1, "name": "nut"},)):
    return {"images": list(images), "annotations": list(annotations), "categories": list(categories)}


def without(record, *keys):
    return {name: value for name, value in record.items() if name not in keys}


@pytest.fixture
def evaluated(segkit, here):
    """The output of ``eval --json`` for annotations and results."""

    def run(truth, results, *options):
        (here / "t.json").write_text(json.dumps(truth))
        (here / "r.json").write_text(json.dumps(results))
        outcome = segkit("eval", "r.json", "--data", "t.json", "--json", *options)
        assert "Traceback" not in outcome.err
        assert outcome.code == 0, outcome.err
        return json.loads(outcome.out)

    return run


@pytest.fixture
def refused(segkit, here):
    """The error message of ``eval``."""

    def run(truth, results, *options):
        (here / "t.json").write_text(json.dumps(truth))
        (here / "r.json").write_text(json.dumps(results))
        outcome = segkit("eval", "r.json", "--data", "t.json", "--json", *options)
        assert outcome.code == 1
        assert outcome.out == ""
        return outcome.err

    return run


@pytest.mark.parametrize("missing", ["area", "iscrowd", "bbox"])
def test_a_missing_key_is_computed_from_the_others(evaluated, missing):
    scores = evaluated(document(without(TRUTH, missing)), [FOUND])
    assert scores["segm"]["AP"] == scores["bbox"]["AP"] == ONE
    assert scores["segm"]["APs"] == ONE, "an area of 100 is small"


def test_a_missing_area_is_that_of_the_mask_and_not_of_the_box(evaluated):
    """A thin diagonal across 100 x 100 pixels is a small instance in a large box."""
    image = IMAGE | {"height": 100, "width": 100}
    thin = {"segmentation": [[0, 0, 3, 0, 99, 96, 99, 99, 96, 99, 0, 3]], "bbox": [0, 0, 99, 99]}
    scores = evaluated(document(without(TRUTH | thin, "area"), images=[image]), [FOUND | thin])
    assert scores["segm"]["APs"] == ONE
    assert scores["segm"]["APl"] == -1.0


def test_annotation_id_0(evaluated):
    """pycocotools' own number, the number with ids from 1, and a warning."""
    scores = evaluated(document(TRUTH | {"id": 0}), [FOUND])
    assert scores["segm"]["AP"] == 0.0
    assert scores["segm"]["renumbered"]["AP"] == ONE
    assert "id 0" in scores["warnings"][0]
    assert "0.0000" in scores["warnings"][0]
    assert "1.0000" in scores["warnings"][0]


def test_string_ids(evaluated):
    image, category = IMAGE | {"id": "img-a"}, {"id": "nut", "name": "nut"}
    of = {"image_id": "img-a", "category_id": "nut"}
    truth = document(TRUTH | of | {"id": "x"}, images=[image, IMAGE | {"id": "img-b"}], categories=[category])
    scores = evaluated(truth, [FOUND | of])
    assert scores["segm"]["AP"] == ONE
    assert scores["segm"]["per_category"]["nut"]["AP"] == ONE


def test_string_ids_give_the_numbers_of_integer_ids(evaluated):
    truth, results = random_pair(np.random.default_rng(5), images=6, categories=3)
    expected = evaluated(truth, results)
    for record in (*truth["images"], *truth["categories"], *truth["annotations"]):
        record["id"] = f"{record['id']:04}"
    for record in (*truth["annotations"], *results):
        record["image_id"], record["category_id"] = f"{record['image_id']:04}", f"{record['category_id']:04}"
    found = evaluated(truth, results)
    assert found.pop("about")["subject"]["digest"] != expected.pop("about")["subject"]["digest"]
    assert found == expected


def test_an_empty_segmentation_among_others_is_a_false_negative(evaluated):
    scores = evaluated(document(TRUTH, TRUTH | {"id": 2, "segmentation": []}), [FOUND], "--iou", "segm")
    assert scores["segm"]["AR100"] == 0.5
    assert scores["warnings"] == ["1 annotation has an empty segmentation: masks that can only be false negatives"]


def test_boxes_only(evaluated, refused):
    truth, results = document(without(TRUTH, "segmentation")), [without(FOUND, "segmentation")]
    assert "segm" not in evaluated(truth, results)
    assert evaluated(truth, results)["bbox"]["AP"] == ONE
    assert refused(truth, results, "--iou", "segm").endswith("hint: score its boxes: --iou bbox\n")
    assert refused(document(TRUTH), results, "--iou", "segm").startswith("error: result 0 has no segmentation\n")


def test_masks_only(evaluated):
    """Boxes come from masks, as loadRes makes them."""
    scores = evaluated(document(TRUTH), [without(FOUND, "bbox")], "--iou", "segm,bbox")
    assert scores["segm"]["AP"] == scores["bbox"]["AP"] == ONE


def test_no_results_and_no_annotations(evaluated):
    assert evaluated(document(TRUTH), [])["segm"]["AP"] == 0.0
    scores = evaluated(document(), [FOUND])
    assert scores["segm"]["AP"] == -1.0
    assert scores["warnings"] == ["the data has no annotations: there is nothing to score"]


def test_results_of_unknown_categories_are_left_out_with_a_warning(evaluated):
    scores = evaluated(document(TRUTH), [FOUND, FOUND | {"category_id": 9}])
    assert scores["segm"]["AP"] == ONE
    assert scores["warnings"] == ["1 result is of a category that the data does not have, and does not count: 9"]


def test_two_categories_of_equal_name_stay_separate(evaluated):
    names = [{"id": 1, "name": "nut"}, {"id": 2, "name": "nut"}]
    scores = evaluated(document(TRUTH, TRUTH | {"id": 2, "category_id": 2}, categories=names), [FOUND])
    assert {name: n["AP"] for name, n in scores["segm"]["per_category"].items()} == {"nut (1)": ONE, "nut (2)": 0.0}


ODD_RUNS = "the run lengths do not add up to the pixels of the image"
ODD = [
    (
        document(TRUTH, images=[IMAGE, IMAGE | {"file_name": "other.png"}]),
        [FOUND],
        "error: t.json: image id 1 is that of 2: ",
    ),
    (
        document(TRUTH, images=[IMAGE | {"height": 10**6, "width": 10**6}]),
        [FOUND],
        "error: t.json: image 1 has no size that can be used",
    ),
    (
        document(TRUTH, images=[IMAGE | {"height": 0}]),
        [FOUND],
        "error: t.json: image 1 has no size that can be used",
    ),
    (
        document(TRUTH),
        [FOUND | {"image_id": 7}],
        "error: r.json: 1 image of the results is not in the annotations: 7",
    ),
    (
        document(TRUTH),
        [FOUND | {"segmentation": {"size": [60, 40], "counts": [2400]}}],
        "error: result 0: the mask has 60x40, the image 40x60 pixels (height x width): height and width are the other",
    ),
    (
        document(TRUTH),
        [FOUND | {"segmentation": {"size": [20, 30], "counts": [600]}}],
        "error: result 0: the mask has 20x30, the image 40x60 pixels (height x width)\nhint: were images resized",
    ),
    (document(TRUTH), [FOUND | {"score": float("nan")}], "error: r.json: result 0: its score is nan"),
    (document(TRUTH), [FOUND | {"score": None}], "error: r.json: result 0: "),
    (document(TRUTH), [FOUND | {"bbox": [1, 2, 3]}], "error: r.json: result 0: bbox has 3 numbers, not 4"),
    (document(TRUTH), [without(FOUND, "bbox", "segmentation")], "error: result 0 has no segmentation"),
    (
        document(TRUTH | {"segmentation": {"size": [9, 9], "counts": [81]}}),
        [FOUND],
        "error: t.json: annotation 1: the mask has 9x9, the image",
    ),
    # Run lengths that do not add up keep pycocotools and the fast engine in an endless loop.
    *(
        (
            document(TRUTH),
            [FOUND | {"segmentation": {"size": [40, 60], "counts": counts}}],
            f"error: result 0: {ODD_RUNS}",
        )
        for counts in ([82, 10, 30, 10], [82, 10, 5000], "f31", "P", [2410, -10])
    ),
]


@pytest.mark.parametrize(("truth", "results", "message"), ODD)
def test_inputs_that_cannot_be_scored(refused, truth, results, message):
    assert refused(truth, results).startswith(message)


@pytest.mark.parametrize(
    ("truth", "results", "message"),
    [
        (TRUTH | {"segmentation": [["a", 2, 3, 4, 5, 6]]}, FOUND, "error: t.json: annotation 1: a polygon must be"),
        (TRUTH | {"segmentation": "abc"}, FOUND, "error: t.json: annotation 1: a segmentation is 'abc', neither"),
        (
            TRUTH | {"segmentation": [], "bbox": [1, 2, 3]},
            FOUND,
            "error: t.json: annotation 1: bbox has 3 numbers, not 4",
        ),
        (TRUTH | {"category_id": 9}, FOUND, "error: t.json: annotation 1: category_id is 9, which is not in the file"),
        (TRUTH, FOUND | {"segmentation": [[["a", 2]]]}, "error: r.json: result 0: a polygon must be a list of numbers"),
        (TRUTH, FOUND | {"segmentation": {"counts": [2400]}}, "error: r.json: result 0: RLE needs a size"),
        (TRUTH, FOUND | {"image_id": [1]}, "error: r.json: result 0: image_id is [1]"),
        (TRUTH, FOUND | {"bbox": [2, 2, None, 10]}, "error: r.json: result 0: bbox holds None, which is"),
        (TRUTH, FOUND | {"score": 10**400}, "error: r.json: result 0: "),
        (TRUTH, 5, "error: r.json: result 0 is 5, not a record"),
    ],
)
@pytest.mark.parametrize("options", [(), ("--engine", "pycocotools")])
def test_malformed_records_are_named(refused, truth, results, message, options):
    assert refused(document(truth), [results], *options).startswith(message)


def test_ids_beyond_64_bits(evaluated):
    huge = 2**63 + 5
    of = {"image_id": huge, "category_id": huge + 1}
    truth = document(
        TRUTH | of | {"id": 10**30}, images=[IMAGE | {"id": huge}], categories=[{"id": huge + 1, "name": "a"}]
    )
    assert evaluated(truth, [FOUND | of])["segm"]["AP"] == ONE


def test_annotation_id_0_among_other_ids(evaluated):
    """The id 0 is reported, whatever the other ids are."""
    for other in (-1, "x", 2**70):
        scores = evaluated(document(TRUTH | {"id": 0}, TRUTH | {"id": other, "category_id": 1}), [FOUND])
        assert "renumbered" in scores["segm"], other


def test_only_results_of_predict_are_matched_by_file_name(segkit, here):
    """images.json belongs to segkit predict's results.json; another tool's results keep the data's ids."""
    two = [IMAGE | {"id": 1, "file_name": "a.png"}, IMAGE | {"id": 2, "file_name": "b.png"}]
    (here / "t.json").write_text(json.dumps(document(TRUTH, images=two)))
    swapped = [two[0] | {"id": 2}, two[1] | {"id": 1}]
    (here / "images.json").write_text(json.dumps(document(images=swapped)))
    for name, image_id in (("results.json", 2), ("theirs.json", 1)):
        (here / name).write_text(json.dumps([FOUND | {"image_id": image_id}]))
        outcome = segkit("eval", name, "--data", "t.json", "--json")
        assert json.loads(outcome.out)["segm"]["AP"] == ONE, name
    (here / "results.json").write_text(json.dumps([FOUND | {"image_id": 77}]))
    outcome = segkit("eval", "results.json", "--data", "t.json")
    assert outcome.err.startswith("error: results.json: image 77 is not in the images.json of the results")


def test_the_first_result_decides_how_areas_are_computed(tmp_path, evaluated, here):
    """As in loadRes: if the first result has a box, all areas are those of boxes, else all are those of masks."""
    truth, results = random_pair(np.random.default_rng(8), images=4)
    results[0].pop("bbox")
    scores = evaluated(truth, results, "--iou", "segm")
    assert check_files(here / "t.json", here / "r.json") is None
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(here / "t.json"))
        run = COCOeval(coco, coco.loadRes(str(here / "r.json")), "segm")
        run.evaluate()
        run.accumulate()
        run.summarize()
    assert [scores["segm"][name] for name in ("AP", "APs", "APm", "APl")] == [run.stats[i] for i in (0, 3, 4, 5)]


def test_the_engine_is_named_and_can_be_chosen(evaluated):
    fast, slow = (evaluated(document(TRUTH), [FOUND], "--engine", name) for name in ("fast", "pycocotools"))
    assert fast.pop("engine").startswith("ultrafast-pycocotools ")
    assert slow.pop("engine").startswith("pycocotools ")
    assert (fast.pop("about")["options"]["engine"], slow.pop("about")["options"]["engine"]) == ("fast", "pycocotools")
    assert fast == slow
