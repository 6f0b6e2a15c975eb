"""For the tests of splits: sources in folders and files of splits, and what was made of them."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

POLYGON = "0 0.2 0.2 0.6 0.2 0.6 0.6 0.2 0.6\n"


def load(path):
    return json.loads(path.read_text(encoding="utf-8"))


def draw(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(path)


def coco(path, names, pictures=None):
    """A COCO file with one square in each image, and the images in its folder or in ``pictures``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    top = {
        "images": [{"id": n, "file_name": name, "height": 40, "width": 60} for n, name in enumerate(names, 1)],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 1, "segmentation": [[5, 5, 15, 5, 15, 15, 5, 15]], "iscrowd": 0}
            for n in range(1, len(names) + 1)
        ],
        "categories": [{"id": 1, "name": "box"}],
    }
    path.write_text(json.dumps(top))
    for name in names:
        draw((pictures or path.parent) / name)


def yolo(folder, names):
    """Images and labels of a YOLO folder, by names below ``images``."""
    for name in names:
        draw(folder / "images" / f"{name}.jpg")
        labels = folder / "labels" / f"{name}.txt"
        labels.parent.mkdir(parents=True, exist_ok=True)
        labels.write_text(POLYGON)


def splits(segkit, *arguments):
    """The names of the images in each split, sorted, and the report."""
    outcome = segkit("convert", *arguments, "--out", "out", "--force", "--json")
    assert outcome.code == 0, outcome.err
    found = {}
    for split in json.loads(outcome.out)["splits"]:
        found[split] = sorted(image["file_name"] for image in load(Path(f"out/{split}.json"))["images"])
    return found, json.loads(outcome.out)


def origins(report):
    return {each["from"]: each["images"] for each in report["split_origins"]}
