"""Out of memory anywhere and on any rank: the micro-batch gets smaller, steps and batches stay the same."""

import json
import operator
import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from training import config, lines, losses, same_weights

from segkit.config.train import TrainConfig
from segkit.errors import DeviceError
from segkit.training.train import train


def test_fp16_recovers_from_a_loss_that_is_not_finite():
    """The gradient scaler skips the step, lowers its scale and continues."""
    from segkit.training.optim import Average, groups_of, make_optimizer
    from segkit.training.state import TrainingState
    from segkit.training.step import update_weights

    layer = torch.nn.Linear(2, 2)
    optimizer = make_optimizer("sgd", groups_of(layer, {}), lr=0.1, weight_decay=0.0, momentum=0.0, fused=False)
    state = TrainingState(layer, optimizer, torch.amp.GradScaler("cpu"), Average(layer, 0.0))
    took = []
    for factor in (1.0, float("inf"), 1.0):
        state.scaler.scale(layer(torch.ones(1, 2)).sum() * factor).backward()
        state.scaler.unscale_(optimizer)
        took.append(update_weights(state, finite=True))
        optimizer.zero_grad()
    assert took == [True, False, True]
    assert all(torch.isfinite(p).all() for p in layer.parameters())


@pytest.fixture(scope="module")
def in_peace(dataset, tmp_path_factory):
    """The results of runs that do not run out of memory, by model."""
    return {
        model: train(config(dataset, tmp_path_factory.mktemp("peace"), model=model, batch=4, norm="group")).run
        for model in ("unet", "maskrcnn")
    }


def same(run, other):
    """The same steps on the same images, with the same losses except for the order of sums."""
    assert len(lines(run)) == len(lines(other)) == 4
    for a, b in zip(lines(run), lines(other), strict=True):
        # Sums in another order differ in the last bits, and every step of AdamW makes more of that.
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4 if a["step"] <= 2 else 2e-2)


def runs_out(*at):
    """A wrapper that raises torch's out-of-memory error in the given calls, counted from 0."""
    calls = iter(range(10**6))

    def wrap(whole):
        def wrapped(*arguments, **more):
            if next(calls) in at:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...")
            return whole(*arguments, **more)

        return wrapped

    return wrap


@pytest.mark.parametrize("model", ["unet", "maskrcnn"])
def test_a_micro_batch_of_one_gives_the_same_training(dataset, tmp_path, in_peace, model):
    same(train(config(dataset, tmp_path, model=model, batch=4, norm="group", micro_batch=1)).run, in_peace[model])


@pytest.mark.parametrize(
    ("where", "calls", "ends_with"),
    [
        ("torch.nn.GroupNorm.forward", [30], 2),
        ("torch.Tensor.backward", [1], 2),
        ("torch.Tensor.backward", [1, 2, 5], 1),
        ("torch.optim.AdamW.step", [0, 2], 4),
    ],
)
def test_a_step_that_runs_out_of_memory_is_repeated_in_parts(
    dataset, tmp_path, in_peace, monkeypatch, where, calls, ends_with
):
    owner, _, name = where.rpartition(".")
    owner = operator.attrgetter(owner.removeprefix("torch."))(torch)
    monkeypatch.setattr(owner, name, runs_out(*calls)(getattr(owner, name)))
    summary = train(config(dataset, tmp_path, model="unet", batch=4, norm="group"))
    assert (summary.ended, summary.steps, summary.skipped, summary.micro_batch) == ("complete", 4, 0, ends_with)
    assert lines(summary.run)[-1]["micro_batch"] == ends_with
    same(summary.run, in_peace["unet"])


