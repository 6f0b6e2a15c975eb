"""The networks that find instances, at equal numbers of steps: mask AP, boundary AP, seconds and memory.

    python benchmarks/networks.py DATASET [--steps 150] [--seeds 0,1,2] [--size 128] [--models maskrcnn,pointrend]
        [--weights imagenet --backbone efficientnet_lite0] [--out FOLDER] [-- --detections 20]

DATASET is a folder that ``segkit convert`` wrote, with a validation split. For each network and seed, ``segkit train``
on a CPU, from random weights unless others are named, with all options that are not named here or after ``--`` at their
defaults, then ``segkit eval --iou segm,boundary`` of its last weights. ``pointrend`` is Mask R-CNN with ``--mask-head
pointrend``. Seconds are CPU time (user and system) of the training, its checkpoints and its evaluation at the end
included; the peak is the largest resident memory of its process. fasterrcnn has no masks: its box AP stands there, and
no boundary AP. With ``--out``, a training that is there already is
not run again. rfdetr has no backbone to choose: it begins at random, at the next multiple of 12 pixels.

    python benchmarks/networks.py DATASET --fit 320,512,800 [--models ...]

Nothing is trained: what ``memprofile --fit`` says that a step and an evaluation need on a GPU at most, with resnet50,
frozen norms, and the default batch at once, in bf16. ``rfdetr`` is nano, at the next multiple of 12 pixels.

    python benchmarks/networks.py DATASET --time 320,512,800 [--models ...]

Seconds of one core for an image in training (six steps of two images in fp32, median of the last four) and in a
prediction (median of five images of that size), and the largest resident memory of the training's process, at each
size: from random weights with resnet50 unless others are named, all options that are not named at their defaults.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import torch

from segkit.config.train import TrainConfig
from segkit.inference.model import load
from segkit.memprofile.needs import Overhead, estimate_training
from segkit.training.plan import plan_without_folder, read_data

NETWORKS = {
    "maskrcnn": ("--model", "maskrcnn"),
    "pointrend": ("--model", "maskrcnn", "--mask-head", "pointrend"),
    "condinst": ("--model", "condinst"),
    "solov2": ("--model", "solov2"),
    "rfdetr": ("--model", "rfdetr"),
    "fasterrcnn": ("--model", "fasterrcnn"),
    "unet": ("--model", "unet"),
    "panoptic": ("--model", "panoptic"),
}
COMPARED = ("maskrcnn", "pointrend", "condinst", "solov2")


class Timed(NamedTuple):
    """One network at one size."""

    training: float
    prediction: float
    peak: float


class Measured(NamedTuple):
    """One training."""

    ap: float
    boundary: float | None
    seconds: float
    peak: float


def trained(name: str, size: int, run: Path, options: list[str], arguments: argparse.Namespace) -> Any:
    """What a training in a process of its own used."""
    own = ["--weights", "none", "--size", str(_multiple(size))]
    if name != "rfdetr":
        own = ["--weights", arguments.weights, "--backbone", arguments.backbone, "--size", str(size)]
    command = [
        sys.executable, "-m", "segkit", "train", str(arguments.dataset), *NETWORKS[name], *own, "--device", "cpu",
        "--name", run.name, "--out", str(run.parent), "--quiet", *options, *arguments.more,
    ]  # fmt: skip
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{run.name}: the training failed")
    return usage


def measure(name: str, arguments: argparse.Namespace, seed: int, folder: Path) -> Measured:
    """Train and score one network."""
    run = folder / f"{name}-{seed}"
    kept = folder / f"{run.name}.json"
    if kept.is_file():
        return Measured(**json.loads(kept.read_text()))
    shutil.rmtree(run, ignore_errors=True)
    options = [
        "--steps", str(arguments.steps), "--seed", str(seed), "--precision", arguments.precision,
        "--eval-every", "100000",
    ]  # fmt: skip
    usage = trained(name, arguments.size, run, options, arguments)
    kinds = ("bbox",) if name == "fasterrcnn" else ("segm", "boundary")
    command = [sys.executable, "-m", "segkit", "eval", str(run / "last.pt"), "--iou", ",".join(kinds), "--json"]
    scored = subprocess.run([*command, "--device", "cpu"], stdout=subprocess.PIPE, check=True)
    scores = [json.loads(scored.stdout)[kind]["AP"] for kind in kinds]
    seconds = usage.ru_utime + usage.ru_stime
    one = Measured(scores[0], scores[1] if len(scores) > 1 else None, seconds, usage.ru_maxrss / 2**20)
    kept.write_text(json.dumps(one._asdict()))
    return one


def _multiple(size: int) -> int:
    """The next size that rfdetr can see."""
    return -(-size // 12) * 12


def fit(name: str, arguments: argparse.Namespace) -> str:
    """The most memory that a GPU needs, at each size, in a row of a table."""
    options = dict(zip((o.removeprefix("--").replace("-", "_") for o in NETWORKS[name][::2]), NETWORKS[name][1::2],
                       strict=True))  # fmt: skip
    data, cells = read_data(arguments.dataset), []
    for size in map(int, arguments.fit.split(",")):
        if name == "rfdetr":
            own = {"size": _multiple(size)}
        else:
            own = {"size": size, "backbone": "resnet50", "norm": "frozen", "freeze": ("stem",)}
        config = TrainConfig(dataset=arguments.dataset, weights="none", **own, **options)
        plan = plan_without_folder(config, *data, torch.device("cuda"), 1, torch.bfloat16)
        cells.append(f"{estimate_training(plan, {}, plan.batch, 1, Overhead()).needs[1] / 2**30:.1f}")
    return f"| {name} | {' | '.join(cells)} |"


def time_one(name: str, size: int, arguments: argparse.Namespace, folder: Path) -> Timed:
    """Train some steps in a process of its own, and predict some images in this one."""
    run = folder / f"{name}-{size}"
    usage = trained(name, size, run, ["--batch", "2", "--steps", "6", "--precision", "fp32"], arguments)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    speeds = [row["images_per_s"] for row in rows if row["kind"] == "step"][2:]
    torch.set_num_threads(1)
    model, spent = load(run / "last.pt", "cpu"), []
    for path in sorted((arguments.dataset / "images").rglob("*.*"))[:6]:
        picture = cv2.resize(cv2.imread(str(path)), (size, size))[..., ::-1].copy()
        picture = torch.from_numpy(picture).permute(2, 0, 1)
        began = time.process_time()
        with torch.inference_mode():
            model.predict([picture])
        spent.append(time.process_time() - began)
    return Timed(1 / statistics.median(speeds), statistics.median(spent[1:]), usage.ru_maxrss / 2**20)


def times(arguments: argparse.Namespace) -> None:
    """Print the table of ``--time``, a row when it is known."""
    sizes = [int(size) for size in arguments.time.split(",")]
    heads = [f"{what}, {size}" for what in ("training s", "prediction s", "peak GiB") for size in sizes]
    print(f"| network | {' | '.join(heads)} |\n|{'---|' * (len(heads) + 1)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.models.split(","):
            found = [time_one(name, size, arguments, Path(folder)) for size in sizes]
            cells = [f"{value:.2f}" for column in zip(*found, strict=True) for value in column]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Print a line for each training, and a table of means with the range over seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--models", default=",".join(COMPARED))
    parser.add_argument("--fit", default="")
    parser.add_argument("--time", default="")
    parser.add_argument("--weights", default="none")
    parser.add_argument("--backbone", help="by default resnet18, and with --time resnet50")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--out", type=Path, help="keep the runs in this folder")
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    arguments = parser.parse_args(words[:cut])
    arguments.backbone = arguments.backbone or ("resnet50" if arguments.time else "resnet18")
    arguments.more = words[cut + 1 :]  # options of every training
    if arguments.fit:
        for name in arguments.models.split(","):
            print(fit(name, arguments), flush=True)
        return
    if arguments.time:
        times(arguments)
        return
    rows: dict[str, list[Measured]] = {}
    with tempfile.TemporaryDirectory() if arguments.out is None else nullcontext(arguments.out) as folder:
        for name in arguments.models.split(","):
            for seed in map(int, arguments.seeds.split(",")):
                one = measure(name, arguments, seed, Path(folder))
                rows.setdefault(name, []).append(one)
                boundary = "" if one.boundary is None else f", boundary {one.boundary:.3f}"
                print(f"{name} {seed}: AP {one.ap:.3f}{boundary}, {one.seconds:.0f} s, {one.peak:.2f} GiB", flush=True)
    print("| network | mask AP | boundary AP | CPU s | peak GiB |\n|---|---|---|---|---|")
    for name, found in rows.items():
        ap, boundary, seconds, peak = zip(*found, strict=True)
        cells = [
            "-" if None in each else f"{statistics.mean(each):.3f} ({min(each):.3f} to {max(each):.3f})"
            for each in (ap, boundary)
        ]
        print(f"| {name} | {cells[0]} | {cells[1]} | {statistics.mean(seconds):.0f} | {max(peak):.2f} |")


if __name__ == "__main__":
    main()
