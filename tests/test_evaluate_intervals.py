"""Confidence intervals and p-values: how often they are right, and what they say where little is known."""

import json
import re
import sys

import numpy as np
import pytest
from coco_pairs import random_pair
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from segkit.evaluation.analysis.coverage import coverage_said, measured_coverage
from segkit.evaluation.analysis.intervals import Parts, confidence_interval, paired_difference

sys.path.append(str(ROOT / "benchmarks"))
from coverage import Population, scores_of, truth_of


def test_intervals_contain_the_score_of_all_images():
    """Few images and many categories: AP is too high there, and most categories are in one image or two."""
    population, rng = Population(20, 3), np.random.default_rng(3)
    truth, parts = truth_of(population, rng), Parts.of(10)
    inside = dict.fromkeys(truth, 0)
    for _ in range(60):
        (drawn,) = population.draw(10, rng)
        for name, (values, places) in scores_of(drawn, parts.weights).items():
            low, high = confidence_interval(values, parts.groups, places)
            assert low <= np.nanmean(values[0]) <= high
            inside[name] += low <= truth[name] <= high
    assert {name: count for name, count in inside.items() if count < 53} == {}


@pytest.mark.parametrize("images", [0, 1, 2, 7, 250])
def test_parts_leave_out_every_image_once_and_halve_them(images):
    parts = Parts.of(images)
    left_out, halves = np.split(parts.weights[1:], [parts.groups])
    assert parts.groups == min(images, 200)
    assert (1 - left_out).sum(axis=0).tolist() == [1] * images
    assert (halves[::2] + halves[1::2] == 1).all()
    assert set(halves.sum(axis=1)) <= {images // 2, images - images // 2}


@pytest.mark.parametrize(
    ("scores", "why"),
    [
        ([[0.5], [0.5]], "one image"),
        ([[0.5], [0.5], [np.nan]], "all instances are in one image"),
        ([[1.0], [1.0], [1.0], [1.0]], "nothing differs"),
        ([[np.nan]] * 4, "no score"),
    ],
)
def test_no_interval_where_the_images_cannot_tell(scores, why):
    values = np.array(scores + [[0.5]] * 40)
    assert confidence_interval(values, len(scores) - 1, np.array([3])) is None, why


shares = st.lists(st.integers(-8, 8).map(lambda n: n / 8), min_size=1, max_size=14)


@given(shares, st.sampled_from([10, 19, 50, 999]))
def test_interval_and_p_value_never_contradict_each_other(share, num_samples):
    """The difference is a mean over images, so that each one's share of it is known."""
    share = np.array(share)

    def score(weights):
        return np.stack([weights @ share / np.maximum(weights.sum(axis=1), 1), np.zeros(len(weights))], axis=1)

    found = paired_difference(score, len(share), num_samples)
    if len(share) == 1:
        assert found.interval in (None, [0, 0])
        return
    assert found.value == pytest.approx(share.mean())
    assert found.p >= 1 / (num_samples + 1) - 1e-12
    if 2 ** len(share) <= num_samples:
        assert found.p >= found.smallest_p, "all signs are tried"
    if found.interval is None:
        assert found.p >= 0.05
        return
    low, high = found.interval
    assert low - 1e-9 <= found.value <= high + 1e-9
    assert (low <= 0 <= high) == (found.p >= 0.05)


def test_p_values_of_equal_models_are_below_a_tenth_as_often_as_they_say():
    rng, below = np.random.default_rng(0), 0
    for _ in range(400):
        share = rng.normal(0, 1, 12)
        found = paired_difference(
            lambda weights, share=share: np.stack([weights @ share / weights.sum(axis=1), np.zeros(len(weights))], 1),
            12,
            199,
        )
        below += found.p < 0.1
    assert 20 <= below <= 60


def test_measured_coverage_is_that_of_the_documentation():
    section = (ROOT / "docs/benchmarks.md").read_text("utf-8").split("## Coverage of confidence intervals")[1]
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (.*) \|$", section.split("\n## ")[0], re.M)
    documented = {
        (int(images), int(kinds)): [float(cell.split()[0]) for cell in cells.split(" | ")[:4]]
        for images, kinds, cells in rows
    }
    assert len(documented) == 16
    for (images, kinds), shares in documented.items():
        for score, share in zip(("AP", "AP50", "PQ", "mIoU"), shares, strict=True):
            assert measured_coverage(score, images, kinds) == [share, share]


@given(st.integers(5, 10_000), st.integers(1, 500))
def test_measured_coverage_is_that_of_the_next_simulations(images, kinds):
    low, high = measured_coverage("AP", images, kinds)
    assert [low, high] == measured_coverage("AP", min(100, images), min(40, kinds))
    assert 0.89 < low <= high < 0.97


def test_coverage_in_words():
    assert measured_coverage("AP", 4, 3) is None
    assert coverage_said([None, None]) == ""
    assert coverage_said([[0.926, 0.969], None, [0.914, 0.93]]) == (
        "such intervals contained the score in 91 to 97 % of simulated cases"
    )
    assert coverage_said([[0.951, 0.949]]) == "such intervals contained the score in 95 % of simulated cases"
    between = measured_coverage("mIoU", 20, 2)
    assert between == [0.917, 0.951]  # of 10 and 30 images, 1 and 3 categories


def test_coverage_is_said_beside_the_intervals(segkit, tmp_path):
    truth, results = random_pair(np.random.default_rng(3), images=12, categories=2)
    for name, document in (("t", truth), ("r", results)):
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    options = (tmp_path / "r.json", "--data", tmp_path / "t.json", "--report", "--out", tmp_path / "o")
    outcome = segkit("eval", *options)
    said = re.search(r"such intervals contained the score in 9\d to 9\d % of simulated cases", outcome.out)
    assert said is not None
    assert said[0][1:] in (tmp_path / "o" / "report.html").read_text("utf-8")
    confidence = json.loads((tmp_path / "o" / "metrics.json").read_text())["details"]["confidence"]
    assert confidence["coverage"]["AP"] == measured_coverage("AP", 12, 2)
