"""COCO files as a whole: ids, categories and images that are odd, and COCO's files of other kinds."""

import json

import pytest
from coco_files import SQUARE, annotation, box, document, draw, image, rows, write

RESULT = {"image_id": 1, "category_id": 1, "score": 0.9, "segmentation": [SQUARE], "bbox": [5, 5, 20, 20]}


@pytest.fixture
def trained(segkit):
    return lambda data: segkit("train", data, "--model", "unet", "--weights", "none", "--size", 32, "--steps", 1,
                               "--batch", 2, "--device", "cpu", "--workers", 0)  # fmt: skip


@pytest.fixture
def scored(segkit, here):
    def run(data, *results):
        write(here / "r.json", list(results or [RESULT]))
        return segkit("eval", "r.json", "--data", data, "--iou", "segm", "--json")

    return run


def written(here, top):
    draw(here / "in")
    return write(here / "in/t.json", top)


def categories(here):
    return {c["id"]: c["name"] for c in json.loads((here / "dataset/train.json").read_text())["categories"]}


@pytest.mark.parametrize(
    ("ids", "references"),
    [((1, 2, 3), ("1", "2", "3")), (("1", "2", "3"), (1, 2, 3)), ((1, 2, 3), (1.0, 2.0, 3.0)), (("a", "b", "c"),) * 2],
)
def test_ids_match_as_number_text_or_float(segkit, here, trained, scored, ids, references):
    images = [image(n, id=own) for n, own in enumerate(ids, 1)]
    top = document([annotation(n, own) for n, own in enumerate(references, 1)], images)
    data = written(here, top)
    assert segkit("convert", data, "--val", 0).code == 0
    assert len(json.loads((here / "dataset/train.json").read_text())["annotations"]) == 3
    assert [row["action"] for row in rows(here / "dataset")] == (["repaired"] if ids != references else [])
    assert references != ("1", "2", "3") or trained(data).code == 0
    metrics = json.loads(scored(data, *(RESULT | {"image_id": own} for own in references)).out)
    assert metrics["segm"]["AP"] == pytest.approx(1.0)


@pytest.mark.parametrize("ids", [(1, "b"), (10**30, 2)])
def test_any_ids_of_images_can_be_trained_on_and_scored(here, trained, scored, ids):
    images = [image(n, id=own) for n, own in enumerate(ids, 1)]
    data = written(here, document([annotation(n, own) for n, own in enumerate(ids, 1)], images))
    (here / "in/val.json").write_text(data.read_text())
    assert trained(data).code == 0
    metrics = json.loads(scored(data, *(RESULT | {"image_id": own} for own in ids)).out)
    assert metrics["segm"]["AP"] == pytest.approx(1.0)


@pytest.mark.parametrize("own", ["2", 2.0])
def test_category_ids_match_as_number_text_or_float(segkit, here, scored, own):
    data = written(here, document([annotation(1, 1), annotation(2, 2, own)], categories=("nut", "bolt")))
    assert segkit("convert", data, "--val", 0).code == 0
    report = json.loads((here / "dataset/report.json").read_text())
    assert report["categories"] == {"nut": 1, "bolt": 1}
    metrics = json.loads(scored(data, RESULT, RESULT | {"image_id": 2, "category_id": own}).out)
    assert metrics["segm"]["AP"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("above", "names"),
    [(("vehicle", "animal"), ["other (vehicle)", "other (animal)"]), ((None, None), ["other (1)", "other (2)"])],
)
def test_two_categories_of_one_name_stay_two(segkit, here, trained, scored, above, names):
    listed = [{"id": n, "name": "other", "supercategory": each} for n, each in enumerate(above, 1)]
    data = written(here, document([annotation(1, 1, 1), annotation(2, 2, 2)], categories=listed))
    assert segkit("convert", data, "--val", 0, "--strict").code == 3
    assert list(categories(here).values()) == names
    (row,) = (row for row in rows(here / "dataset") if row["action"] == "repaired")
    assert all(name in row["why"] for name in names)
    if above[0]:
        assert trained(data).code == 0
        assert (here / "runs/unet-1/labels.txt").read_text().splitlines() == names
    assert [*json.loads(scored(data).out)["segm"]["per_category"]] == names


