"""Make LabelMe folders to measure conversions with.

python benchmarks/make_labelme.py embedded FOLDER --count 600     # 2000 x 1500, pictures embedded, 25 polygons each
python benchmarks/make_labelme.py tiny FOLDER --count 100000      # files of 1 KB, the picture of each beside it
"""

import argparse
import base64
import io
import json
import math
from pathlib import Path

import numpy as np
from PIL import Image

LABELS = ("crack", "pore", "grain", "scratch", "particle")


def polygon(rng: np.random.Generator, height: int, width: int, radius: tuple[float, float]) -> list[list[float]]:
    """A smooth blob of 20 to 119 points, as somebody would click it."""
    count = int(rng.integers(20, 120))
    mean = float(rng.uniform(*radius))
    x, y = float(rng.uniform(mean, width - mean)), float(rng.uniform(mean, height - mean))
    angles = np.sort(rng.uniform(0, 2 * math.pi, count))
    waves = sum(rng.uniform(0, 0.1) * np.sin(k * angles + rng.uniform(0, 2 * math.pi)) for k in (2, 3, 5))
    lengths = mean * (0.85 + 0.5 * waves + rng.normal(0, 0.01, count)).clip(0.1, 1.0)
    return [[x + r * math.cos(a), y + r * math.sin(a)] for r, a in zip(lengths.tolist(), angles.tolist(), strict=True)]


def jpeg(rng: np.random.Generator, height: int, width: int) -> bytes:
    """A picture with some texture: about 1 MB at 2000 x 1500."""
    coarse = rng.normal(128, 40, (height // 8, width // 8, 3)).clip(0, 255).astype(np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.float64)
    buffer = io.BytesIO()
    pixels = (smooth + rng.normal(0, 9, smooth.shape)).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def document(shapes: list[dict[str, object]], name: str, data: str | None, height: int, width: int) -> str:
    """A file as LabelMe 5 writes it."""
    top = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": name, "imageData": data}
    return json.dumps(top | {"imageHeight": height, "imageWidth": width}, ensure_ascii=False, indent=2)


def shape(label: str, points: list[list[float]]) -> dict[str, object]:
    """A polygon as LabelMe 5 writes it."""
    rest = {"group_id": None, "description": "", "shape_type": "polygon", "flags": {}, "mask": None}
    return {"label": label, "points": points} | rest


def embedded(folder: Path, count: int, height: int = 1500, width: int = 2000, shapes: int = 25) -> None:
    """Large pictures inside their files."""
    rng = np.random.default_rng(0)
    pictures = [base64.b64encode(jpeg(rng, height, width)).decode() for _ in range(8)]
    for number in range(count):
        drawn = [shape(str(rng.choice(LABELS)), polygon(rng, height, width, (15, 150))) for _ in range(shapes)]
        text = document(drawn, f"p{number:05d}.jpg", pictures[number % len(pictures)], height, width)
        (folder / f"p{number:05d}.json").write_text(text, encoding="utf-8")


def tiny(folder: Path, count: int) -> None:
    """Small pictures beside files of about 1 KB; a thousand to a folder."""
    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(buffer, "PNG")
    for number in range(count):
        place = folder / f"{number // 1000:03d}"
        place.mkdir(exist_ok=True)
        points = [[round(x, 2), round(y, 2)] for x, y in polygon(rng, 64, 64, (8, 20))[::10]]
        (place / f"t{number:06d}.png").write_bytes(buffer.getvalue())
        text = document([shape(str(rng.choice(LABELS)), points)], f"t{number:06d}.png", None, 64, 64)
        (place / f"t{number:06d}.json").write_text(text, encoding="utf-8")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["embedded", "tiny"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=600)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    {"embedded": embedded, "tiny": tiny}[arguments.kind](arguments.folder, arguments.count)


if __name__ == "__main__":
    main()
