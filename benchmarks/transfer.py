"""What pretrained weights, and anchors fitted to the data, are worth: score after equal steps, over seeds.

    python benchmarks/transfer.py DATASET... [--steps 300] [--seeds 3] [--compare weights]

``weights``: efficientnet_lite0 with the ImageNet weights of ``segkit[offline]``, and with random ones. ``anchors``:
those that ``segkit train`` fits to the boxes, and torchvision's (32 to 512, ratios 0.5, 1, 2), both on
efficientnet_lite0 with its ImageNet weights: from random weights no run of a few minutes scores anything. All other
options have their defaults, or are those of ``--train "--size 128 --batch 2"``; each run is a process of its own, one
after the other, alternating. An untrained model has as many detections as it may, and an evaluation computes the masks
of all: ``--train "--detections 100"`` limits what runs of few steps take. Scores as they come on stderr, a table in
Markdown on stdout: the score of the validation split after the last step, mean and range over seeds.
"""

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

COMPARED = {
    "weights": {
        "lite0, ImageNet": ["--backbone", "efficientnet_lite0", "--weights", "imagenet"],
        "lite0, random": ["--backbone", "efficientnet_lite0", "--weights", "none"],
    },
    "anchors": {
        "lite0, ImageNet": ["--backbone", "efficientnet_lite0", "--weights", "imagenet"],
        "torchvision's anchors": [
            "--backbone", "efficientnet_lite0", "--weights", "imagenet",
            "--anchor-sizes", "32,64,128,256,512", "--anchor-ratios", "0.5,1,2",
        ],
    },
}  # fmt: skip


def trained(dataset: Path, options: list[str], steps: int, seed: int, out: Path) -> float:
    """The primary score after the last step of a run."""
    command = [
        sys.executable, "-m", "segkit", "train", str(dataset), *options, "--steps", str(steps), "--seed", str(seed),
        "--eval-every", "100000", "--device", "cpu", "--out", str(out), "--name", "run", "--quiet",
    ]  # fmt: skip
    subprocess.run(command, check=True)
    lines = [json.loads(line) for line in (out / "run" / "metrics.jsonl").read_text().splitlines()]
    last = [line for line in lines if line["kind"] == "eval"][-1]
    return float(last["segm"]["AP"] if "segm" in last else last["bbox"]["AP"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", type=Path, nargs="+", metavar="DATASET", help="folders that convert wrote")
    parser.add_argument("--steps", type=int, default=300, help="steps of each run")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each kind")
    parser.add_argument("--compare", nargs="+", choices=COMPARED, default=list(COMPARED), help="what is compared")
    parser.add_argument("--train", type=shlex.split, default=[], metavar="OPTIONS", help="more options of segkit train")
    asked = parser.parse_args()
    kinds = {name: options for kind in asked.compare for name, options in COMPARED[kind].items()}
    print("| dataset | | AP: mean (range) |\n|---|---|---|")
    for dataset in asked.datasets:
        scores: dict[str, list[float]] = {name: [] for name in kinds}
        for seed in range(asked.seeds):
            for name, options in kinds.items():
                with tempfile.TemporaryDirectory() as folder:
                    score = trained(dataset, [*options, *asked.train], asked.steps, seed, Path(folder))
                scores[name].append(score)
                print(f"{dataset.name}, {name}, seed {seed}: {score:.4f}", file=sys.stderr, flush=True)
        for name, values in scores.items():
            spread = f"{min(values):.3f} to {max(values):.3f}"
            print(f"| {dataset.name} | {name} | {statistics.mean(values):.3f} ({spread}) |", flush=True)


if __name__ == "__main__":
    main()
