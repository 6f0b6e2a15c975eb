"""Training as its users know it: it learns, it ends well, it goes on where it was."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from segkit.config.fields import load_config
from segkit.config.train import TrainConfig
from segkit.errors import InputError
from segkit.runs import read_metrics
from segkit.train import train

TINY = {
    "weights": "none",
    "backbone": "resnet18",
    "size": 64,
    "device": "cpu",
    "precision": "fp32",
    "augment": "light",
}


def config(dataset, out, **more):
    return TrainConfig(**(TINY | {"dataset": dataset, "out": out, "steps": 4, "batch": 2, "eval_every": 1000} | more))


def lines(run, kind="step"):
    return [line for line in read_metrics(run / "metrics.jsonl") if line["kind"] == kind]


def losses(run):
    return [line["losses"] for line in lines(run)]


def weights(run):
    return torch.load(run / "last.pt", weights_only=True)["model"]


@pytest.mark.parametrize("model", ["maskrcnn", "fasterrcnn", "unet"])
def test_a_run_leaves_what_it_promises(dataset, tmp_path, model):
    summary = train(config(dataset, tmp_path, model=model))
    run = summary.run
    assert summary.ended == "complete"
    assert summary.steps == 4
    assert run == tmp_path / f"{model}-1"
    assert (tmp_path / "latest").resolve() == run
    assert {p.name for p in run.iterdir()} == {
        "config.toml", "origin.json", "metrics.jsonl", "last.pt", "best.pt", "labels.txt", "curves.png",
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
    for name, value in weights(first).items():
        assert torch.equal(value, weights(again)[name])


@pytest.mark.parametrize("model", ["maskrcnn", "unet"])
def test_a_resumed_run_equals_an_uninterrupted_one(dataset, tmp_path, model):
    whole = train(config(dataset, tmp_path, model=model, steps=6, schedule="constant", warmup=0, ema=0.9)).run
    part = train(config(dataset, tmp_path, model=model, steps=3, schedule="constant", warmup=0, ema=0.9)).run
    train(TrainConfig(resume=str(part), steps=6))
    assert losses(part) == losses(whole)
    assert [line["step"] for line in lines(part)] == [1, 2, 3, 4, 5, 6]
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(part)[name])


def test_micro_batches_of_a_unet_sum_to_the_batch(dataset, tmp_path):
    """With cross entropy over equally many pixels, accumulated gradients are those of the whole batch."""
    some = config(dataset, tmp_path, model="unet", batch=4, norm="group", loss="ce", augment="none", lr=1e-3)
    whole, parts = train(some).run, train(replace(some, micro_batch=1)).run
    for a, b in zip(lines(whole), lines(parts), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=2e-2)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=5e-2)


def test_two_ranks_share_a_batch(dataset, tmp_path):
    """With group norm, two ranks see the same pictures in the same steps and come to the same losses as one."""
    some = config(dataset, tmp_path, model="unet", batch=4, norm="group", loss="ce", augment="none", lr=1e-3, steps=3)
    one, two = train(some), train(replace(some, ranks=2))
    assert two.steps == 3
    for a, b in zip(lines(one.run), lines(two.run), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=2e-2)
    assert one.metrics.images == two.metrics.images
    assert one.metrics.semantic.mIoU == pytest.approx(two.metrics.semantic.mIoU, abs=0.05)


def test_a_bad_picture_in_a_rank_ends_all_of_them_with_its_name(dataset, tmp_path):
    broken = tmp_path / "d"
    shutil.copytree(dataset, broken)
    for picture in (broken / "images").glob("*.jpg"):
        picture.write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"not a picture that can be decoded"):
        train(config(broken, tmp_path, ranks=2))


def test_loader_processes_change_nothing(dataset, tmp_path):
    some = config(dataset, tmp_path, model="unet")
    assert losses(train(some).run) == losses(train(replace(some, workers=2)).run)


def test_bf16_learns_too(dataset, tmp_path):
    summary = train(config(dataset, tmp_path, precision="bf16", steps=2))
    assert all(math.isfinite(line["loss"]) for line in lines(summary.run))


def test_fp16_recovers_from_a_loss_that_is_not_finite():
    """The scaler leaves the step out, shrinks, and goes on; so does the count of steps left out."""
    from segkit.learn import _update
    from segkit.optim import Average, make_optimizer
    from segkit.state import TrainingState

    layer = torch.nn.Linear(2, 2)
    optimizer = make_optimizer("sgd", layer, lr=0.1, weight_decay=0.0, momentum=0.0, fused=False)
    state = TrainingState(layer, optimizer, torch.amp.GradScaler("cpu"), Average(layer, 0.0))
    for factor in (1.0, float("inf"), 1.0):
        state.scaler.scale(layer(torch.ones(1, 2)).sum() * factor).backward()
        state.scaler.unscale_(optimizer)
        _update(state, finite=True)
    assert state.skipped == 1
    assert state.skipped_in_a_row == 0
    assert all(torch.isfinite(p).all() for p in layer.parameters())


def test_a_split_with_nothing_to_find_keeps_the_last_model(dataset, tmp_path):
    bare = tmp_path / "d"
    shutil.copytree(dataset, bare)
    val = json.loads((bare / "val.json").read_text())
    (bare / "val.json").write_text(json.dumps(val | {"annotations": []}))
    summary = train(config(bare, tmp_path, model="fasterrcnn", steps=2, batch=9, eval_every=1, patience=1))
    assert summary.steps == 2
    assert torch.load(summary.run / "best.pt", weights_only=True)["step"] == 2


def test_resume_refuses_what_would_make_it_another_run(dataset, tmp_path, segkit):
    run = train(config(dataset, tmp_path, model="unet", steps=1)).run
    outcome = segkit("train", "--resume", run, "--lr", 0.1)
    assert outcome.code == 1
    assert "--lr cannot be changed" in outcome.err
    assert segkit("train", "--resume", run, "--steps", 2, "--workers", 1, "--device", "cpu").code == 0


def test_a_checkpoint_as_weights_brings_its_backbone(dataset, tmp_path, segkit):
    run = train(config(dataset, tmp_path, model="unet", backbone="mobilenet_v2", steps=1)).run
    weights = run / "best.pt"
    again = train(config(dataset, tmp_path, model="unet", backbone=None, weights=str(weights), steps=1)).run
    assert load_config(TrainConfig, again / "config.toml").backbone == "mobilenet_v2"
    outcome = segkit("train", dataset, "--weights", weights, "--backbone", "resnet18", "--out", tmp_path)
    assert "is a unet with mobilenet_v2, not a maskrcnn with resnet18" in outcome.err


def test_the_first_host_of_a_slurm_step():
    from segkit.device import _first_host

    assert _first_host("gpu[03-05,9],login") == "gpu03"
    assert _first_host("node7,node8") == "node7"
    assert _first_host("a[1-2]-ib") == "a1-ib"


def test_torchrun_joins_its_ranks(dataset, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "segkit", "train", str(dataset),
         "--model", "unet", "--device", "cpu", "--weights", "none", "--size", "64", "--batch", "2", "--steps", "2",
         "--out", str(tmp_path), "--name", "joined", "--json"],
        capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [line["step"] for line in lines(tmp_path / "joined")] == [1, 2]
    assert json.loads((tmp_path / "joined/origin.json").read_text())["ranks"] == 2
    assert json.loads(done.stdout)["steps"] == 2  # one document, from rank 0


def start(dataset, out, *more, session=False):
    return subprocess.Popen(
        [sys.executable, "-m", "segkit", "train", str(dataset), "--weights", "none", "--size", "64", "--batch", "2",
         "--device", "cpu", "--out", str(out), "--name", "r", "--eval-every", "1000", *more],
        stderr=subprocess.PIPE, text=True, start_new_session=session,
    )  # fmt: skip


def wait_for_steps(run, count, process):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if (run / "metrics.jsonl").is_file() and len(lines(run)) >= count:
            return
        time.sleep(0.1)
    raise AssertionError(f"no {count} steps: {process.communicate()[1]}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_ends_with_130(dataset, tmp_path, number):
    process = start(dataset, tmp_path, "--steps", "500", "--model", "unet")
    wait_for_steps(tmp_path / "r", 2, process)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert f"go on with: segkit train --resume {tmp_path / 'r'}" in err
    done = torch.load(tmp_path / "r/last.pt", weights_only=True)["step"]
    assert done == len(lines(tmp_path / "r"))
    assert train(TrainConfig(resume=str(tmp_path / "r"), steps=done + 1)).steps == done + 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_ranks_together(dataset, tmp_path, number):
    """Ctrl-C goes to every process of the terminal, a scheduler's SIGTERM to the first alone."""
    process = start(dataset, tmp_path, "--steps", "500", "--model", "unet", "--ranks", "2", session=True)
    wait_for_steps(tmp_path / "r", 2, process)
    ranks = psutil.Process(process.pid).children(recursive=True)
    assert len(ranks) >= 2
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, err = process.communicate(timeout=90)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "go on with: segkit train --resume" in err
    assert torch.load(tmp_path / "r/last.pt", weights_only=True)["step"] == len(lines(tmp_path / "r"))
    assert not any(rank.is_running() and rank.status() != psutil.STATUS_ZOMBIE for rank in ranks)


