"""What counts at a score threshold: all predictions, none in crowds, and the same in tables, files and headings."""

import csv
import json

import numpy as np
import pytest
from coco_pairs import random_pair
from hypothesis import given
from hypothesis import strategies as st
from test_evaluate_together import CATEGORIES, annotation, result, write

from segkit.evaluation.analysis.counts import Detections, short_threshold
from segkit.evaluation.analysis.tide import ERROR_TYPES

IMAGE = {"id": 1, "file_name": "1.png", "height": 64, "width": 64}


def scored(segkit, folder, truth, results, *options, images=(IMAGE,), categories=CATEGORIES):
    data = write(folder / "g.json", {"images": list(images), "annotations": truth, "categories": categories})
    file = write(folder / "d.json", results)
    outcome = segkit("eval", file, "--data", data, "--out", folder / "o", *options, "--json")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out), outcome.err


def test_a_limit_on_detections_belongs_to_ap_alone(segkit, tmp_path):
    results = [result(1, 1, 0.9, 0, 0, 20, 20)] + [result(1, 1, 0.8 - n / 1000, 40, 40, 9, 9) for n in range(199)]
    found, _ = scored(segkit, tmp_path, [annotation(1, 1, 1, 0, 0, 20)], results, "--details", "--bootstrap", 0)
    overall = found["details"]["overall"]
    assert (overall["predictions"], overall["found"], overall["wrong"]) == (200, 1, 199)
    assert overall["count_error"] == 199
    assert overall["PQ"] == pytest.approx(1 / (1 + 199 / 2))
    assert sum(found["details"]["confusion"]["counts"][-1]) == 199
    assert sum(found["details"]["mistakes"]["counts"].values()) == 99, "TIDE takes a hundred, as tidecv does"
    assert sum(found["details"]["mistakes"]["counts_at_score"].values()) == 199
    assert any("the 100 of the lowest scores do not count for AP" in each for each in found["warnings"])


def test_predictions_in_crowds_are_no_surplus(segkit, tmp_path):
    crowd = annotation(2, 1, 1, 30, 30, 30) | {"iscrowd": 1}
    crowd["segmentation"] = {"size": [64, 64], "counts": [30 * 64 + 30, *[30, 34] * 29, 30, 4 * 64 + 4 - 64 + 64]}
    pixels = sum(crowd["segmentation"]["counts"])
    crowd["segmentation"]["counts"][-1] += 64 * 64 - pixels
    results = [result(1, 1, 0.9, 0, 0, 20, 20), *(result(1, 1, 0.8, 32 + n, 34, 9, 9) for n in range(5))]
    found, _ = scored(segkit, tmp_path, [annotation(1, 1, 1, 0, 0, 20), crowd], results, "--details")
    overall = found["details"]["overall"]
    assert (overall["instances"], overall["predictions"], overall["found"], overall["wrong"]) == (1, 1, 1, 0)
    assert (overall["count_error"], overall["count_bias"], overall["PQ"]) == (0, 0, 1)
    assert not any(found["details"]["mistakes"]["counts_at_score"].values())
    with (tmp_path / "o" / "pictures.csv").open(newline="") as table:
        (row,) = csv.DictReader(table)
    assert (row["predictions"], row["false"], row["background_mistakes"]) == ("1", "0", "0")


