"""Folders of pictures and label images made in tests, and what a conversion of them gives."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def picture(path: Path, size: tuple[int, int] = (48, 64)) -> Path:
    """A grey picture of a size (height, width)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), 90, np.uint8)).save(path)
    return path


def mask(
    path: Path, *regions: tuple[int, int], mode: str = "L", size: tuple[int, int] = (48, 64)
) -> np.ndarray[Any, Any]:
    """A label image: each region (id, width) is 10 rows high, at x = 5, one below the other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ids = np.zeros((48, 64), np.uint8)
    for number, (value, width) in enumerate(regions):
        ids[12 * number : 12 * number + 10, 5 : 5 + width] = value
    Image.fromarray(ids).convert(mode).save(path)
    return ids


def areas(dataset: Path) -> dict[str, list[int]]:
    """The areas of all instances in ``train.json``, by category; a category without instances has an empty list."""
    top = json.loads((dataset / "train.json").read_text(encoding="utf-8"))
    names = {category["id"]: category["name"] for category in top["categories"]}
    found: dict[str, list[int]] = {name: [] for name in names.values()}
    for annotation in top["annotations"]:
        found[names[annotation["category_id"]]].append(annotation["area"])
    return found


def whys(dataset: Path) -> Counter[tuple[str, str]]:
    """The findings of a conversion: action and reason, with their number."""
    report = json.loads((dataset / "report.json").read_text(encoding="utf-8"))
    assert report["shapes"] == report["converted"] + report["lost"] + report["dropped"]
    assert report["lost"] == sum(row["shapes"] for row in report["findings"] if row["action"] == "left out")
    return Counter((row["action"], row["why"]) for row in report["findings"])