def test_a_killed_rank_ends_the_run_with_its_name_and_leaves_none_behind(dataset, tmp_path):
    process = start(
        dataset, tmp_path, "--steps", "500", "--model", "unet", "--ranks", "2", "--eval-every", "1", session=True
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "r/last.pt").is_file() and time.monotonic() < deadline:
        time.sleep(0.1)
    ranks = [p for p in psutil.Process(process.pid).children(recursive=True) if "spawn_main" in " ".join(p.cmdline())]
    assert len(ranks) == 2
    ranks[1].kill()
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "was killed by signal 9" in err
    assert "hint: was the machine out of memory? go on with: segkit train --resume" in err
    assert "Traceback" not in err
    assert not any(rank.is_running() and rank.status() != psutil.STATUS_ZOMBIE for rank in ranks)
    assert "model" in torch.load(tmp_path / "r/last.pt", weights_only=True)


def test_a_killed_run_goes_on_from_its_last_checkpoint(dataset, tmp_path):
    process = start(dataset, tmp_path, "--steps", "500", "--model", "unet", "--eval-every", "1")
    deadline = time.monotonic() + 120
    while not (tmp_path / "r/last.pt").is_file() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.communicate()
    saved = torch.load(tmp_path / "r/last.pt", weights_only=True)["step"]
    summary = train(TrainConfig(resume=str(tmp_path / "r"), steps=saved + 2))
    assert summary.steps == saved + 2
    assert [line["step"] for line in lines(tmp_path / "r")] == list(range(1, saved + 3))


