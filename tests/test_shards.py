"""--shard: parameters, gradients and optimiser state over several ranks, as one run without."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace

import psutil
import pytest
import torch
import torch.distributed as dist
from random_models import card_of
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from training import config, lines, start, weights

from segkit.config.train import TrainConfig
from segkit.runtime.ranks import Ranks, by_itself
from segkit.training.gradients import SharedGradients
from segkit.training.optim import make_optimizer
from segkit.training.shards import ShardedGradients, load_whole, shard, whole
from segkit.training.train import train

SHARDS = hasattr(FSDPModule, "set_reduce_scatter_unused_params")  # PyTorch 2.11 refuses


def near(run, other, steps):
    """The same steps, with the same losses except for the order of sums."""
    assert len(lines(run)) == len(lines(other)) == steps
    for a, b in zip(lines(run), lines(other), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4 if a["step"] <= 2 else 1e-2)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-3 if a["step"] <= 2 else 5e-2)


@pytest.fixture
def one_rank():
    """A process group of this process alone: ``fully_shard`` works as with several, without their start."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield Ranks(0, 1, torch.device("cpu"))
    dist.destroy_process_group()


def learner(ranks=None):
    """A model with its optimizer and its gradients, spread over ranks where there are any."""
    torch.manual_seed(0)
    module = card_of("unet", norm="group").build().train()
    if ranks is not None:
        shard(module, ranks)
    gradients = ShardedGradients(module, ranks) if ranks is not None else SharedGradients(module, by_itself())
    groups = [{"params": list(module.parameters()), "decays": True}]
    optimizer = make_optimizer("adamw", groups, lr=1e-3, weight_decay=0.1, momentum=0.9, fused=True)
    return module, optimizer, gradients


def step_of(module, optimizer, gradients):
    """A step on the same images every time: its loss, and the norm of its gradients."""
    torch.manual_seed(1)
    images = [torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8) for _ in range(2)]
    labels = [torch.randint(0, 3, (64, 96), dtype=torch.uint8) for _ in range(2)]
    loss = sum(module(images, [{"semantic": each} for each in labels]).values())
    gradients.clear()
    loss.backward()
    norm = gradients.clip(0.5)
    optimizer.step()
    return loss.item(), norm


@pytest.mark.skipif(not SHARDS, reason="needs a newer PyTorch")
def test_a_spread_model_steps_as_a_whole_one_and_its_checkpoints_are_whole(one_rank):
    spread, plain = learner(one_rank), learner()
    assert all(isinstance(each, DTensor) for each in spread[0].parameters())
    for _ in range(2):
        assert step_of(*spread) == pytest.approx(step_of(*plain), rel=1e-4)
    content = {"model": whole(spread[0].state_dict(), one_rank), "optimizer": whole(spread[1].state_dict(), one_rank)}
    assert not any(isinstance(each, DTensor) for each in content["model"].values())
    for name, value in plain[0].state_dict().items():
        assert torch.allclose(content["model"][name], value, atol=1e-4)
    again = learner(one_rank)
    load_whole(again[0], again[1], content)
    plain[0].load_state_dict(content["model"])
    plain[1].load_state_dict(content["optimizer"])
    assert step_of(*again) == pytest.approx(step_of(*plain), rel=1e-4)
    with pytest.raises(ValueError, match="other weights"):
        load_whole(again[0], again[1], content | {"model": {}})


@pytest.mark.slow
@pytest.mark.skipif(not SHARDS, reason="needs a newer PyTorch")
def test_a_model_over_two_ranks_learns_as_on_one_and_its_checkpoint_goes_on_without(dataset, tmp_path):
    some = config(dataset, tmp_path, model="unet", batch=4, norm="group", steps=2)
    one, two = train(some), train(replace(some, ranks=2, shard=True))
    near(two.run, one.run, 2)
    assert two.metrics.images == one.metrics.images
    content, alone = (torch.load(run.run / "last.pt", weights_only=True) for run in (two, one))
    assert {name: value.shape for name, value in content["model"].items()} == {
        name: value.shape for name, value in alone["model"].items()
    }
    assert type(content["model"]["head.weight"]) is torch.Tensor
    assert content["optimizer"]["state"].keys() == alone["optimizer"]["state"].keys()
    for run in (one, two):
        train(TrainConfig(resume=str(run.run), steps=3, device="cpu"))
    near(two.run, one.run, 3)


