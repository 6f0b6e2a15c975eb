"""The printed threshold of the best F1 gives that F1 again: in eval, in predict, and as ``--score best``."""

import json

import numpy as np
import pytest
from PIL import Image
from random_models import card_of, checkpoint

TRAINING = ("--model", "unet", "--weights", "none", "--size", 64, "--batch", 4, "--steps", 40, "--lr", 0.01)


def scored(segkit, *arguments):
    """The parts of ``details`` that a threshold decides."""
    outcome = segkit("eval", *arguments, "--device", "cpu", "--details", "--bootstrap", 0, "--json")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)["details"]["overall"]


def check_best_threshold(segkit, folder, model, data):
    """Evaluate a model, pass its best threshold on in every way, and compare what is counted."""
    best = scored(segkit, model, "--data", data)["best"]
    assert 0 < best["F1"] < 1
    again = scored(segkit, model, "--data", data, "--score", best["score"], "--out", folder / "again")
    assert {name: again[name] for name in ("F1", "precision", "recall")} == {
        name: best[name] for name in ("F1", "precision", "recall")
    }
    for number, score in enumerate((repr(best["score"]), "best")):
        out = folder / f"predicted-{number}"
        options = ("--model", model, "--score", score, "--format", "coco", "--device", "cpu", "--out", out)
        done = segkit("predict", data / "images", *options)
        assert done.code == 0, done.err
        found = scored(segkit, out / "results.json", "--data", data, "--score", 0, "--out", out / "scores")
        for name in ("predictions", "found", "wrong", "F1"):
            assert found[name] == again[name], (score, name)


@pytest.mark.parametrize("name", ["maskrcnn", "unet", pytest.param("fasterrcnn", marks=pytest.mark.slow)])
def test_the_best_threshold_of_what_a_model_half_finds(segkit, tmp_path, name):
    """Most of the surer instances, and some of the others, that a model with random weights finds are annotations."""
    model, data, rng = checkpoint(tmp_path / "run/best.pt", card_of(name)), tmp_path / "data", np.random.default_rng(0)
    (data / "images").mkdir(parents=True)
    for number in range(3):
        noise = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((96, 72), Image.Resampling.BICUBIC).save(data / "images" / f"{number}.png")
    options = ("--model", model, "--score", 0, "--format", "coco", "--device", "cpu", "--out", tmp_path / "all")
    assert segkit("predict", data / "images", *options).code == 0
    truth = json.loads((tmp_path / "all/images.json").read_text())
    found = json.loads((tmp_path / "all/results.json").read_text())
    assert len(found) > 5
    middle = np.median([each["score"] for each in found])
    truth["annotations"] = [
        {"id": n, "iscrowd": 0, "area": each["bbox"][2] * each["bbox"][3]}
        | {key: each[key] for key in ("image_id", "category_id", "bbox", "segmentation") if key in each}
        for n, each in enumerate(found, 1)
        if rng.random() < (0.9 if each["score"] > middle else 0.3)
    ]
    (data / "val.json").write_text(json.dumps(truth))
    check_best_threshold(segkit, tmp_path, model, data)


def test_the_best_threshold_of_a_trained_model(segkit, here, dataset):
    done = segkit("train", dataset, *TRAINING, "--device", "cpu", "--seed", 0, "--name", "run", "--eval-every", 1000)
    assert done.code == 0, done.err
    check_best_threshold(segkit, here, here / "runs/run", dataset)