def test_time_is_a_limit(dataset, tmp_path):
    summary = train(config(dataset, tmp_path, model="unet", steps=None, time=3.0))
    assert summary.ended == "time"
    assert summary.steps >= 1
    assert summary.seconds < 30


def test_patience_is_a_limit(dataset, tmp_path):
    summary = train(config(dataset, tmp_path, model="unet", steps=60, lr=0.0, eval_every=1, patience=2, norm="group"))
    assert summary.ended == "patience"
    assert summary.steps < 60


def test_steps_without_a_finite_loss_are_left_out_and_end_the_run_when_they_persist(dataset, tmp_path, segkit):
    outcome = segkit(
        "train", dataset, "--model", "unet", "--weights", "none", "--size", 64, "--batch", 2, "--device", "cpu",
        "--lr", "1e30", "--clip-grad", 0, "--warmup", 0, "--steps", 60, "--out", tmp_path, "--optimizer", "sgd",
    )  # fmt: skip
    assert outcome.code == 1
    assert "error: loss or gradients were not finite 10 steps in a row, last on" in outcome.err
    assert all(None in (line["loss"], line["grad_norm"]) for line in lines(tmp_path / "unet-1")[-10:])


def test_a_picture_that_breaks_later_is_named_and_what_was_learnt_is_kept(dataset, tmp_path, segkit):
    broken = tmp_path / "d"
    shutil.copytree(dataset, broken)
    first = train(config(broken, tmp_path, model="unet", steps=2, batch=1, name="r")).run
    seen = 2
    for picture in (broken / "images").glob("*.jpg"):
        picture.write_bytes(picture.read_bytes()[:700])
    outcome = segkit("train", "--resume", first, "--steps", 9)
    assert outcome.code == 1
    assert "cannot be decoded" in outcome.err or "not a picture" in outcome.err
    assert "hint: open it in a viewer; replace or remove it" in outcome.err
    assert torch.load(first / "last.pt", weights_only=True)["step"] == seen
    assert f"go on with: segkit train --resume {first}" in outcome.err


def test_categories_must_agree(dataset, tmp_path, segkit):
    other = tmp_path / "d"
    shutil.copytree(dataset, other)
    val = json.loads((other / "val.json").read_text())
    val["categories"][0]["name"] = "other"
    (other / "val.json").write_text(json.dumps(val))
    outcome = segkit("train", other, "--weights", "none", "--out", tmp_path)
    assert outcome.code == 1
    assert "its categories are not those of the training split" in outcome.err
    assert not list(tmp_path.glob("maskrcnn*"))


