"""Prediction-powered intervals: their numbers, their coverage, and what ``predict --labelled`` makes of pictures."""

import csv
import json
import warnings

import numpy as np
import pytest
from drawn_discs import disc_model, draw_discs
from PIL import Image
from random_models import card_of

from segkit.errors import ConfigError, InputError
from segkit.evaluation.analysis.prediction_powered import plain_mean, powered_mean
from segkit.inference.input_files import Picture
from segkit.inference.labelled import open_labelled

FLOAT = {"rel": 1e-10, "abs": 1e-12}


def drawn(rng, annotated, others, noise=1.0):
    """Counts per picture, and predictions that miss a fifth, and see things that are not there."""
    true = rng.poisson(rng.gamma(3, 2, annotated + others)).astype(float)
    predicted = rng.binomial(true.astype(int), 0.8) + rng.poisson(noise, len(true)).astype(float)
    return true[:annotated], predicted[:annotated], predicted[annotated:]


@pytest.mark.parametrize("seed", range(5))
def test_intervals_equal_those_of_ppi_python(seed):
    """It imports numba, statsmodels, pandas and scikit-learn: install it to compare (tests/references.sh)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ppi_py = pytest.importorskip("ppi_py")
    rng = np.random.default_rng(seed)
    for _ in range(20):
        sample = drawn(rng, int(rng.integers(2, 60)), int(rng.integers(1, 300)), float(rng.uniform(0, 4)))
        found = powered_mean(*sample)
        low, high = ppi_py.ppi_mean_ci(*sample, alpha=0.05)
        if found.low is not None:
            assert (found.low, found.high) == pytest.approx((float(low[0]), float(high[0])), **FLOAT)
        assert found.mean == pytest.approx((float(low[0]) + float(high[0])) / 2, **FLOAT)


def test_intervals_by_hand():
    """With predictions that are right, their own spread is left; with those that tell nothing, that of the truth."""
    true = np.array([1.0, 2.0, 3.0, 4.0])
    others = np.array([0.0, 2.0, 2.0, 4.0])
    useless = powered_mean(true, np.ones(4), np.ones(5))
    assert (useless.weight, useless.mean) == (0.0, 2.5)
    assert (useless.low, useless.high) == pytest.approx(
        (2.5 - 1.959964 * 1.25**0.5 / 2, 2.5 + 1.959964 * 1.25**0.5 / 2)
    )
    assert useless.low == plain_mean(true).low
    # weight: the covariance 1.25, over twice the variance of all eight predictions, which is 13.5 / 7
    good = powered_mean(true, true, others)
    assert good.weight == pytest.approx(1.25 / (2 * (sum((x - 2.25) ** 2 for x in [1, 2, 3, 4, 0, 2, 2, 4]) / 7)))
    assert good.mean == pytest.approx(2.5 - good.weight * 0.5)
    shifted = powered_mean(true, true + 7, others + 7)
    assert shifted.mean == pytest.approx(good.mean), "a constant error is corrected"
    nothing = powered_mean(np.zeros(3), np.zeros(3), np.zeros(9))
    assert (nothing.mean, nothing.low, nothing.high) == (0.0, None, None)


def test_intervals_contain_the_mean_as_often_as_they_say():
    """200 repetitions, and more than that: 95 % within 2, and shorter than from the annotated pictures alone."""
    rng = np.random.default_rng(0)
    for repetitions in (200, 2000):
        hits, lengths = [], []
        for _ in range(repetitions):
            true, predicted, others = drawn(rng, 100, 400)
            found, plain = powered_mean(true, predicted, others), plain_mean(true)
            hits.append(found.low <= 6.0 <= found.high)  # the mean of Poisson counts whose rates have the mean 3 x 2
            lengths.append((found.high - found.low) / (plain.high - plain.low))
        assert 0.93 <= np.mean(hits) <= 0.97
        assert np.mean(lengths) < 0.75


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six pictures, of which three are annotated, with none to three green discs each."""
    here = tmp_path_factory.mktemp("labelled")
    (here / "all").mkdir()
    for number in range(6):
        discs = [(12 + 20 * n, 20, 6, 2) for n in range(number % 4)]
        Image.fromarray(draw_discs(72, 96, discs)).save(here / "all" / f"{number}.png")
    (here / "some").mkdir()
    for number in range(3):
        shapes = [
            {"label": "b", "points": [[10, 10], [30, 30]], "shape_type": "rectangle", "group_id": None, "flags": {}}
            for _ in range(1)
        ] + [
            {"label": "b", "points": [[40, 40], [44, 44]], "shape_type": "rectangle", "group_id": None, "flags": {}}
            for _ in range(number)
        ]
        (here / "some" / f"{number}.json").write_text(
            json.dumps(
                {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": f"../all/{number}.png",
                 "imageData": None, "imageHeight": 72, "imageWidth": 96}
            )
        )  # fmt: skip
    return here


