"""Two ranks on one GPU (gloo, as NCCL refuses that) learn what one rank learns."""

import os
import subprocess
import sys
from pathlib import Path

from data import draw_dataset
from results import Stage, stage

from segkit.runs.metrics_file import read_metrics

TOLERANCE = 1e-3  # relative, in fp32: sums in another order
MODELS = {"Mask R-CNN": "maskrcnn", "U-Net": "unet"}


def start(running: Stage, dataset: Path, model: str, ranks: int) -> "subprocess.Popen[str]":
    """Start a training in processes of its own; two pictures at a time go through the model in any case."""
    name = f"{model}-{ranks}"
    side = "256" if not running.rehearse else "64"
    options = [
        str(dataset), "--model", model, "--backbone", "resnet18", "--weights", "none", "--norm", "group",
        "--size", side, "--batch", "4", "--micro-batch", "2", "--steps", "4", "--optimizer", "sgd", "--lr", "0.0001",
        "--precision", "fp32", "--workers", "0", "--eval-every", "100", "--quiet",
        "--out", str(running.folder / "runs"), "--name", name,
    ]  # fmt: skip
    command = [sys.executable, "-m"]
    if running.device == "cpu":
        command += ["segkit", "train", *options, "--device", "cpu", "--ranks", str(ranks)]
    elif ranks == 1:
        command += ["segkit", "train", *options, "--gpus", "0"]
    else:
        launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), "-m"]
        command += [*launcher, "segkit", "train", *options, "--gpus", "0"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)


def losses(running: Stage, process: "subprocess.Popen[str]", name: str) -> list[float]:
    """The loss of every step of a run, once it has ended."""
    error = process.communicate()[1]
    if process.returncode:
        raise SystemExit(f"{name}: exit code {process.returncode}: {error[-800:]}")
    lines = read_metrics(running.folder / "runs" / name / "metrics.jsonl")
    return [line["loss"] for line in lines if line["kind"] == "step"]


def measure(running: Stage) -> None:
    """Compare the losses of all steps."""
    side = 256 if not running.rehearse else 64
    dataset = draw_dataset(running.folder / "data", images=8, height=side, width=side, instances=5)
    models = MODELS if not running.rehearse else {"U-Net": "unet"}
    started = {(model, ranks): start(running, dataset, model, ranks) for model in models.values() for ranks in (1, 2)}
    for name, model in models.items():
        with running.case(name) as figures:
            one, two = (losses(running, started[model, ranks], f"{model}-{ranks}") for ranks in (1, 2))
            difference = max(abs(a - b) / max(abs(a), 1e-12) for a, b in zip(one, two, strict=True))
            figures |= {"one": one, "two": two, "largest_relative_difference": difference}
            if difference > TOLERANCE:
                raise SystemExit(f"losses differ by {difference:.2e}")


if __name__ == "__main__":
    with stage("ranks") as running:
        measure(running)
