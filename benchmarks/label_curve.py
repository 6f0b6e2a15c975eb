"""What a curve of labels says of the whole from half of it, beside what the whole gave.

    python benchmarks/label_curve.py DATASET --out FOLDER [--steps 200] [--seeds 2] [--shrink 2] [-- --size 96]

``segkit train --label-curve`` trains on 1/8, 1/4, 1/2 and all of the labels of DATASET, a folder that ``segkit
convert`` wrote; a curve in FOLDER that was stopped goes on. Then the same law is fitted to the scores of up to half of
the labels alone, and to those of the whole, too. Other options of the runs come after ``--``. Markdown on stdout: the
scores of each part, what up to half of the labels promised of the whole, with the 95 % interval, and what it gave.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from less import smaller

from segkit.training.label_curve.power_law import PowerLaw


def curve(asked: argparse.Namespace) -> dict[str, Any]:
    """The document of a curve, which is made or goes on."""
    folder = asked.out / "curve"
    if not (folder / "curve.json").is_file():
        if (folder / "config.toml").is_file():
            words = ["--resume", str(folder)]
        else:
            words = [
                str(asked.dataset), "--label-curve", "--curve-seeds", str(asked.seeds), "--steps", str(asked.steps),
                "--model", asked.model, "--backbone", asked.backbone, "--weights", asked.weights, "--device", "cpu",
                "--eval-every", "100000", "--out", str(asked.out), "--name", folder.name, *asked.more,
            ]  # fmt: skip
        subprocess.run([sys.executable, "-m", "segkit", "train", *words], check=True, stdout=subprocess.DEVNULL)
    document: dict[str, Any] = json.loads((folder / "curve.json").read_text())
    return document


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="the folder of the curve")
    parser.add_argument("--steps", type=int, default=200, help="steps of each run")
    parser.add_argument("--seeds", type=int, default=2, help="runs of each part")
    parser.add_argument("--shrink", type=int, default=1, help="take pictures and polygons at that part of their sides")
    parser.add_argument("--model", default="unet")
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--weights", default="imagenet")
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    asked = parser.parse_args(words[:cut])
    asked.more = words[cut + 1 :]
    asked.out.mkdir(parents=True, exist_ok=True)
    if asked.shrink > 1:
        asked.dataset = smaller(asked.dataset, asked.shrink, asked.out / "smaller")
    document = curve(asked)
    points = document["points"]
    print(f"| images | {document['metric']} of each seed | mean |\n|---|---|---|")
    for size in sorted({point["images"] for point in points}):
        scores = [point["score"] for point in points if point["images"] == size]
        print(f"| {size} | {', '.join(f'{score:.3f}' for score in scores)} | {statistics.mean(scores):.3f} |")
    part = [point for point in points if point["share"] <= 1 / 2]
    law = PowerLaw.through([point["images"] for point in part], [point["score"] for point in part])
    assert law is not None
    whole = document["images"]
    ends = law.interval(whole)
    within = "" if ends is None else f" ({ends[0]:.3f} to {ends[1]:.3f})"
    gave = statistics.mean(point["score"] for point in points if point["share"] == 1)
    print(f"\nfrom up to half: {law.at(whole):.3f}{within} at {whole} images; the whole gave {gave:.3f}")
    low, high = document["interval"] or (float("nan"), float("nan"))
    exponent = document["exponent"]
    print(f"from all: {document['twice']:.3f} ({low:.3f} to {high:.3f}) at {2 * whole} images, exponent {exponent}")


if __name__ == "__main__":
    main()
