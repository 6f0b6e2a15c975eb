"""What one can choose of a model works on every road: train, eval, predict, export, resume, memprofile."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from segkit.config.fields import load_config
from segkit.config.train import TrainConfig
from segkit.runs.checkpoint import load_model
from segkit.runtimes.onnx_model import OnnxModel
from segkit.training.plan import plan_without_folder, read_data
from segkit.training.rehearsal.batches import scenes_of
from segkit.training.rehearsal.rehearsal import Rehearsal

BASE = {
    "--weights": "none", "--backbone": "resnet18", "--size": 64, "--batch": 2, "--steps": 1, "--device": "cpu",
    "--eval-every": 1000, "--precision": "fp32",
}  # fmt: skip
CHOICES = {
    "second version": {"--heads": "v2"},
    "second version, boxes": {"--heads": "v2", "--model": "fasterrcnn"},
    "second version, group norm": {"--heads": "v2", "--norm": "group"},
    "PointRend": {"--mask-head": "pointrend", "--mask-size": 112},
    "panoptic": {"--model": "panoptic", "--stuff": "disc", "--semantic-weight": "uncertainty"},
    "CondInst": {"--model": "condinst", "--mask-size": 112},
    "SOLOv2": {"--model": "solov2", "--norm": "group"},
    "RF-DETR": {"--model": "rfdetr", "--backbone": "dinov2", "--weights": "a folder of transformers"},
    "frozen norms": {"--norm": "frozen", "--precision": "bf16"},
    "efficientnet_lite0": {"--backbone": "efficientnet_lite0"},
    "efficientnet_b0, labels": {"--backbone": "efficientnet_b0", "--model": "unet"},
    "convnext_tiny, labels": {"--backbone": "convnext_tiny", "--model": "unet"},
    "plain, labels": {"--backbone": "plain", "--model": "unet", "--instances": "distance", "--loss": "focal+cldice"},
    "named by hand": {
        "--fpn-levels": "2,3,4", "--anchor-sizes": "10,20,40,80", "--anchor-ratios": "0.5,1", "--roi-size": 5,
        "--roi-sampling": 1, "--proposals": 60, "--rois": 24, "--detections": 30, "--nms": 0.4,
        "--schedule": "step", "--lr-steps": "1,2", "--lr-gamma": 0.5,
    },
}  # fmt: skip
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=CHOICES)
def road(request, tmp_path_factory, dataset, rfdetr_folder):
    """A working folder with a run of two steps, made in two sessions, and one that was made in one."""
    from segkit.cli import main

    folder, before = tmp_path_factory.mktemp("road"), Path.cwd()
    os.chdir(folder)
    options = [str(word) for pair in (BASE | CHOICES[request.param]).items() for word in pair]
    options = [str(rfdetr_folder) if word == "a folder of transformers" else word for word in options]
    try:
        assert main(["train", str(dataset), *options, "--name", "whole", "--steps", "2"]) == 0
        assert main(["train", str(dataset), *options]) == 0
        assert main(["train", "--resume", "--steps", "2"]) == 0
        yield folder, dataset
    finally:
        os.chdir(before)


def test_a_resumed_run_equals_one_that_went_on(road):
    whole, resumed = (torch.load(f"runs/{name}/last.pt", weights_only=True)["model"] for name in ("whole", "latest"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_it_is_scored_and_predicts(road, segkit):
    folder, dataset = road
    outcome = segkit("eval", "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["images"] > 0
    outcome = segkit("predict", dataset / "images", "--score", 0.01)
    assert outcome.code == 0, outcome.err
    assert (folder / "predictions/results.json").is_file()


def test_the_exported_file_predicts_what_the_model_does(road, segkit):
    outcome = segkit("export")
    assert outcome.code == 0, outcome.err
    (path,) = Path("runs/latest").resolve().glob("*.onnx")
    exported = OnnxModel(path)
    module, card = load_model(Path("runs/latest/last.pt"), torch.device("cpu"))
    assert exported.card == card
    image = torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        here, there = module.eval()([image])[0], exported([image])[0]
    count = min(5, len(here["scores"]), len(there["scores"]))
    assert np.allclose(here["scores"][:count], there["scores"][:count], atol=1e-3)


def test_its_memory_is_measured(road, segkit):
    outcome = segkit("memprofile", "runs/latest", "--steps", 1)
    assert outcome.code == 5, outcome.err  # too few steps for a verdict; what a step needs is measured
    assert json.loads(Path("memprofile/memory.json").read_text())["phases"]["backward"]["rss"] > 0


def test_its_memory_is_estimated(road):
    options = load_config(TrainConfig, Path("runs/latest/config.toml"))
    plan = plan_without_folder(options, *read_data(road[1]), torch.device("cuda"), 1, torch.bfloat16)
    with Rehearsal(plan, 1) as rehearsal:
        peaks = [rehearsal.step(scene) for scene in scenes_of(plan, 1)[:1]]
    assert peaks[0].allocated > 0
    assert not rehearsal.oracle.unknown
