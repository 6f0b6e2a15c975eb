"""Own size classes, and the rules by which other tools score."""

import json

import numpy as np
import pytest
from coco_pairs import random_pair

from segkit.config.evaluate import EvalConfig
from segkit.data.masks import mask_to_rle, rle_area, rle_to_mask
from segkit.data.records import Annotation, Category, Dataset, Image, Result
from segkit.evaluation.coco.score import score_results
from segkit.evaluation.coco.streaming import Stream
from segkit.evaluation.evaluation import Evaluation
from segkit.evaluation.metrics import Metrics
from segkit.evaluation.other_tools import scene as rules
from segkit.evaluation.other_tools.rows import area_under_curve, rows_as
from segkit.evaluation.other_tools.scene import Scene
from segkit.evaluation.results_file import evaluate_results
from segkit.formats.coco.file import read_coco, read_results

COCO_EDGES = (0.0, 32.0**2, 96.0**2)
SIDE = 320


def pair(folder, seed, **options):
    truth, results = random_pair(np.random.default_rng(seed), **options)
    (folder / "t.json").write_text(json.dumps(truth))
    (folder / "r.json").write_text(json.dumps(results))
    return read_coco(folder / "t.json"), read_results(folder / "r.json")


@pytest.mark.parametrize("engine", ["fast", "pycocotools"])
@pytest.mark.parametrize("seed", range(3))
def test_the_classes_of_coco_score_as_coco_scores_them(tmp_path, seed, engine):
    """From files, from records with boundaries, and from a stream; the twelve numbers stay as they are."""
    dataset, results = pair(tmp_path, seed, images=6)
    plain = score_results(dataset, results, ("segm", "bbox", "boundary"), engine=engine)
    streamed = [Stream(dataset, ("segm", "bbox"), engine=engine, areas=COCO_EDGES) for _ in range(2)]
    for n, image in enumerate(dataset.images):
        streamed[n % 2].add([image], [r for r in results if r.image_id == image.id])
    config = EvalConfig(
        subject=tmp_path / "r.json", data=tmp_path / "t.json", iou=("segm", "bbox"), areas=COCO_EDGES, engine=engine
    )
    for metrics in (
        score_results(dataset, results, ("segm", "bbox", "boundary"), engine=engine, areas=COCO_EDGES),
        streamed[0].finish([each.parts for each in streamed]),
        evaluate_results(config).metrics,
    ):
        for kind in ("segm", "bbox", "boundary"):
            if (part := getattr(metrics, kind)) is None:
                continue
            own = getattr(plain, kind)
            assert part.AP == own.AP
            assert [row["AP"] for row in part.areas] == [own.APs, own.APm, own.APl]
            assert [row["AR100"] for row in part.areas] == [own.ARs, own.ARm, own.ARl]
            assert part.areas[0]["per_category"] == {name: each["APs"] for name, each in own.per_category.items()}
            areas = [a.area for a in dataset.annotations if not a.iscrowd]
            assert [row["instances"] for row in part.areas] == [
                sum(low <= area <= high for area in areas) for low, high in ((0, 1024), (1024, 9216), (9216, 1e10))
            ]


def test_a_class_without_results_and_one_without_annotations():
    dataset, results = drawn([(0, 0, 20, 20)], [])
    areas = score_results(dataset, results, ("bbox",), areas=(100.0, 500.0)).bbox.areas
    assert [(row["from"], row["to"], row["instances"], row["AP"]) for row in areas] == [
        (100.0, 500.0, 1, 0.0),
        (500.0, None, 0, -1.0),
    ]
    stream = Stream(dataset, ("bbox",), areas=(100.0, 500.0))
    assert stream.finish([stream.parts]).bbox.areas[0]["AP"] == -1.0, "no image was added: there is nothing"


@pytest.mark.parametrize("text", ["", "a", "324,0", "0,0", "-1,5", "0,nan", "0,1e300", ",".join(map(str, range(30)))])
def test_areas_that_are_refused(segkit, text):
    outcome = segkit("eval", "r.json", "--areas", text)
    assert outcome.code == 2
    assert "not a list of rising areas in pixels such as 0,324,961" in outcome.err


