"""Several ranks are one run: they use the same images as one rank, and end together."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import psutil
import pytest
import torch
from training import config, lines, start

from segkit.config.train import TrainConfig
from segkit.errors import InputError
from segkit.training.train import train

ONE_STAGE = [pytest.param(name, marks=pytest.mark.slow) for name in ("condinst", "solov2")]


@pytest.mark.parametrize("model", ["unet", "maskrcnn", *ONE_STAGE])
def test_two_ranks_share_a_batch(dataset, tmp_path, model):
    """With group norm, two ranks use the same images in the same steps as one rank, and have the same losses."""
    some = config(dataset, tmp_path, model=model, batch=4, norm="group", steps=3, augment="medium")
    one, two = train(some), train(replace(some, ranks=2))
    assert two.steps == 3
    for a, b in zip(lines(one.run), lines(two.run), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4 if a["step"] <= 2 else 1e-2)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-3 if a["step"] <= 2 else 5e-2)
    assert one.metrics.images == two.metrics.images


def test_a_bad_image_in_one_rank_ends_all_ranks_with_its_name_and_a_checkpoint(dataset, tmp_path):
    broken = tmp_path / "d"
    shutil.copytree(dataset, broken)
    first = train(config(broken, tmp_path, model="unet", batch=2, steps=1, ranks=2)).run
    images = json.loads((broken / "train.json").read_text())["images"]
    from segkit.loading.sampler import TrainingOrder

    order = TrainingOrder(np.zeros(len(images), np.int64), 2, 0)
    name = images[order.keys_of(3)[1].image]["file_name"]  # rank 1's picture in the fourth step
    (broken / "images" / name).unlink()
    (broken / "images" / name).write_bytes(b"nothing")
    before = next(
        step for step in range(1, 9) if any(images[k.image]["file_name"] == name for k in order.keys_of(step))
    )
    with pytest.raises(InputError, match=rf"{re.escape(name)}: not an image that can be decoded"):
        train(TrainConfig(resume=str(first), steps=9, ranks=2, device="cpu"))
    assert torch.load(first / "last.pt", weights_only=True)["step"] == before


def test_training_under_torchrun(dataset, tmp_path):
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


def test_a_killed_rank_is_named_and_ends_all_ranks(dataset, tmp_path):
    process = start(
        dataset, tmp_path, "--steps", "500", "--model", "unet", "--ranks", "2", "--eval-every", "1", session=True
    )
    deadline = time.monotonic() + 300
    while not (tmp_path / "r/last.pt").is_file() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert (tmp_path / "r/last.pt").is_file()
    ranks = [p for p in psutil.Process(process.pid).children(recursive=True) if "spawn_main" in " ".join(p.cmdline())]
    assert len(ranks) == 2
    ranks[1].kill()
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "was killed by signal 9" in err
    assert "hint: was the machine out of memory? if the run has a last.pt, go on with: segkit train --resume" in err
    assert "Traceback" not in err
    assert not any(rank.is_running() and rank.status() != psutil.STATUS_ZOMBIE for rank in ranks)
    assert "model" in torch.load(tmp_path / "r/last.pt", weights_only=True)


@pytest.mark.slow
def test_training_on_two_nodes(dataset, tmp_path):
    """Two rendezvous agents on the loopback device, like two machines: one run, with the same losses as one rank."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    options = ["--model", "unet", "--device", "cpu", "--weights", "none", "--size", "64", "--batch", "4"]
    options += ["--steps", "3", "--norm", "group", "--precision", "fp32", "--out", str(tmp_path)]
    nodes = [
        subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend",
             "c10d", "--rdzv-endpoint", f"localhost:{port}", "--rdzv-id", "t", "-m", "segkit", "train", str(dataset),
             *options, "--name", "two"],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        for _ in range(2)
    ]  # fmt: skip
    assert [node.wait(timeout=300) for node in nodes] == [0, 0]
    assert json.loads((tmp_path / "two/origin.json").read_text())["ranks"] == 2
    alone = config(dataset, tmp_path, model="unet", batch=4, steps=3, norm="group", augment="light")
    for a, b in zip(lines(train(alone).run), lines(tmp_path / "two"), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-3)


def _leftovers(rank):
    """What another program has left in the environment; nobody listens at its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return {"RANK": str(rank), "WORLD_SIZE": "3", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


@pytest.mark.parametrize(("rank", "whom"), [(0, "for ranks 1, 2 at 127.0.0.1:"), (2, "for the process at 127.0.0.1:")])
def test_ranks_that_never_come_are_named_and_not_waited_for_long(segkit, here, dataset, monkeypatch, rank, whom):
    for name, value in _leftovers(rank).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("segkit.runtime.meeting._ALONE_SECONDS", 1.0)
    monkeypatch.setattr("segkit.runtime.meeting._SILENT_SECONDS", 0.3)
    outcome = segkit("train", dataset, "--device", "cpu", "--weights", "none", "--steps", 1)
    assert outcome.code == 1
    assert f"waiting {whom}" in outcome.err
    assert f"error: the ranks cannot meet: waited 1 s {whom}" in outcome.err
    assert "unset them for a run by itself" in outcome.err
    assert list(here.iterdir()) == []


def test_a_wait_for_other_ranks_is_said_at_once_and_ended_by_ctrl_c(dataset, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "segkit", "train", str(dataset), "--device", "cpu", "--weights", "none"],
        env=os.environ | _leftovers(0), cwd=tmp_path, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert "waiting for ranks 1, 2 at 127.0.0.1:" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert "error: interrupted" in process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert time.monotonic() - began < 20
    assert list(tmp_path.iterdir()) == []
