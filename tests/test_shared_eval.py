"""Files of results that were once scored wrongly; what each is about is in the README beside them.

They are not part of the repository: without them these tests are skipped. ``test_evaluate_together.py`` has small
inputs of the same kinds, and of those that need models.
"""

import csv
import json

import numpy as np
import pytest
from conftest import SHARED

from segkit.evaluation.pixels.confusion import paint
from segkit.evaluation.pixels.per_image import PixelScores
from segkit.formats.coco.file import read_coco
from segkit.models.tensors import labels_of

CASES = SHARED.parent / "cases" / "eval"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not here")


def details_of(segkit, out, results, data, *options):
    outcome = segkit(
        "eval", CASES / results, "--data", CASES / data, "--details", *options, "--out", out, "--json"
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def test_pixel_scores_have_the_right_names_whatever_the_order_of_the_categories():
    scores = []
    for name in ("val.json", "val_sorted.json"):
        data = read_coco(CASES / "04-semantic-category-order" / name)
        circle = next(category.id for category in data.categories if category.name == "circle")
        labels, pixels, annotations = (
            labels_of(data.categories),
            PixelScores(data, details=False),
            data.annotations_of(),
        )
        for image in data.images:
            truth = paint(image, annotations.get(image.id, []), labels, "background")
            pixels.add(image, truth, np.where(truth == labels[circle], truth, 0))
        per_category = pixels.confusion.metrics().per_category
        scores.append({name: per_category[name]["IoU"] for name in ("circle", "square", "star", "triangle")})
    assert scores[0] == scores[1] == {"circle": 1, "square": 0, "star": 0, "triangle": 0}


def test_the_table_of_images_has_the_true_positives_of_the_totals(segkit, tmp_path):
    folder = "05-csv-against-table"
    found = details_of(segkit, tmp_path, f"{folder}/d2.json", f"{folder}/g2.json", "--score", 0.4)
    with (tmp_path / "pictures.csv").open(newline="") as table:
        assert sum(int(row["found"]) for row in csv.DictReader(table)) == 13
    assert found["details"]["overall"]["found"] == 13


def test_all_results_are_counted_whatever_the_cap_of_ap(segkit, tmp_path):
    folder = "07-more-than-the-cap"
    found = details_of(segkit, tmp_path, f"{folder}/d.json", f"{folder}/g.json")
    overall = found["details"]["overall"]
    assert (overall["predictions"], overall["found"], overall["wrong"]) == (200, 50, 150)
    assert found["details"]["mistakes"]["counts_at_score"]["background"] == 150
    assert any("1 image has more than 100 results of a category" in each for each in found["warnings"])


def test_scores_in_percent_are_not_taken_without_a_word(segkit, tmp_path):
    folder = "08-percent-scores"
    found = details_of(segkit, tmp_path, f"{folder}/d2.json", f"{folder}/g.json")
    assert any("scores are from 84.1 to 90 and not from 0 to 1" in each for each in found["warnings"])
    best = found["details"]["overall"]["best"]
    again = details_of(segkit, tmp_path, f"{folder}/d2.json", f"{folder}/g.json", "--score", best["score"])
    assert again["details"]["overall"]["F1"] == best["F1"] == 1