def drawn(boxes, found, size=SIDE, crowd=()):
    """A dataset of one image with boxes of one category, and results: boxes with their scores."""

    def mask(box):
        x, y, w, h = box
        bitmap = np.zeros((size, size), np.uint8)
        bitmap[y : y + h, x : x + w] = 1
        return mask_to_rle(bitmap)

    annotations = tuple(
        Annotation(n, 1, 1, mask(box), tuple(map(float, box)), float(box[2] * box[3]), iscrowd=int(n in crowd))
        for n, box in enumerate(boxes, 1)
    )
    results = tuple(Result(1, 1, score, tuple(map(float, box)), mask(box)) for box, score in found)
    return Dataset((Image(1, "a.png", size, size),), annotations, (Category(1, "thing"),), None), results


def rows(tool, dataset, results, kind="segm"):
    metrics = Metrics(images=1, max_dets=100, **{kind: score_results(dataset, results, (kind,)).__getattribute__(kind)})
    found = rows_as(tool, Evaluation(metrics, None, "r.json", None, dataset, results))
    return {row["rule"]: row for row in found[kind]}


BOXES = [(10, 10, 40, 40), (100, 100, 60, 60), (200, 20, 80, 80), (20, 200, 80, 100)]


def test_rows_say_which_rule_changes_the_number():
    """A match of low score, a result in a crowd, and nothing else that a rule is about."""
    dataset, results = drawn(
        [*BOXES, (150, 200, 150, 100)],
        [(BOXES[0], 0.9), ((180, 220, 60, 60), 0.8), (BOXES[1], 0.03), (BOXES[2], 0.0005)],
        crowd={5},
    )
    coco = 76 / 101  # three of four are found, and nothing is wrong: precision 1 at 76 of 101 recalls
    found = rows("detectron2", dataset, results)
    assert found["COCO's own rules"]["AP"] == pytest.approx(coco)
    assert found["scores up to 0.05 are dropped"]["AP"] == pytest.approx(26 / 101)
    assert list(found.values())[-1]["AP"] == pytest.approx(26 / 101)
    assert rows("torchvision", dataset, results)["scores up to 0.05 are dropped"]["AP"] == pytest.approx(26 / 101)
    found = rows("ultralytics", dataset, results)
    assert found["scores up to 0.001 are dropped"]["AP"] == pytest.approx(51 / 101)
    # the one in the crowd is a false positive now, before the second match
    assert found["annotations of crowds are left out"]["AP"] == pytest.approx((26 + 25 * 2 / 3) / 101)
    assert "APs" not in found["COCO's own rules"]
    # straight lines: precision 1 to recall 0.24, 2/3 from 0.25 to 0.49, 0 from 0.5
    last = list(found.values())[-1]["AP"]
    assert last == pytest.approx(0.24 + 0.24 * 2 / 3 + 0.01 * (1 + 2 / 3) / 2 + 0.01 * (2 / 3) / 2, abs=1e-9)


def test_limits_are_for_all_categories_of_an_image_together():
    dataset, _ = drawn(BOXES[:2], [])
    dataset = Dataset(
        dataset.images,
        (dataset.annotations[0], Annotation(2, 1, 2, None, (100.0, 100.0, 60.0, 60.0), 3600.0)),
        (Category(1, "a"), Category(2, "b")),
        None,
    )
    first = [Result(1, 1, 0.9 - n / 1000, (300.0, 300.0, 5.0, 5.0)) for n in range(100)]
    results = (*first, Result(1, 2, 0.5, (100.0, 100.0, 60.0, 60.0)))
    found = rows("detectron2", dataset, results, "bbox")
    assert found["COCO's own rules"]["AP"] == pytest.approx(0.5)
    assert found["100 results of an image, over all categories"]["AP"] == 0.0
    assert rows("ultralytics", dataset, results, "bbox")["300 results of an image, over all categories"][
        "AP"
    ] == pytest.approx(0.5)


