"""Draw pictures of round cells, some of which touch, and annotate them as LabelMe would.

    python examples/make_cells.py cells --count 24

The same seed draws the same pictures.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
SIZE = 192


def draw_picture(rng: np.random.Generator) -> tuple[Pixels, list[dict[str, Any]]]:
    """One picture [H, W, 3] and its LabelMe shapes."""
    pixels = rng.normal(40, 6, (SIZE, SIZE))
    cells: list[tuple[float, float, float]] = []
    for _ in range(400):
        x, y, radius = (*rng.uniform(0, SIZE, 2).tolist(), float(rng.uniform(7, 13)))
        if all(math.dist((x, y), cell[:2]) > 0.97 * (radius + cell[2]) for cell in cells):
            cells.append((x, y, radius))
        if len(cells) == 22:
            break
    shapes = []
    for x, y, radius in cells:
        angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        reach = radius * (1 + 0.06 * np.sin(3 * angles + rng.uniform(0, 6)))
        outline = np.stack([x + reach * np.cos(angles), y + reach * np.sin(angles)], 1)
        tone = float(rng.uniform(110, 190))
        cv2.fillPoly(pixels, [np.round(outline * 16).astype(np.int32)], tone, cv2.LINE_AA, 4)
        cv2.circle(pixels, (round(x), round(y)), round(radius / 3), tone * 0.7, -1, cv2.LINE_AA)
        shapes.append(
            {"label": "cell", "points": outline.clip(0, SIZE).round(2).tolist(), "group_id": None, "description": "",
             "shape_type": "polygon", "flags": {}, "mask": None}
        )  # fmt: skip
    grey = cv2.GaussianBlur(pixels, (0, 0), 0.8) + rng.normal(0, 4, pixels.shape)
    return np.asarray(grey.clip(0, 255), np.uint8)[..., None].repeat(3, 2), shapes


def main() -> None:
    """Write pictures, and their annotations unless told not to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-annotations", action="store_true")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(options.seed)
    for number in range(options.count):
        pixels, shapes = draw_picture(rng)
        name = f"cells-{options.seed}-{number:03d}"
        cv2.imwrite(str(options.folder / f"{name}.png"), pixels)
        if not options.no_annotations:
            document = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": f"{name}.png",
                        "imageData": None, "imageHeight": SIZE, "imageWidth": SIZE}  # fmt: skip
            (options.folder / f"{name}.json").write_text(json.dumps(document, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