def test_a_file_without_categories_has_them_named_after_their_ids(segkit, here, scored):
    top = document([annotation(1, 1, 4), annotation(2, 2, 7)])
    del top["categories"]
    data = written(here, top)
    assert segkit("convert", data, "--val", 0).code == 0
    assert [*categories(here).values()] == ["class_4", "class_7"]
    assert scored(data, RESULT | {"category_id": 4}).code == 0


def test_annotations_of_an_image_id_that_two_images_have_are_left_out(segkit, here, trained, scored):
    images = [image(1), image(2, id=1), image(3)]
    data = written(here, document([annotation(1, 1), annotation(2, 3)], images))
    assert segkit("convert", data, "--val", 0).code == 0
    found = rows(here / "dataset")
    why = "image id 1 is that of 2: 'p1.png', 'p2.png'"
    assert [(row["why"], row["shapes"]) for row in found] == [(why, 0), (why, 1)]
    for refused in (trained(data), scored(data)):
        assert refused.code == 1
        assert f"error: {data}: {why}" in refused.err


def test_records_that_are_there_twice_count_once(segkit, here, scored):
    top = document([annotation(1, 1), annotation(2, 2)], [image(1), image(1), image(2)])
    top["categories"] *= 2
    data = written(here, top)
    assert segkit("convert", data, "--val", 0).code == 0
    assert {row["why"] for row in rows(here / "dataset")} == {
        "1 image records are there twice: the first is used",
        "1 category records are there twice: the first is used",
    }
    assert scored(data).code == 0


def test_annotation_ids_that_are_missing_or_used_twice_are_numbered_anew(here, scored):
    bare = annotation(0, 3)
    del bare["id"]
    data = written(here, document([annotation(1, 1), annotation(1, 2), bare]))
    metrics = json.loads(scored(data, *(RESULT | {"image_id": n} for n in (1, 2, 3))).out)
    assert f"{data}: 2 annotation ids are missing or used twice: all are numbered anew" in metrics["warnings"]
    assert metrics["segm"]["AP"] == pytest.approx(1.0)


def test_one_bad_image_record_does_not_cost_the_others(segkit, here):
    images = [image(1), image(2, file_name=5), {"file_name": "p3.png"}, "nonsense"]
    data = written(here, document([annotation(1, 1), annotation(2, 2)], images))
    assert segkit("convert", data, "--val", 0).code == 0
    found = rows(here / "dataset")
    assert [row["shapes"] for row in found if row["action"] == "left out"] == [0, 0, 0, 1]
    assert any(row["why"] == "image 2: file_name is 5, not a string" for row in found)


def test_what_has_no_place_has_a_row_for_the_file(segkit, here):
    images = [image(n, license=1, neg_category_ids=[1], coco_url=f"http://x/p{n}.png") for n in (1, 2, 3)]
    listed = [{"id": 1, "name": "nut", "supercategory": "part", "skeleton": [[1, 2]]}]
    top = document([annotation(n, n, keypoints=[1, 2, 2]) for n in (1, 2, 3)], images, listed)
    data = written(here, top | {"info": {"year": 2020}, "licenses": [{"id": 1}]})
    assert segkit("convert", data, "--val", 0).code == 0
    assert {row["why"]: row["action"] for row in rows(here / "dataset")} == {
        "1 supercategory of 1 category is not kept": "changed",
        "of categories, skeleton are not kept": "changed",
        "of images, neg_category_ids are not kept: --lvis needs the original file": "changed",
        "info and licenses of the file are not kept": "noted",
        "of images, coco_url, license are not kept": "noted",
    }
    kept = json.loads((here / "dataset/train.json").read_text())["annotations"]
    assert kept[0]["attributes"] == {"keypoints": [1, 2, 2]}


