"""Processor time of ``segkit convert`` for a COCO file with 100,000 annotations, beside another checkout.

python benchmarks/coco_conversion.py [--images 10000] [--per-image 10] [--runs 3] [--against CHECKOUT]

The conversions of both take turns. Both datasets must have the same annotations, or nothing is printed.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]


def make(folder: Path, images: int, per_image: int) -> None:
    """JPEGs of 640 x 480 pixels, and polygons of 8 to 40 points."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    small = rng.integers(0, 255, (12, 16, 3), np.uint8)
    Image.fromarray(small).resize((640, 480)).save(folder / "images/0.jpg", quality=60)
    data = (folder / "images/0.jpg").read_bytes()
    records, annotations = [], []
    for number in range(images):
        (folder / f"images/{number}.jpg").write_bytes(data)
        records.append({"id": number + 1, "file_name": f"{number}.jpg", "height": 480, "width": 640})
        for _ in range(per_image):
            angles = np.linspace(0, 2 * math.pi, int(rng.integers(8, 41)), endpoint=False)
            radii = rng.uniform(8, 30) * rng.uniform(0.8, 1.2, len(angles))
            centre = rng.uniform(40, 440, 2)
            points = centre + np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)
            annotation = {"id": len(annotations) + 1, "image_id": number + 1, "category_id": len(annotations) % 9 + 1}
            annotations.append(annotation | {"segmentation": [points.round(2).ravel().tolist()], "iscrowd": 0})
    categories = [{"id": number, "name": f"kind {number}"} for number in range(1, 10)]
    top = {"images": records, "annotations": annotations, "categories": categories}
    (folder / "a.json").write_text(json.dumps(top))


def convert(checkout: Path, source: Path, out: Path) -> tuple[float, float]:
    """Seconds in user mode, and in user and system mode, of one conversion."""
    before = os.times()
    command = [sys.executable, "-m", "segkit", "convert", str(source), "--val", "0.2", "--out", str(out), "--force"]
    subprocess.run([*command, "--quiet"], check=True, env={**os.environ, "PYTHONPATH": str(checkout)}, cwd=checkout)
    after = os.times()
    user = after.children_user - before.children_user
    return user, user + after.children_system - before.children_system


def annotations_of(out: Path) -> list[tuple[str, int]]:
    """What was written, without the split and its numbering: image names and areas."""
    found = []
    for split in ("train", "val"):
        top = json.loads((out / f"{split}.json").read_text())
        names = {image["id"]: image["file_name"] for image in top["images"]}
        found += [(names[each["image_id"]], each["area"]) for each in top["annotations"]]
    return sorted(found)


def main() -> None:
    """Print a line for each checkout."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--per-image", type=int, default=10)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--against", type=Path)
    options = parser.parse_args()
    checkouts = [ROOT] if options.against is None else [options.against.absolute(), ROOT]
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "in"
        make(source, options.images, options.per_image)
        times: dict[Path, list[tuple[float, float]]] = {checkout: [] for checkout in checkouts}
        for _ in range(options.runs):
            for number, checkout in enumerate(checkouts):
                times[checkout].append(convert(checkout, source, Path(name) / f"out{number}"))
        written = [annotations_of(Path(name) / f"out{number}") for number in range(len(checkouts))]
        if any(each != written[0] for each in written):
            sys.exit("the datasets differ: no time is printed")
    for checkout, runs in times.items():
        user, both = ([run[place] for run in runs] for place in (0, 1))
        print(f"{checkout.name}: user {statistics.median(user):.2f} s ({min(user):.2f} to {max(user):.2f}), ", end="")
        print(f"user and system {statistics.median(both):.2f} s ({min(both):.2f} to {max(both):.2f})")


if __name__ == "__main__":
    main()
