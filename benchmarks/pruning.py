"""What pruning costs, and what a short training brings back.

    python benchmarks/pruning.py DATASET --out FOLDER [--share 0.4] [--steps 200] [--seeds 3] [--train "--model unet"]

For each seed: a run of so many steps, ``segkit export --prune`` of its last weights, and a run of a tenth of the steps
from them with the same options. Scores are those of ``segkit eval`` on the validation split; latencies are measured by
the export, both models in turns in one process. A line of JSON a seed, then mean and range in a line of Markdown.
"""

import argparse
import json
import shlex
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any


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
    cost = segkit("export", whole / "last.pt", "--prune", share, "--out", pruned, "--json")
    if not (tuned / "last.pt").is_file():
        rest = [*options, *fixed, "--steps", max(1, steps // 10), "--name", tuned.name, "--weights", pruned]
        segkit("train", dataset, *rest)
    scores = {name: round(score(path, dataset), 4) for name, path in (
        ("whole", whole / "last.pt"), ("pruned", pruned), ("tuned", tuned / "last.pt"),
    )}  # fmt: skip
    ratios = {
        what: round(cost["after"][what] / cost["before"][what], 3) for what in ("parameters", "flops", "p50", "p95")
    }
    return {"seed": seed, **scores, **ratios}


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