ERRORS = [
    (["nowhere"], "error: nowhere: no such dataset\nhint: make one: segkit convert LABELME-DIR"),
    (["{d}", "--gpus", "0,1"], "error: no CUDA device is available\nhint: use --device cpu"),
    (["{d}", "--gpus", "0", "--device", "cpu"], "error: --gpus and --device cpu contradict each other"),
    (["{d}", "--ranks", "2"], "error: --ranks goes with --device cpu"),
    (["{d}", "--device", "quantum"], "error: --device quantum: not a device"),
    (
        ["{d}", "--device", "cpu", "--ranks", "2", "--batch", "3"],
        "error: --batch 3 cannot be shared by 2 ranks",
    ),
    (
        ["{d}", "--weights", "nofile.pt"],
        "error: nofile.pt: no such file\nhint: known names are coco, imagenet and none",
    ),
    (
        ["{d}", "--weights", "coco", "--backbone", "resnet18"],
        "error: --weights coco: there are none for maskrcnn",
    ),
    (["{d}", "--precision", "fp16", "--device", "cpu"], "error: --precision fp16 needs a GPU"),
    (
        ["{d}", "--model", "unet", "--size", "100"],
        "error: --size 100: a U-Net's crop must be divisible by 32",
    ),
    (["{d}", "--resume", "nowhere"], "error: nowhere: not a run"),
    (["{d}", "--name", "a/b"], "error: --name 'a/b': a plain folder name"),
    (["{d}", "--device", "cpu", "--norm", "sync"], "error: --norm sync works on GPUs only"),
    (["{d}", "--device", "cpu", "--weights", "none", "--out", "{d}/train.json"], "File exists"),
]


@pytest.mark.skipif(torch.cuda.is_available(), reason="these messages are for machines without a GPU")
@pytest.mark.parametrize(("arguments", "message"), ERRORS)
def test_errors(segkit, here, dataset, arguments, message):
    outcome = segkit("train", *[argument.format(d=dataset) for argument in arguments])
    assert outcome.code == 1
    assert message in outcome.err
    assert "Traceback" not in outcome.err


def test_usage_errors(segkit, here):
    for arguments, message in (
        (["--model", "yolo"], "'yolo' is not one of"),
        (["--time", "soon"], "'soon' is not a duration such as 30s, 90m or 2h"),
        (["--gpus", "a"], "'a' is not a list of distinct numbers"),
        (["--epochs", "0"], "Invalid value for '--epochs'"),
        (["--epcohs", "5"], "No such option"),
    ):
        outcome = segkit("train", *arguments)
        assert outcome.code == 2, outcome.err
        assert message in outcome.err
        assert "hint: see segkit train --help" in outcome.err


def test_a_run_of_that_name_is_not_overwritten(segkit, here, dataset):
    (here / "runs/mine").mkdir(parents=True)
    outcome = segkit("train", dataset, "--name", "mine", "--weights", "none", "--steps", 1)
    assert outcome.code == 1
    assert "runs/mine: holds a run" in outcome.err


def test_flag_over_file_over_default(segkit, here, dataset):
    (here / "c.toml").write_text('model = "unet"\nsteps = 1\nsize = 64\nweights = "none"\nbatch = 2\ntime = "10m"\n')
    outcome = segkit("train", dataset, "--config", "c.toml", "--batch", 1, "--name", "r", "--device", "cpu")
    assert outcome.code == 0, outcome.err
    written = load_config(TrainConfig, here / "runs/r/config.toml")
    assert (written.model, written.steps, written.batch, written.time) == ("unet", 1, 1, 600.0)
    (here / "c.toml").write_text("stepps = 1\n")
    outcome = segkit("train", dataset, "--config", "c.toml")
    assert outcome.code == 2
    assert "unknown keys: stepps" in outcome.err


@pytest.mark.slow
def test_it_learns(dataset, tmp_path):
    """Shown the same eight pictures again and again, it finds what is in them."""
    alone = tmp_path / "d"
    shutil.copytree(dataset, alone)
    shutil.copy(alone / "train.json", alone / "val.json")
    summary = train(config(alone, tmp_path, steps=150, batch=4, size=96, augment="none"))
    assert summary.score[1] > 0.5


def test_a_wrong_size_names_the_picture(dataset, tmp_path):
    broken = tmp_path / "d"
    shutil.copytree(dataset, broken)
    for picture in (broken / "images").iterdir():
        pixels = np.zeros((10, 12, 3), np.uint8)
        picture.unlink()
        Image.fromarray(pixels).save(picture)
    with pytest.raises(InputError, match=r"has 10x12 pixels, the dataset says 96x96"):
        train(config(broken, tmp_path))