MODELS = {
    "maskrcnn": {},
    "panoptic": {"stuff": ("plate",)},
    "condinst": {},
    "solov2": {},
    "recomputed": {"model": "maskrcnn", "memory": "low"},
    "frozen": {"model": "maskrcnn", "freeze": ("backbone",)},
    "pointrend": {"model": "maskrcnn", "mask_head": "pointrend"},
    "parts": {"model": "maskrcnn", "micro_batch": 1},
    "three ranks": {"model": "unet", "batch": 6, "ranks": 3},
    "sgd": {"model": "unet", "optimizer": "sgd"},
    "adam": {"model": "unet", "optimizer": "adam"},
    "rmsprop": {"model": "unet", "optimizer": "rmsprop"},
    "adagrad": {"model": "unet", "optimizer": "adagrad"},
    "clipped": {"model": "unet", "clip_grad": 0.1},
}


@pytest.mark.slow
@pytest.mark.skipif(not SHARDS, reason="needs a newer PyTorch")
@pytest.mark.parametrize("name", MODELS)
def test_models_and_options_go_with_it(dataset, tmp_path, name):
    some = config(dataset, tmp_path, **({"model": name, "batch": 4, "norm": "group", "steps": 2} | MODELS[name]))
    ranks = max(some.ranks, 2)
    one, two = train(replace(some, ranks=1)), train(replace(some, ranks=ranks, shard=True))
    near(two.run, one.run, 2)


@pytest.mark.slow
@pytest.mark.skipif(not SHARDS, reason="needs a newer PyTorch")
def test_a_transformer_goes_with_it(dataset, tmp_path, rfdetr_folder):
    some = TrainConfig(
        dataset=dataset, out=tmp_path, model="rfdetr", weights=str(rfdetr_folder), device="cpu", precision="fp32",
        batch=2, steps=2, eval_every=1000, detections=10, workers=0,
    )  # fmt: skip
    near(train(replace(some, ranks=2, shard=True)).run, train(some).run, 2)


@pytest.mark.slow
@pytest.mark.skipif(not SHARDS, reason="needs a newer PyTorch")
def test_a_run_without_goes_on_with_it(dataset, tmp_path):
    some = config(dataset, tmp_path, model="unet", batch=4, norm="group", steps=2)
    one, other = train(some), train(replace(some, name="other"))
    train(TrainConfig(resume=str(one.run), steps=4, device="cpu"))
    train(TrainConfig(resume=str(other.run), steps=4, device="cpu", ranks=2, shard=True))
    near(other.run, one.run, 4)
    for name, value in weights(one.run).items():
        assert torch.allclose(value.float(), weights(other.run)[name].float(), atol=1e-3)


RANK = """
import os, sys, torch
import segkit.training.train as training

whole = training.train_step
def step(run, batch):
    outcome = whole(run, batch)
    kept = [v for values in run.state.optimizer.state.values() for v in values.values() if v.ndim]
    learnt = list(run.state.module.parameters())
    part = sum(v.to_local().numel() for v in learnt), sum(v.to_local().numel() for v in kept)
    print("part", *part, sum(v.numel() for v in learnt), sum(v.numel() for v in kept), flush=True)
    return outcome
training.train_step = step
if os.environ.get("RUNS_OUT") and os.environ["RANK"] == "1":
    def short(*arguments, **more):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 1 has ...")
    torch.nn.functional.cross_entropy = torch.Tensor.backward = short
from segkit.cli import main
sys.exit(main(sys.argv[1:]))
"""


def under_torchrun(dataset, tmp_path, **variables):
    script = tmp_path / "rank.py"
    script.write_text(RANK)
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", str(script), "train", str(dataset),
         "--model", "unet", "--device", "cpu", "--weights", "none", "--size", "64", "--batch", "4", "--steps", "1",
         "--norm", "group", "--precision", "fp32", "--out", str(tmp_path), "--name", "r", "--shard"],
        capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"} | variables, timeout=300,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(not SHARDS, reason="needs a newer PyTorch")
