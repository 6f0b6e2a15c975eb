"""What convert, train, eval and predict need by the number of pictures, and what follows for more than fit here.

    python benchmarks/scaling.py --sizes 1000,4000,12000
    python benchmarks/scaling.py --parts convert,eval --json scaling.json

Each part is run at each size in a process of its own, whose processor time and peak of resident memory the system
counts; the slopes are those between the smallest and the largest size. The larger numbers are slope times pictures: no
machine was asked. Pictures are small (64 x 64) and have five polygons: what grows with the number of pictures is
measured, and what grows with their pixels is not.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from make_labelme import LABELS, document, shape
from PIL import Image

PARTS = ("convert", "train", "eval", "predict")
LARGER = (10**5, 10**6, 10**8)
SIDE = 64


class Cost(NamedTuple):
    """Of one process: processor seconds, peak of resident memory and bytes of the files it has written."""

    cpu: float
    memory: int
    written: int


def measure(command: list[object], folder: Path, made: str) -> Cost:
    """Run a command; raise if it fails."""
    words = [sys.executable, "-m", "segkit", *map(str, command)]
    process = subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(words)}: {said.decode()[-2000:]}")
    written = sum(
        path.lstat().st_size for path in (folder / made).rglob("*") if path.is_file() and not path.is_symlink()
    )
    return Cost(used.ru_utime + used.ru_stime, used.ru_maxrss * 1024, written)


def draw_folder(folder: Path, count: int) -> None:
    """LabelMe files with their pictures, no two alike."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    for number in range(count):
        centres, radii = rng.uniform(14, 50, (5, 2)), rng.uniform(5, 12, 5)
        drawn = [
            shape(LABELS[k], np.stack([x + r * np.cos(angles), y + r * np.sin(angles)], 1).round(1).tolist())
            for k, ((x, y), r) in enumerate(zip(centres, radii, strict=True))
        ]
        name = f"p{number:07d}"
        pixels = rng.integers(0, 256, (8, 8, 3), np.uint8).repeat(SIDE // 8, 0).repeat(SIDE // 8, 1)
        Image.fromarray(pixels).save(folder / f"{name}.png")
        (folder / f"{name}.json").write_text(document(drawn, f"{name}.png", None, SIDE, SIDE), "utf-8")


def results_of(dataset: Path) -> list[dict[str, Any]]:
    """A result for each annotation, a pixel beside it, with a drawn score."""
    rng = np.random.default_rng(1)
    return [
        {
            "image_id": each["image_id"],
            "category_id": each["category_id"],
            "segmentation": [[value + 1 for value in ring] for ring in each["segmentation"]],
            "score": round(float(rng.uniform(0.05, 1)), 4),
        }
        for each in json.loads(dataset.read_text())["annotations"]
    ]


def run(part: str, folder: Path, count: int) -> Cost:
    """One part at one size; the folder has the dataset of that size."""
    if part == "eval":
        (folder / "r.json").write_text(json.dumps(results_of(folder / "dataset/train.json")))
        words = ["eval", "r.json", "--data", "dataset/train.json", "--iou", "segm", "--out", "scores"]
        return measure(words, folder, "scores")
    tiny = ["--weights", "none", "--size", 32, "--steps", 1, "--batch", 2, "--workers", 0, "--device", "cpu"]
    if part == "train" or not (folder / "runs").exists():
        cost = measure(["train", "dataset", "--model", "unet", "--name", "r", *tiny], folder, "runs")
        if part == "train":
            return cost
    return measure(
        ["predict", "in", "--model", "runs/r", "--format", "coco", "--batch", 32, "--device", "cpu"],
        folder,
        "predictions",
    )


def slopes(costs: dict[int, Cost]) -> dict[str, Any]:
    """What each further picture takes, what a process takes without, and larger numbers of pictures."""
    few, many = min(costs), max(costs)
    out: dict[str, Any] = {"measured": {count: cost._asdict() for count, cost in costs.items()}}
    for name in Cost._fields:
        low, high = getattr(costs[few], name), getattr(costs[many], name)
        slope = max(0.0, (high - low) / (many - few))
        out[name] = {"per_picture": slope, "fixed": low - slope * few}
        out[name] |= {f"{count:.0e}": low + slope * (count - few) for count in LARGER}
    return out


def show(part: str, found: dict[str, Any]) -> None:
    """A row for each number of pictures."""
    print(f"\n{part}: {1e3 * found['cpu']['per_picture']:.2f} ms, {found['memory']['per_picture'] / 1024:.2f} KiB of "
          f"memory and {found['written']['per_picture'] / 1024:.2f} KiB of files for each further picture")  # fmt: skip
    for count, cost in found["measured"].items():
        memory, written = cost["memory"] / 2**20, cost["written"] / 2**20
        print(f"  {count:>11,} measured  {cost['cpu']:8.1f} s {memory:9.0f} MiB {written:9.1f} MiB")
    for count in LARGER:
        cpu, memory, written = (found[name][f"{count:.0e}"] for name in Cost._fields)
        print(f"  {count:>11,} on paper  {cpu / 3600:8.2f} h {memory / 2**30:9.2f} GiB {written / 2**30:9.2f} GiB")


def main() -> None:
    """Measure, and print or write what follows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="1000,4000,12000")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    parts, sizes = options.parts.split(","), sorted(map(int, options.sizes.split(",")))
    if unknown := set(parts) - set(PARTS):
        raise SystemExit(f"--parts {', '.join(sorted(unknown))}: must be among {', '.join(PARTS)}")
    costs: dict[str, dict[int, Cost]] = {part: {} for part in parts}
    for count in sizes:
        folder = Path(tempfile.mkdtemp(prefix="scaling-"))
        try:
            draw_folder(folder / "in", count)
            converted = measure(["convert", "in", "--val", 0, "--workers", 0], folder, "dataset")
            for part in parts:
                costs[part][count] = converted if part == "convert" else run(part, folder, count)
                print(f"{part} {count}: {costs[part][count].cpu:.1f} s", file=sys.stderr, flush=True)
        finally:
            shutil.rmtree(folder)
    found = {part: slopes(each) for part, each in costs.items()}
    for part, each in found.items():
        show(part, each)
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
