"""The command train: what a run writes, what ends it, and that it learns."""

import json
import math
import shutil
from dataclasses import replace

import pytest
import torch
from training import config, lines, losses, same_weights

from segkit.config.fields import load_config
from segkit.config.train import TrainConfig
from segkit.training.train import train


@pytest.mark.parametrize("model", ["maskrcnn", "fasterrcnn", "unet"])
def test_a_run_writes_its_files(dataset, tmp_path, model):
    summary = train(config(dataset, tmp_path, model=model))
    run = summary.run
    assert summary.ended == "complete"
    assert summary.steps == 4
    assert run == tmp_path / f"{model}-1"
    assert (tmp_path / "latest").resolve() == run
    assert {p.name for p in run.iterdir()} == {
        "config.toml", "origin.json", "metrics.jsonl", "last.pt", "best.pt", "labels.txt", "curves.png", "samples.jpg",
    }  # fmt: skip
    step = lines(run)[-1]
    assert {
        "step",
        "epoch",
        "loss",
        "losses",
        "lr",
        "images_per_s",
        "allocated",
        "reserved",
        "peak",
        "rss",
    } <= step.keys()
    assert step["allocated"] is None
    assert step["rss"] > 0
    (evaluation,) = lines(run, "eval")
    assert evaluation["step"] == 4
    assert {"maskrcnn": "segm", "fasterrcnn": "bbox", "unet": "semantic"}[model] in evaluation
    assert json.loads((run / "origin.json").read_text())["versions"]["torch"] == torch.__version__.partition("+")[0]
    for name in ("last.pt", "best.pt"):
        assert "model" in torch.load(run / name, weights_only=True)


def test_the_saved_config_repeats_the_run(dataset, tmp_path):
    first = train(config(dataset, tmp_path)).run
    again = train(replace(load_config(TrainConfig, first / "config.toml"), out=tmp_path)).run
    assert losses(again) == losses(first)
    assert same_weights(first, again)


def test_the_number_of_workers_changes_nothing(dataset, tmp_path):
    some = config(dataset, tmp_path, model="unet")
    assert losses(train(some).run) == losses(train(replace(some, workers=2)).run)


def test_training_in_bf16(dataset, tmp_path):
    summary = train(config(dataset, tmp_path, precision="bf16", steps=2))
    assert all(math.isfinite(line["loss"]) for line in lines(summary.run))


def test_with_an_empty_validation_split_the_last_model_is_kept(dataset, tmp_path):
    bare = tmp_path / "d"
    shutil.copytree(dataset, bare)
    val = json.loads((bare / "val.json").read_text())
    (bare / "val.json").write_text(json.dumps(val | {"annotations": []}))
    summary = train(config(bare, tmp_path, model="fasterrcnn", steps=2, batch=9, eval_every=1, patience=1))
    assert summary.steps == 2
    assert torch.load(summary.run / "best.pt", weights_only=True)["step"] == 2


def test_a_checkpoint_as_weights_sets_the_backbone(dataset, tmp_path, segkit):
    run = train(config(dataset, tmp_path, model="unet", backbone="mobilenet_v2", steps=1)).run
    weights = run / "best.pt"
    again = train(config(dataset, tmp_path, model="unet", backbone=None, weights=str(weights), steps=1)).run
    assert load_config(TrainConfig, again / "config.toml").backbone == "mobilenet_v2"
    outcome = segkit("train", dataset, "--weights", weights, "--backbone", "resnet18", "--out", tmp_path)
    assert "is a unet with mobilenet_v2, not a maskrcnn with resnet18" in outcome.err


def test_time_is_a_limit(dataset, tmp_path):
    summary = train(config(dataset, tmp_path, model="unet", steps=None, time=3.0))
    assert summary.ended == "time"
    assert summary.steps >= 1
    assert summary.seconds < 30


def test_patience_is_a_limit(dataset, tmp_path):
    summary = train(config(dataset, tmp_path, model="unet", steps=60, lr=0.0, eval_every=1, patience=2, norm="group"))
    assert summary.ended == "patience"
    assert summary.steps < 60


@pytest.mark.slow
def test_training_overfits_eight_images(dataset, tmp_path):
    """After many steps on the same eight images it detects their instances."""
    alone = tmp_path / "d"
    shutil.copytree(dataset, alone)
    shutil.copy(alone / "train.json", alone / "val.json")
    summary = train(config(alone, tmp_path, steps=150, batch=4, size=96, augment="none"))
    assert summary.score[1] > 0.5
