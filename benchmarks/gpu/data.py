"""A COCO dataset with pictures of given dimensions and a given number of instances in each."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

NUM_CATEGORIES = 3


def draw_dataset(folder: Path, *, images: int, height: int, width: int, instances: int) -> Path:
    """Draw JPEG pictures and write ``coco.json`` beside them; returns its path.

    Args:
        folder: Folder to create.
        images: Number of pictures.
        height: Of every picture, pixels.
        width: Of every picture, pixels.
        instances: Polygons in every picture.
    """
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    top = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "height": height, "width": width} for i in range(1, images + 1)],
        "annotations": [],
        "categories": [{"id": k, "name": f"category {k}"} for k in range(1, NUM_CATEGORIES + 1)],
    }
    for image in top["images"]:
        coarse = rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
        pixels = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)).copy()
        for _ in range(instances):
            outline = _blob(rng, height, width)
            low, high = outline.min(0), outline.max(0)
            (x1, y1), (x2, y2) = low.astype(int), high.astype(int)
            pixels[y1:y2, x1:x2] = rng.integers(0, 256, 3)
            top["annotations"].append(
                {
                    "id": len(top["annotations"]) + 1,
                    "image_id": image["id"],
                    "category_id": int(rng.integers(1, NUM_CATEGORIES + 1)),
                    "segmentation": [outline.ravel().round(2).tolist()],
                    "bbox": [*low.tolist(), *(high - low).tolist()],
                    "area": float(np.prod(high - low)),
                    "iscrowd": 0,
                }
            )
        Image.fromarray(pixels).save(folder / image["file_name"], quality=85)
    path = folder / "coco.json"
    path.write_text(json.dumps(top))
    return path


def _blob(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A polygon [24, 2] inside the picture, (x, y)."""
    radius = rng.uniform(min(height, width) / 25, min(height, width) / 8)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 24))
    lengths = radius * rng.uniform(0.8, 1, 24)
    centre = rng.uniform(radius, [width - radius, height - radius])
    return centre + np.stack([np.cos(angles), np.sin(angles)], 1) * lengths[:, None]
