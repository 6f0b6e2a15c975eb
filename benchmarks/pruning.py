"""What pruning costs, and what a short training brings back.

    python benchmarks/pruning.py DATASET --out FOLDER [--share 0.4] [--steps 200] [--seeds 3] [--train "--model unet"]

For each seed: a run of so many steps, ``segkit export --prune`` of its last weights, and a run of a tenth of the steps
from them with the same options. Scores are those of ``segkit eval`` on the validation split. Operations and latencies
are those of the first and the last model, which find about as much, on validation images: in PyTorch and in ONNX
Runtime, in turns, one thread. A line of JSON a seed, then mean and range in a line of Markdown.
"""

import argparse
import json
import shlex
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from int8 import latencies

from segkit.exporting.pictures import dataset_for, images_for
from segkit.exporting.prune import costs_of
from segkit.runs.checkpoint import load_model


def segkit(*words: object) -> Any:
    """Run a command; the JSON that it prints."""
    command = [sys.executable, "-m", "segkit", *map(str, words)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(said) if "--json" in words else None


def score(model: Path, dataset: Path) -> float:
    """The primary score of a checkpoint."""
    metrics = segkit("eval", model, "--data", dataset, "--json")
    if (semantic := metrics.get("semantic")) is not None:
        return float(semantic["mIoU"])
    return float((metrics.get("segm") or metrics["bbox"])["AP"])


def measured(dataset: Path, out: Path, share: float, steps: int, seed: int, options: list[str]) -> dict[str, Any]:
    """Scores and costs of one seed; runs that are there already are not repeated."""
    fixed = ["--seed", seed, "--device", "cpu", "--out", out, "--eval-every", 100000, "--quiet"]
    whole, tuned = out / f"whole-{seed}", out / f"tuned-{seed}"
    if not (whole / "last.pt").is_file():
        segkit("train", dataset, *options, *fixed, "--steps", steps, "--name", whole.name)
    pruned = out / f"pruned-{seed}.pt"
    segkit("export", whole / "last.pt", "--prune", share, "--out", pruned)
    if not (tuned / "last.pt").is_file():
        rest = [*options, *fixed, "--steps", max(1, steps // 10), "--name", tuned.name, "--weights", pruned]
        segkit("train", dataset, *rest)
    scores = {name: round(score(path, dataset), 4) for name, path in (
        ("whole", whole / "last.pt"), ("pruned", pruned), ("tuned", tuned / "last.pt"),
    )}  # fmt: skip
    return {"seed": seed, **scores, **ratios((whole / "last.pt", tuned / "last.pt"), dataset)}


def ratios(checkpoints: tuple[Path, Path], dataset: Path) -> dict[str, float]:
    """What the second model takes, as a share of what the first takes."""
    torch.set_num_threads(1)
    models, files = [], []
    for path in checkpoints:
        model, card = load_model(path, torch.device("cpu"))
        models.append(model)
        files.append(path.with_name("model.onnx"))
        segkit("export", path, "--out", files[-1], "--data", dataset)
    images = [image for _, image in images_for(dataset_for(checkpoints[0], dataset), card)[0]]
    before, after = costs_of(models, images[0])
    whole, less = latencies(files, [images[0].numpy()], 1, 30)
    return {
        "parameters": round(after.parameters / before.parameters, 3), "flops": round(after.flops / before.flops, 3),
        "PyTorch p50": round(after.p50 / before.p50, 3), "ONNX p50": round(less["p50"] / whole["p50"], 3),
        "ONNX p95": round(less["p95"] / whole["p95"], 3), "ms before": whole["p50"], "ms after": less["p50"],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help="a folder that convert wrote")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the runs")
    parser.add_argument("--share", type=float, default=0.4)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--train", type=shlex.split, default=[], metavar="OPTIONS", help="options of segkit train")
    asked = parser.parse_args()
    lines = []
    for seed in range(asked.seeds):
        lines.append(measured(asked.dataset, asked.out, asked.share, asked.steps, seed, asked.train))
        print(json.dumps(lines[-1]), flush=True)
    cells = []
    for name in list(lines[0])[1:]:
        values = [line[name] for line in lines]
        cells.append(f"{name} {statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})")
    print(f"| {asked.dataset.name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