@pytest.mark.parametrize("seed", range(4))
def test_the_best_threshold_gives_the_best_f1_when_it_is_passed_on(segkit, tmp_path, seed):
    truth, results = random_pair(np.random.default_rng(seed), images=5)
    rng = np.random.default_rng(seed)
    for each in results:
        each["score"] = float(rng.choice([rng.random(), 0.5, 0.8505, 0.85049999999])) * (100 if seed == 3 else 1)
    options = ("--details", "--bootstrap", 0)
    found, text = scored(
        segkit, tmp_path, truth["annotations"], results, *options, images=truth["images"],
        categories=truth["categories"],
    )  # fmt: skip
    best = found["details"]["overall"]["best"]
    again, _ = scored(
        segkit, tmp_path, truth["annotations"], results, *options, "--score", repr(best["score"]),
        images=truth["images"], categories=truth["categories"],
    )  # fmt: skip
    assert again["details"]["overall"]["F1"] == best["F1"]
    assert f"with --score {best['score']!r} (chosen on the images" in text


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.data())
def test_a_short_threshold_keeps_the_same_detections(scores, data):
    scores = np.sort(np.array(scores))[::-1]
    tp = np.array(data.draw(st.lists(st.booleans(), min_size=len(scores), max_size=len(scores))))
    found = Detections(np.ones(len(scores), int), scores, tp, ~tp, np.ones(len(scores), int))
    best = found.best()
    assert max(found.at(score).F1 for score in scores) == best.F1
    kept = scores[scores >= best.score]
    assert best.score <= kept[-1]
    assert short_threshold(0.123456, 0.1) == 0.123
    assert short_threshold(0.123456, 0.1234) == 0.12345


def test_absent_categories_have_a_dash_and_no_part_in_means(segkit, tmp_path):
    three = [*CATEGORIES, {"id": 3, "name": "absent"}]
    truth = [annotation(1, 1, 1, 0, 0, 20), annotation(2, 1, 2, 40, 40, 20)]
    results = [result(1, 1, 0.9, 0, 0, 20, 20)]
    found, text = scored(segkit, tmp_path, truth, results, "--details", categories=three)
    absent = found["details"]["per_category"]["absent"]
    assert (absent["precision"], absent["recall"], absent["F1"], absent["best"], absent["PQ"]) == (None,) * 4 + (-1,)
    missed = found["details"]["per_category"]["b"]
    assert (missed["precision"], missed["recall"], missed["F1"]) == (None, 0, 0)
    assert found["details"]["overall"]["PQ"] == 0.5
    rows = [line.split() for line in text.splitlines() if line.startswith("absent")]
    assert len(rows) == 3
    assert all(set(row[1:]) <= {"-", "0"} for row in rows)


@pytest.mark.parametrize("score", [0.0, 0.3, 0.7])
def test_mistakes_are_counted_where_the_heading_says(segkit, tmp_path, score):
    truth, results = random_pair(np.random.default_rng(5), images=6, categories=3)
    found, text = scored(
        segkit, tmp_path, truth["annotations"], results, "--details", "--bootstrap", 0, "--score", score,
        images=truth["images"], categories=truth["categories"],
    )  # fmt: skip
    with (tmp_path / "o" / "pictures.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    mistakes = found["details"]["mistakes"]
    sums = {each: sum(int(row[f"{each}_mistakes"]) for row in rows) for each in ERROR_TYPES}
    assert mistakes["counts_at_score"] == sums
    assert f"count, confidence >= {score:g}" in text
    overall = found["details"]["overall"]
    assert sum(sums.values()) - sums["missed"] == overall["wrong"]
    assert sums["missed"] <= overall["instances"] - overall["found"]


@pytest.mark.parametrize("option", [[], ["--details"]])
def test_odd_files_are_said(segkit, tmp_path, option):
    images = [IMAGE | {"id": n, "file_name": f"{n}.png"} for n in range(1, 11)]
    truth = [annotation(n, n, 1, 0, 0, 20) for n in range(1, 11)]
    results = [result(n, 1, 0.9, 0, 0, 20, 20) for n in range(1, 11)]
    plain, _ = scored(segkit, tmp_path, truth, results, *option, images=images)
    assert plain["warnings"] == []
    twice, _ = scored(segkit, tmp_path, truth, results * 2, *option, images=images)
    assert twice["warnings"] == ["10 of 20 results are copies of others: was a file joined to itself?"]
    copies = [each | {"id": each["id"] + 100} for each in truth]
    twice, _ = scored(segkit, tmp_path, truth + copies, results, *option, images=images)
    assert twice["warnings"] == ["10 of 20 annotations are copies of others: was a file joined to itself?"]
    part, _ = scored(segkit, tmp_path, truth, results[:6], *option, images=images)
    assert part["warnings"] == ["4 of 10 images with annotations have no result: do the results cover all?"]