@pytest.mark.parametrize(
    ("top", "why"),
    [
        ([RESULT], "a COCO results file: it has no images"),
        (document([{"id": 1, "image_id": 1, "caption": "a nut"}]), "captions of images: there are no instances in it"),
        ({"images": [image(1)], "categories": []}, "a list of images without annotations"),
        (document(None), "annotations is None, not a list"),
        (document([annotation(1)], {"1": image(1)}), "images is {"),
    ],
)
def test_cocos_files_of_other_kinds_are_named(segkit, here, trained, scored, top, why):
    data = written(here, top)
    for outcome in (segkit("convert", "in"), trained(data), scored(data)):
        assert outcome.code == 1
        assert why in outcome.err
        assert outcome.err.startswith("error: ")
        assert "Traceback" not in outcome.err


def test_files_of_one_set_of_images_are_one_image_each(segkit, here):
    """The folder that COCO offers: instances, keypoints and captions of the same images."""
    images = [image(1), image(2)]
    folder = here / "in/annotations"
    draw(here / "in/images", 2)
    pose = {"keypoints": [1, 2, 2], "num_keypoints": 1}
    write(folder / "captions_train2017.json", {"images": images, "annotations": [{"image_id": 1, "caption": "a"}]})
    write(folder / "instances_train2017.json",
          document([annotation(1, 1), annotation(2, 2), annotation(3, 2)], images, ("nut",)))  # fmt: skip
    write(folder / "person_keypoints_train2017.json",
          document([annotation(1, 1, **pose), box(9, 2, (40, 20, 9, 9))], images, ("nut",)))  # fmt: skip
    assert segkit("convert", "in", "--val", 0).code == 0
    top = json.loads((here / "dataset/train.json").read_text())
    assert [each["file_name"] for each in top["images"]] == ["p1.png", "p2.png"]
    assert [(each["image_id"], bool(each["segmentation"])) for each in top["annotations"]] == [
        (1, True), (2, True), (2, True), (2, False),
    ]  # fmt: skip
    assert top["annotations"][0]["attributes"] == pose
    report = json.loads((here / "dataset/report.json").read_text())
    assert (report["shapes"], report["converted"], report["lost"]) == (5, 5, 0)
    why = {row["file"]: row["why"] for row in rows(here / "dataset")}
    assert why["annotations/captions_train2017.json"] == "captions of images: there are no instances in it"
    assert why["annotations/person_keypoints_train2017.json"] == (
        "2 images are also in annotations/instances_train2017.json: one image with the annotations of both"
    )


def test_images_of_the_same_name_in_two_splits_stay_two(segkit, here):
    for split in ("train", "val"):
        draw(here / "in" / split, 1)
        write(here / f"in/annotations/instances_{split}.json", document([annotation(1)], images=1))
    assert segkit("convert", "in").code == 0
    assert {split: len(json.loads((here / f"dataset/{split}.json").read_text())["images"])
            for split in ("train", "val")} == {"train": 1, "val": 1}  # fmt: skip


def test_thousands_of_equal_findings_are_one_line_on_the_terminal(segkit, here):
    data = written(here, document([annotation(1), *(annotation(n, 1000 + n) for n in range(3000))]))
    outcome = segkit("convert", data, "--val", 0)
    assert outcome.code == 0
    assert len(outcome.err.splitlines()) < 25
    assert "3000" in outcome.err
    assert len(rows(here / "dataset")) == 3000


@pytest.mark.parametrize("kind", ["coco", "via", "auto"])
def test_deep_nesting_is_a_message(segkit, here, kind):
    draw(here / "in", 1)
    (here / "in/x.json").write_text("[" * 100_000 + "]" * 100_000)
    write(here / "r.json", [RESULT])
    commands = [("convert", "in", "--from", kind), ("train", "in/x.json"), ("eval", "r.json", "--data", "in/x.json"),
                ("eval", "in/x.json", "--data", "in/x.json")]  # fmt: skip
    for command in commands:
        outcome = segkit(*command)
        assert outcome.code == 1
        assert "x.json: not valid JSON: nested too deeply" in outcome.err