def test_each_rank_holds_its_part_of_parameters_and_optimiser_state(dataset, tmp_path):
    done = under_torchrun(dataset, tmp_path)
    assert done.returncode == 0, done.stderr
    parts = [[int(each) for each in line.split()[1:]] for line in done.stdout.splitlines() if line.startswith("part")]
    assert len(parts) == 2
    for own, own_state, everything, state in parts:
        assert own / everything == pytest.approx(0.5, abs=0.01)
        assert own_state / state == pytest.approx(0.5, abs=0.01)
    assert sum(own for own, *_ in parts) == parts[0][2]


@pytest.mark.slow
@pytest.mark.skipif(not SHARDS, reason="needs a newer PyTorch")
def test_a_rank_that_runs_out_of_memory_ends_the_run_and_says_how_to_go_on(dataset, tmp_path):
    done = under_torchrun(dataset, tmp_path, RUNS_OUT="1")
    assert done.returncode != 0
    assert "with --shard a step is not repeated in smaller parts" in done.stderr
    assert "go on with fewer at once: segkit train --resume" in done.stderr
    assert "forward_backward" not in done.stderr  # a traceback of ours; torchrun shows its own
    assert not any("rank.py" in " ".join(each.info["cmdline"] or ()) for each in psutil.process_iter(["cmdline"]))


@pytest.mark.slow
@pytest.mark.skipif(not SHARDS, reason="needs a newer PyTorch")
@pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("killed", ["a rank", "the process that started them"])
def test_after_a_kill_the_others_end_and_no_process_is_left(dataset, tmp_path, killed):
    process = start(
        dataset, tmp_path, "--steps", "500", "--model", "unet", "--batch", "4", "--norm", "group", "--ranks", "2",
        "--shard", "--eval-every", "1", session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while not (tmp_path / "r/last.pt").is_file() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert (tmp_path / "r/last.pt").is_file()
    of_the_run = psutil.Process(process.pid).children(recursive=True)
    ranks = [each for each in of_the_run if "spawn_main" in " ".join(each.cmdline())]
    assert len(ranks) == 2
    (ranks[1] if killed == "a rank" else process).kill()
    _, err = process.communicate(timeout=120)
    if killed == "a rank":
        assert process.returncode == 1
        assert "was killed by signal 9" in err
        assert "segkit train --resume" in err
        assert "Traceback" not in err
    _, left = psutil.wait_procs(of_the_run, timeout=60)
    assert [each for each in left if each.status() != psutil.STATUS_ZOMBIE] == []
    assert "model" in torch.load(tmp_path / "r/last.pt", weights_only=True)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--ranks", 1], "--shard spreads a model over several ranks, and this run has one"),
        (["--ranks", 2, "--ema", 0.9], "--shard and --ema do not go together"),
        (["--ranks", 2, "--freeze", "backbone", "--unfreeze-after", 3], "--shard and --unfreeze-after do not go"),
        (["--ranks", 2, "--micro-batch", "auto"], "--shard and --micro-batch auto do not go together"),
        (["--ranks", 2, "--precision", "fp16"], "--shard and --precision fp16 do not go together"),
        (["--ranks", 2, "--compile"], "--shard and --compile do not go together"),
        (["--ranks", 2, "--channels-last"], "--shard and --channels-last do not go together"),
    ],
)
def test_what_it_cannot_do_is_refused(segkit, here, dataset, options, says):
    outcome = segkit("train", dataset, "--device", "cpu", "--weights", "none", "--shard", *options)
    assert outcome.code == 1
    assert says in outcome.err
    assert not (here / "runs").exists()


@pytest.mark.slow
@pytest.mark.skipif(not SHARDS, reason="needs a newer PyTorch")
def test_an_estimate_spreads_what_is_held_between_steps(dataset, tmp_path, segkit):
    held = {}
    for spread in (False, True):
        file = tmp_path / f"{spread}.toml"
        file.write_text(f"dataset = '{dataset}'\nmodel = 'unet'\nweights = 'none'\nsize = 64\nbatch = 4\n"
                        f"gpus = [0, 1]\nshard = {str(spread).lower()}\n")  # fmt: skip
        outcome = segkit("memprofile", file, "--fit", "--json", "--out", tmp_path / str(spread))
        document = json.loads(outcome.out)
        held[spread] = document["settings"][0]["held"]
        assert document["training"]["shard"] is spread
    assert held[True] == pytest.approx(held[False] / 2, rel=0.02)