def rows(path):
    with path.open(newline="") as file:
        return {(row["category"], row["measure"]): row for row in csv.DictReader(file)}


def test_pictures_that_were_annotated_in_labelme(segkit, here, folder, monkeypatch):
    """Three annotated by hand; the areas that --min-area leaves out are left out of the annotations, too."""
    model = disc_model(here / "m.pt")
    monkeypatch.setattr("segkit.inference.predict.load", lambda *_, **__: model)
    options = ("--model", here / "m.pt", "--labelled", folder / "some", "--device", "cpu", "--score", 0.1)
    out = here / "out"
    done = segkit("predict", folder / "all", *options, "--out", out, "--min-area", "50px", "--pixel-size", "2um")
    assert done.code == 0, done.err
    assert "over 6 pictures, 3 of them annotated" in done.err
    assert "3 annotated pictures: intervals are too short below 50" in done.err
    with (out / "pictures.csv").open(newline="") as file:
        counts = np.array([float(row["instances of b"]) for row in csv.DictReader(file)])
    table = rows(out / "estimates.csv")
    count = table["b", "instances"]
    expected = powered_mean(np.ones(3), counts[:3], counts[3:])  # of the small ones none counts
    assert float(count["mean"]) == pytest.approx(expected.mean, rel=1e-5)
    assert float(count["total"]) == pytest.approx(6 * expected.mean, rel=1e-5)
    assert float(count["annotated_mean"]) == 1.0
    assert count["annotated_low"] == "", "three equal counts tell nothing of the spread"
    assert float(count["predicted_mean"]) == pytest.approx(counts.mean(), rel=1e-5)
    area = float(table["b", "area_px2"]["annotated_mean"])
    assert 400 <= area <= 441
    assert float(table["b", "area_um2"]["annotated_mean"]) == pytest.approx(4 * area)
    assert float(table["b", "area_fraction"]["annotated_mean"]) == pytest.approx(area / (96 * 72), rel=1e-5)
    assert table["b", "area_fraction"]["total"] == ""
    assert table["all categories", "instances"]["annotated_mean"] == "1.0"
    assert float(table["a", "instances"]["annotated_mean"]) == 0.0


class _Model:
    """What of a model is asked here."""

    def __init__(self, path):
        self.path, self.card = path, card_of("maskrcnn")


def test_subsets_that_are_refused_or_noted(folder, tmp_path):
    model = _Model(folder / "run/best.pt")
    pictures = [Picture(folder / "all" / f"{n}.png", f"{n}.png", str(n)) for n in range(6)]
    with pytest.raises(InputError, match="no such file or folder"):
        open_labelled(tmp_path / "nowhere", model)
    found = open_labelled(folder / "some", model)
    found.check(folder / "some", pictures)
    with pytest.raises(InputError, match="1 of its 3 pictures are among the 4 of SOURCE"):
        found.check(folder / "some", pictures[2:])
    with pytest.raises(InputError, match="all 3 pictures are annotated"):
        found.check(folder / "some", pictures[:3])
    document = {
        "images": [{"id": n, "file_name": f"x/{n}.png", "height": 72, "width": 96} for n in range(1, 4)],
        "categories": [{"id": 1, "name": "b"}, {"id": 2, "name": "other"}],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 1 + (n == 2), "bbox": [1, 1, 9, 9], "area": 81.0,
             "segmentation": [[1, 1, 10, 1, 10, 10, 1, 10]], "iscrowd": int(n == 3)}
            for n in range(1, 4)
        ],
    }  # fmt: skip
    data = tmp_path / "data"
    data.mkdir()
    (data / "val.json").write_text(json.dumps(document))
    found = open_labelled(data, model)
    assert any("1 annotations of 'other' do not count" in each for each in found.warnings)
    assert any("1 picture with crowds is left out" in each for each in found.warnings)
    assert found.image_of(pictures[1]).id == 1, "by the last part of the name"
    assert found.truth[1][0].category_id == 2, "the id that the model has for the name"
    assert found.truth[2] == ()
    assert found.image_of(pictures[3]) is None


def test_pictures_of_the_training_are_refused(tmp_path):
    run, data = tmp_path / "runs/a", tmp_path / "data"
    run.mkdir(parents=True)
    data.mkdir()
    (run / "config.toml").write_text(f'dataset = "{data}"\n')
    image = {"id": 1, "file_name": "a.png", "height": 8, "width": 8}
    (data / "train.json").write_text(json.dumps({"images": [image], "annotations": [], "categories": []}))
    with pytest.raises(ConfigError, match="the model was trained on these very images"):
        open_labelled(data, _Model(run / "best.pt"))