def test_the_sides_of_an_rle_that_are_swapped_are_told_by_its_box(segkit, here, scored):
    draw(here / "in", 4)
    by_columns = {"size": [64, 48], "counts": [5 * 48 + 5, *([10, 38] * 9), 10, 64 * 48 - 5 * 48 - 5 - 9 * 48 - 10]}
    by_rows = {"size": [64, 48], "counts": [5 * 64 + 5, *([10, 54] * 9), 10, 64 * 48 - 5 * 64 - 5 - 9 * 64 - 10]}
    flat = {"bbox": [5, 5, 10, 10], "area": 100}
    odd = [annotation(n, n, segmentation=rle, **flat) for n, rle in ((1, by_columns), (2, by_rows))]
    data = written(here, document([*odd, annotation(3, 3)]))
    assert segkit("convert", data, "--val", 0).code == 0
    kept = json.loads((here / "dataset/train.json").read_text())["annotations"]
    assert [(each["area"], each["bbox"]) for each in kept] == [(100, [5, 5, 10, 10])] * 2 + [(400, [5, 5, 20, 20])]
    assert {row["action"] for row in rows(here / "dataset")} == {"repaired"}
    found = [RESULT | {"image_id": n, "segmentation": [[5, 5, 15, 5, 15, 15, 5, 15]]} for n in (1, 2)]
    assert json.loads(scored(data, *found, RESULT | {"image_id": 3}).out)["segm"]["AP"] == pytest.approx(1.0)
    for each in odd:
        del each["bbox"]
    (here / "in/t.json").write_text(json.dumps(document([*odd, annotation(3, 3)])))
    assert segkit("convert", data, "--val", 0, "--force").code == 0
    assert [row["action"] for row in rows(here / "dataset")] == ["left out", "left out"]


def test_lvis_lists_match_as_number_text_or_float(segkit, here):
    lists = {"neg_category_ids": ["2", [1]], "not_exhaustive_category_ids": [2.0]}
    top = document([annotation(1, "1", "1")], [image(1, id="1", **lists)], ("nut", "bolt"))
    data = written(here, top)
    write(here / "r.json", [RESULT])
    outcome = segkit("eval", "r.json", "--data", data, "--iou", "segm", "--lvis", "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["lvis"]["segm"]["AP"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("score", "why"),
    [
        ("-" + "9" * 400, "-999999999999999999999999999999999999..., which is too large"),
        ("NaN", "nan, not a finite number"),
        ("1e999", "inf, not a finite number"),
        ('"0.5"', "'0.5', not a finite number"),
        ("true", "True, not a finite number"),
    ],
)
def test_a_score_that_is_none_is_named_as_what_it_is(segkit, here, score, why):
    data = written(here, document([annotation(1)], 1))
    (here / "r.json").write_text(json.dumps([RESULT]).replace("0.9", score))
    outcome = segkit("eval", "r.json", "--data", data)
    assert outcome.code == 1
    assert outcome.err.startswith(f"error: r.json: result 0: its score is {why}\n")


@pytest.mark.parametrize("options", [[], ["--engine", "pycocotools"], ["--details"]])
def test_a_large_score_is_a_score(segkit, here, options):
    data = written(here, document([annotation(1)], 1))
    write(here / "r.json", [RESULT | {"score": 1e308}, RESULT | {"score": -1e308}])
    outcome = segkit("eval", "r.json", "--data", data, "--iou", "segm", "--json", *options)
    metrics = json.loads(outcome.out)
    assert metrics["segm"]["AP"] == pytest.approx(1.0)
    assert any("scores are from -1e+308 to 1e+308 and not from 0 to 1" in warning for warning in metrics["warnings"])


def test_numbers_that_are_too_large_are_not_called_infinite(segkit, here):
    data = written(here, document([annotation(1, area=1e308), annotation(2, bbox=[0, 0, 1e308, 5])], 1))
    assert segkit("convert", data, "--val", 0).code == 0
    assert {row["why"] for row in rows(here / "dataset")} == {
        "area is too large: computed from the segmentation",
        "bbox is not four numbers within reach: computed from the segmentation",
        "duplicate: 1 annotation has category, box and area of an earlier one",
    }
    (here / "r.json").write_text(json.dumps([RESULT | {"bbox": [0, 0, 1e308, 5]}]))
    outcome = segkit("eval", "r.json", "--data", data)
    assert "bbox holds 1e+308, which is more than a million pixels away" in outcome.err
