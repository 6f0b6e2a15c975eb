"""COCO files made in tests."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 48, 64
SQUARE = [5, 5, 25, 5, 25, 25, 5, 25]


def image(number: int, **more: Any) -> dict[str, Any]:
    return {"id": number, "file_name": f"p{number}.png", "height": HEIGHT, "width": WIDTH} | more


def annotation(number: int, image_id: Any = 1, category_id: Any = 1, **more: Any) -> dict[str, Any]:
    plain = {"id": number, "image_id": image_id, "category_id": category_id, "segmentation": [SQUARE]}
    return plain | {"bbox": [5, 5, 20, 20], "area": 400, "iscrowd": 0} | more


def box(number: int, image_id: Any = 1, bbox: Any = (5, 6, 20, 10), category_id: Any = 1) -> dict[str, Any]:
    return {"id": number, "image_id": image_id, "category_id": category_id, "bbox": list(bbox), "iscrowd": 0}


def document(annotations: Any, images: Any = 3, categories: Any = ("nut",), **more: Any) -> dict[str, Any]:
    if isinstance(images, int):
        images = [image(number) for number in range(1, images + 1)]
    if isinstance(categories, tuple):
        categories = [{"id": number, "name": name} for number, name in enumerate(categories, 1)]
    return {"images": images, "annotations": annotations, "categories": categories} | more


def draw(folder: Path, names: Any = 3, size: tuple[int, int] = (HEIGHT, WIDTH)) -> None:
    """Images of noise, p1.png and so on, or of the given names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"p{number}.png" for number in range(1, names + 1)] if isinstance(names, int) else names
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 255, (*size, 3), np.uint8)).save(folder / name)


def write(path: Path, top: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(top), encoding="utf-8")
    return path


def rows(dataset: Path) -> list[dict[str, Any]]:
    """The findings of a conversion; its report must account for every shape."""
    report = json.loads((dataset / "report.json").read_text(encoding="utf-8"))
    assert report["shapes"] == report["converted"] + report["lost"] + report["dropped"]
    return list(report["findings"])
