"""Time and memory of ``segkit convert --to`` each format for one image of 4 MP with 1,000 instances.

python benchmarks/many_instances.py [--instances 1000] [--runs 5]
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 2000


def make(folder: Path, count: int) -> None:
    """One image with irregular polygons of 40 points, 16 to 60 pixels across."""
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (SIDE, SIDE, 3), np.uint8)).save(folder / "a.jpg")
    angles = np.linspace(0, 2 * math.pi, 40, endpoint=False)
    annotations = []
    for number in range(1, count + 1):
        radii = rng.uniform(8, 30) * rng.uniform(0.8, 1.2, len(angles))
        centre = rng.uniform(40, SIDE - 40, 2)
        points = centre + np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)
        polygon = points.round(2).ravel().tolist()
        annotations.append({"id": number, "image_id": 1, "category_id": 1, "segmentation": [polygon], "iscrowd": 0})
    image = {"id": 1, "file_name": "a.jpg", "height": SIDE, "width": SIDE}
    top = {"images": [image], "annotations": annotations, "categories": [{"id": 1, "name": "cell"}]}
    (folder / "a.json").write_text(json.dumps(top))


def seconds(source: Path, target: str, out: Path) -> tuple[float, float]:
    """Wall-clock and processor seconds of one conversion in a process of its own."""
    before, start = os.times(), time.perf_counter()
    command = [sys.executable, "-m", "segkit", "convert", str(source), "--to", target, "--val", "0"]
    subprocess.run([*command, "--out", str(out), "--force", "--quiet"], check=True)
    after, end = os.times(), time.perf_counter()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return end - start, cpu


def main() -> None:
    """Print a row for each format."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--instances", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "in"
        source.mkdir()
        make(source, options.instances)
        times: dict[str, list[tuple[float, float]]] = {}
        for _ in range(options.runs):  # in turns, so that other work on the machine meets all formats
            for target in ("yolo", "idmask", "voc", "semantic", "labelme", "coco"):
                times.setdefault(target, []).append(seconds(source, target, Path(name) / target))
        for target, measured in times.items():
            wall, cpu = zip(*measured, strict=True)
            print(f"{target:9} wall {_spread(wall)}  cpu {_spread(cpu)}")


def _spread(values: tuple[float, ...]) -> str:
    return f"{statistics.median(values):.2f} s ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    main()
