"""For the tests of training: a very small run, and functions that read its results."""

import subprocess
import sys
import time

import torch

from segkit.config.train import TrainConfig
from segkit.runs.metrics_file import read_metrics

TINY = {
    "weights": "none",
    "backbone": "resnet18",
    "size": 64,
    "device": "cpu",
    "precision": "fp32",
    "augment": "light",
}


def config(dataset, out, **more):
    """A configuration; an untrained detector has as many detections as it may, and their masks take the time."""
    few = {} if more.get("model", "maskrcnn") == "unet" else {"detections": 10}
    own = {"dataset": dataset, "out": out, "steps": 4, "batch": 2, "eval_every": 1000}
    return TrainConfig(**(TINY | few | own | more))


def lines(run, kind="step"):
    return [line for line in read_metrics(run / "metrics.jsonl") if line["kind"] == kind]


def losses(run):
    return [line["losses"] for line in lines(run)]


def weights(run):
    return torch.load(run / "last.pt", weights_only=True)["model"]


def same_weights(one, other):
    """Whether the last checkpoints of two runs have the same parameters, bit for bit."""
    one, other = weights(one), weights(other)
    return list(one) == list(other) and all(torch.equal(value, other[name]) for name, value in one.items())


def start(dataset, out, *more, session=False, resume=None):
    """Start a run in another process."""
    defaults = {"--weights": "none", "--size": "64", "--batch": "2", "--device": "cpu", "--name": "r"}
    defaults |= {"--eval-every": "1000", "--out": str(out)}
    fresh = [str(dataset), *more, *(word for pair in defaults.items() if pair[0] not in more for word in pair)]
    options = fresh if resume is None else ["--resume", str(resume)]
    return subprocess.Popen(
        [sys.executable, "-m", "segkit", "train", *options], stderr=subprocess.PIPE, text=True,
        start_new_session=session,
    )  # fmt: skip


def wait_for_steps(run, count, process):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if (run / "metrics.jsonl").is_file() and len(lines(run)) >= count:
            return
        time.sleep(0.1)
    raise AssertionError(f"no {count} steps: {process.communicate()[1]}")