def test_an_evaluation_that_runs_out_of_memory_is_repeated_in_parts(dataset, tmp_path, in_peace, monkeypatch, segkit):
    from segkit.models.unet import split_instances

    # the model is tried on noise first, twice where memory runs out
    monkeypatch.setattr("segkit.models.unet.split_instances", runs_out(0, 2)(split_instances))
    outcome = segkit(
        "train", dataset, "--model", "unet", "--weights", "none", "--size", 64, "--batch", 4, "--norm", "group",
        "--device", "cpu", "--precision", "fp32", "--steps", 4, "--eval-every", 1000, "--out", tmp_path,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "out of memory while trying the model on noise (64x64 as the model gets it); trying once more" in outcome.err
    assert "out of memory while evaluating 3 pictures at once, the largest" in outcome.err
    assert "going on with 2" in outcome.err
    here, there = lines(tmp_path / "unet-1", "eval")[0], lines(in_peace["unet"], "eval")[0]
    assert here["images"] == there["images"]
    assert here["semantic"]["mIoU"] == pytest.approx(there["semantic"]["mIoU"], abs=0.01)


def test_the_warning_names_the_heaviest_image_and_the_new_micro_batch(dataset, tmp_path, monkeypatch, segkit):
    monkeypatch.setattr("torch.Tensor.backward", runs_out(1)(torch.Tensor.backward))
    outcome = segkit(
        "train", dataset, "--weights", "none", "--size", 64, "--batch", 2, "--device", "cpu", "--steps", 2, "--out",
        tmp_path, "--eval-every", 1000,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert re.search(
        r"step 2: out of memory with 2 pictures at once, the largest \S+ \(64x64 as the model gets it, \d+ "
        r"instances?\); "
        r"going on with one at a time \(the batch stays 2\)",
        outcome.err,
    )


def test_an_image_that_never_fits_ends_the_run_with_its_name_and_a_checkpoint(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.Tensor.backward", runs_out(*range(2, 100))(torch.Tensor.backward))
    with pytest.raises(DeviceError, match=r"out of memory with \S+ \(64x64") as caught:
        train(config(dataset, tmp_path, model="unet", batch=2))
    assert "--size" in caught.value.hint
    assert torch.load(tmp_path / "unet-1/last.pt", weights_only=True)["step"] == 2


def test_a_resumed_run_keeps_the_reduced_micro_batch(dataset, tmp_path, monkeypatch):
    some = config(dataset, tmp_path, model="unet", batch=4, schedule="constant", warmup=0)
    with monkeypatch.context() as patch:
        patch.setattr("torch.Tensor.backward", runs_out(0)(torch.Tensor.backward))
        run = train(some).run
    assert train(TrainConfig(resume=str(run), steps=5)).micro_batch == 2
    assert train(TrainConfig(resume=str(run), steps=6, micro_batch=3)).micro_batch == 3


ONE_RANK_RUNS_OUT = """
import itertools, os, sys, torch

def short(owner, name, *at):
    whole, calls = getattr(owner, name), itertools.count()
    def wrapped(*arguments, **more):
        if next(calls) in at:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 1 has ...")
        return whole(*arguments, **more)
    setattr(owner, name, wrapped)

if os.environ["RANK"] == "1":
    short(torch.nn.GroupNorm, "forward", 40)  # in the second step: every forward pass has 30
    short(torch.nn.Conv2d, "forward", 5)  # in the first one
    short(torch.optim.AdamW, "step", 1)
    import segkit.models.unet
    short(segkit.models.unet, "split_instances", 0, 2)  # on noise, and in the evaluation
from segkit.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_one_of_two_ranks_runs_out_of_memory_repeatedly(dataset, tmp_path, in_peace):
    script = tmp_path / "short.py"
    script.write_text(ONE_RANK_RUNS_OUT)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", str(script), "train", str(dataset),
         "--model", "unet", "--device", "cpu", "--weights", "none", "--size", "64", "--batch", "4", "--steps", "4",
         "--norm", "group", "--precision", "fp32", "--eval-every", "1000", "--out", str(tmp_path), "--name", "r",
         "--json"],
        capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["steps"], summary["skipped"], summary["micro_batch"]) == (4, 0, 1)
    assert summary["metrics"]["images"] == 3
    assert "step 1: out of memory with 2 pictures at once" in done.stderr
    same(tmp_path / "r", in_peace["unet"])


def test_micro_batch_auto_fits_the_heaviest_images(dataset, tmp_path, segkit):
    """On a CPU live tensors are counted: a smaller limit gives a smaller micro-batch, a limit too small a warning."""
    arguments = ["train", dataset, "--model", "unet", "--weights", "none", "--size", 128, "--batch", 8, "--device",
                 "cpu", "--precision", "fp32", "--steps", 1, "--eval-every", 1000, "--out", tmp_path,
                 "--micro-batch", "auto"]  # fmt: skip
    found = {}
    for budget in ("4GiB", "300MB"):
        outcome = segkit(*arguments, "--vram", budget, "--json")
        assert outcome.code == 0, outcome.err
        assert f"--micro-batch auto: {json.loads(outcome.out)['micro_batch']} of 8 pictures at once" in outcome.err
        found[budget] = json.loads(outcome.out)["micro_batch"]
    assert found["4GiB"] == 8 > found["300MB"] >= 1
    outcome = segkit(*arguments, "--vram", "100MB")
    assert outcome.code == 1
    assert "not even one picture at a time fits into" in outcome.err


def test_choosing_the_micro_batch_has_no_side_effects(dataset, tmp_path):
    some = config(dataset, tmp_path, model="unet", batch=2)
    plain, auto = train(some).run, train(replace(some, micro_batch="auto", vram=2**33)).run
    assert losses(plain) == losses(auto)
    assert same_weights(plain, auto)
