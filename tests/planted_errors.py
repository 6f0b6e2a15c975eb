"""A drawn dataset with planted annotation errors, and predictions that are exact for the dataset without them."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

SIDE, CELL, NAMES = 192, 48, ("disc", "square", "star")
SHARES = {"missing": 0.05, "wrong category": 0.05, "loose outline": 0.05, "doubled": 0.02}


def outline(kind: int, x: float, y: float, radius: float) -> list[float]:
    """A flat polygon around a centre."""
    if kind == 0:
        angles = np.arange(24) * 2 * np.pi / 24
        radii = np.full(24, radius)
    elif kind == 1:
        angles, radii = np.pi / 4 + np.arange(4) * np.pi / 2, np.full(4, radius)
    else:
        angles, radii = np.arange(10) * np.pi / 5, np.tile([radius, radius / 2], 5)
    points = np.stack([x + radii * np.cos(angles), y + radii * np.sin(angles)], axis=1)
    return [round(float(value), 2) for value in points.ravel()]


@dataclass
class Planted:
    """Images with annotations as they should be, as they are, and where they differ.

    ``errors`` have the kind, the file name and the id of the annotation, of a missing one that in ``clean``.
    """

    clean: dict[str, Any]
    planted: dict[str, Any]
    errors: list[tuple[str, str, int]] = field(default_factory=list)

    @property
    def results(self) -> list[dict[str, Any]]:
        """What a model would say that is never wrong."""
        keys = ("image_id", "category_id", "segmentation", "bbox")
        return [{key: a[key] for key in keys} | {"score": 0.9} for a in self.clean["annotations"]]

    def write(self, folder: Path) -> tuple[Path, Path, Path]:
        """The clean dataset, the one with errors, and the results, as files."""
        paths = folder / "clean.json", folder / "planted.json", folder / "exact.json"
        for path, content in zip(paths, (self.clean, self.planted, self.results), strict=True):
            path.write_text(json.dumps(content), encoding="utf-8")
        return paths


def plant(folder: Path, images: int = 40, seed: int = 0) -> Planted:
    """Draw images, and plant errors of every kind in ``SHARES``."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    records, annotations = [], []
    for number in range(1, images + 1):
        pixels = rng.integers(0, 60, (SIDE, SIDE, 3), np.uint8)
        records.append({"id": number, "file_name": f"p{number:03}.png", "height": SIDE, "width": SIDE})
        for cell in rng.permutation((SIDE // CELL) ** 2)[: int(rng.integers(4, 9))].tolist():
            kind = int(rng.integers(3))
            x, y = (CELL * (place + 0.5) + rng.uniform(-4, 4) for place in divmod(cell, SIDE // CELL))
            polygon = outline(kind, x, y, float(rng.uniform(13, 18)))
            points = np.array(polygon).reshape(-1, 1, 2).round().astype(np.int32)
            cv2.fillPoly(pixels, [points], [(230, 60, 60), (60, 230, 60), (80, 80, 250)][kind])
            annotations.append(annotation(len(annotations) + 1, number, kind + 1, polygon))
        Image.fromarray(pixels).save(folder / f"p{number:03}.png")
    clean = {
        "images": records,
        "annotations": annotations,
        "categories": [{"id": n, "name": name} for n, name in enumerate(NAMES, 1)],
    }
    return _with_errors(clean, rng)


def annotation(number: int, image: int, category: int, polygon: list[float]) -> dict[str, Any]:
    xs, ys = polygon[0::2], polygon[1::2]
    box = [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
    return {
        "id": number, "image_id": image, "category_id": category, "segmentation": [polygon], "bbox": box,
        "area": box[2] * box[3], "iscrowd": 0,
    }  # fmt: skip


def _with_errors(clean: dict[str, Any], rng: np.random.Generator) -> Planted:
    own = {a["id"]: dict(a) for a in clean["annotations"]}
    names = {image["id"]: image["file_name"] for image in clean["images"]}
    order = rng.permutation(list(own)).tolist()
    planted = Planted(clean, {})
    for kind, share in SHARES.items():
        for _ in range(max(1, round(share * len(clean["annotations"])))):
            old = own[number := order.pop()]
            image, category, polygon = old["image_id"], old["category_id"], old["segmentation"][0]
            planted.errors.append((kind, names[image], number))
            if kind == "missing":
                del own[number]
            elif kind == "wrong category":
                own[number] = old | {"category_id": category % len(NAMES) + 1}
            elif kind == "loose outline":
                own[number] = annotation(number, image, category, _larger(polygon))
            else:
                fresh = max(own) + 1
                own[fresh] = annotation(fresh, image, category, [value + 2.0 for value in polygon])
                planted.errors[-1] = (kind, names[image], fresh)
    planted.planted = clean | {"annotations": list(own.values())}
    return planted


def _larger(polygon: list[float], times: float = 1.3) -> list[float]:
    points = np.array(polygon).reshape(-1, 2)
    centre = points.mean(axis=0)
    return [round(float(value), 2) for value in (centre + (points - centre) * times).ravel()]


def ranks(findings: list[dict[str, Any]], planted: Planted) -> list[int | None]:
    """The place of each planted error in a list of findings, from 1; None where it is not in it.

    A missing annotation is found by its place; of the two annotations of a doubled one, either may be named.
    """
    boxes = {a["id"]: a["bbox"] for a in planted.clean["annotations"]}
    return [_rank(findings, *error, boxes.get(error[2])) for error in planted.errors]


def _rank(findings: list[dict[str, Any]], kind: str, name: str, number: int, box: list[float] | None) -> int | None:
    for rank, finding in enumerate(findings, 1):
        if finding["image"] != name:
            continue
        if kind == "missing":
            if finding["kind"] == "missing" and np.abs(np.array(finding["box"]) - np.array(box)).max() < 8:
                return rank
        elif kind == "doubled":
            if finding["kind"] in ("doubled", "duplicate"):
                return rank
        elif finding["annotation"] == number:
            return rank
    return None