def test_sizes_of_masks_decide_the_class():
    """A result whose box is medium and whose mask is small is a false positive among the small ones by its mask."""
    dataset, _ = drawn([(10, 10, 20, 20)], [])
    thin = np.zeros((SIDE, SIDE), np.uint8)
    thin[100:200, 100] = thin[100, 100:200] = 1
    results = (
        Result(1, 1, 0.9, (100.0, 100.0, 100.0, 100.0), mask_to_rle(thin)),
        Result(1, 1, 0.8, (10.0, 10.0, 20.0, 20.0), dataset.annotations[0].segmentation),
    )
    found = rows("detectron2", dataset, results)
    assert found["COCO's own rules"]["APs"] == pytest.approx(1.0)
    assert found["results have the size of their masks"]["APs"] == pytest.approx(0.5)


def test_copies_of_an_annotation_count_once():
    dataset, results = drawn([BOXES[0], BOXES[0], BOXES[1]], [(BOXES[0], 0.9), (BOXES[1], 0.8)])
    found = rows("ultralytics", dataset, results, "bbox")
    assert found["copies of an annotation are dropped"]["AP"] == pytest.approx(1.0)
    assert found["COCO's own rules"]["AP"] < 0.7
    assert "masks at a quarter of 640 pixels" not in found


def test_the_smaller_annotation_is_on_top():
    dataset, results = drawn([(0, 0, 100, 100), (10, 10, 40, 40)], [])
    changed = rules.smaller_on_top(Scene(dataset, results, "segm")).dataset.annotations
    assert [rle_area(a.segmentation) for a in changed] == [10000 - 1600, 1600]
    assert [a.area for a in changed] == [10000 - 1600, 1600]


def test_masks_at_a_quarter_lose_what_is_thin():
    dataset, results = drawn([(16, 16, 64, 32), (100, 100, 1, 90)], [((16, 16, 64, 32), 0.9)])
    changed = rules.reduced_masks(640)(Scene(dataset, results, "segm"))
    assert (changed.dataset.images[0].height, changed.dataset.images[0].width) == (160, 160)
    assert changed.dataset.annotations[0].segmentation == changed.results[0].segmentation
    expected = np.zeros((160, 160), np.uint8)
    expected[8:24, 8:40] = 1  # 320 pixels become 640, and a quarter of that
    np.testing.assert_array_equal(rle_to_mask(changed.results[0].segmentation), expected)
    wide = rules.reduced_masks(640)(Scene(*drawn([], [], size=100), "segm"))
    assert (wide.dataset.images[0].height, wide.dataset.images[0].width) == (160, 160)


def test_area_under_the_curve_of_nothing_and_of_all():
    assert area_under_curve(np.array([], np.uint8), 3) == 0.0
    assert area_under_curve(np.array([1, 1], np.uint8), 2) == pytest.approx(0.995)  # the tool gives no more
    assert area_under_curve(np.array([2, 2], np.uint8), 2) == 0.0


def test_rows_of_a_results_file(segkit, here):
    pair(here, 5, images=4)
    outcome = segkit("eval", "r.json", "--data", "t.json", "--as", "ultralytics", "--areas", "0,500", "--json")
    assert outcome.code == 0, outcome.err
    document = json.loads(outcome.out)
    assert [row["to"] for row in document["segm"]["areas"]] == [500.0, None]
    found = document["as_tool"]
    assert (found["tool"], found["version"]) == ("ultralytics", "8.4.190")
    assert found["segm"][0]["AP"] == document["segm"]["AP"]
    assert len(found["bbox"]) == len(found["segm"]) - 2
    assert all(row["source"] for row in found["segm"])
    assert "AP changes by" in outcome.err
    assert "by area in pixels" in outcome.err


def test_what_cannot_be_asked_for_is_refused(segkit, here):
    pair(here, 5, images=2)
    for options, message in (
        (("--as", "ultralytics", "--iou", "boundary"), "it compares masks or boxes"),
        (("--as", "ultralytics", "--task", "semantic"), "--as is about instances"),
        (("--areas", "0", "--task", "semantic"), "--areas is about instances"),
    ):
        outcome = segkit("eval", "r.json", "--data", "t.json", *options)
        assert outcome.code == 1
        assert message in outcome.err
    assert segkit("eval", "r.json", "--data", "t.json", "--as", "yolact").code == 2
