"""Draw pictures of machine parts on a bench, and annotate them as LabelMe would.

    python examples/make_pictures.py parts --count 60

The annotations use what LabelMe offers: a washer is a ``mask`` with a hole, a nut a ``polygon``, a plate an
``oriented_rectangle`` or (upright) a ``rectangle``, a disc a ``circle``; a plate that a rod lies across is two polygons
with one ``group_id``. Some pictures are empty. The same seed draws the same pictures.
"""

import argparse
import base64
import io
import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
KINDS = ("washer", "nut", "plate", "disc")


def draw_picture(rng: np.random.Generator, size: int) -> tuple[Pixels, list[dict[str, Any]]]:
    """One picture [size, size, 3] and its LabelMe shapes."""
    pixels = _bench(rng, size)
    shapes: list[dict[str, Any]] = []
    places: list[tuple[float, float, float]] = []
    for _ in range(int(rng.integers(0, 6))):
        radius = float(rng.uniform(0.09, 0.17) * size)
        for _ in range(20):  # parts do not overlap
            x, y = rng.uniform(radius + 2, size - radius - 2, 2)
            if all(math.dist((x, y), place[:2]) > radius + place[2] + 3 for place in places):
                places.append((float(x), float(y), radius))
                kind = str(rng.choice(KINDS))
                pixels, drawn = _PARTS[kind](rng, pixels, float(x), float(y), radius, len(places))
                shapes += drawn
                break
    noisy = pixels.astype(np.float64) + rng.normal(0, 4, pixels.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8), shapes


def _bench(rng: np.random.Generator, size: int) -> Pixels:
    """Brushed metal: streaks along one direction, a little light from one side."""
    streaks = rng.normal(0, 1, (size, 1)) + rng.normal(0, 0.3, (size, size))
    streaks = cv2.GaussianBlur(streaks, (0, 0), sigmaX=9, sigmaY=1)
    light = np.linspace(-1, 1, size)[None] * rng.uniform(-12, 12)
    grey = 96 + 14 * streaks + light
    return np.clip(np.stack([grey, grey + 3, grey + 8], axis=2), 0, 255).astype(np.uint8)


def _paint(pixels: Pixels, inside: Pixels, tone: tuple[float, float, float]) -> Pixels:
    """A part with a shadow below it and a bright edge on top."""
    shadow = cv2.GaussianBlur(np.roll(inside.astype(np.float32), (3, 3), (0, 1)), (0, 0), 2)[:, :, None]
    edge = inside - cv2.erode(inside, np.ones((3, 3), np.uint8))
    out = pixels * (1 - 0.5 * shadow * (1 - inside[:, :, None]))
    out = np.where(inside[:, :, None] > 0, np.array(tone), out)
    out = np.where(edge[:, :, None] > 0, out * 0.6 + 90, out)
    return np.clip(out, 0, 255).astype(np.uint8)


def _fill(size: int, points: list[list[float]]) -> Pixels:
    inside = np.zeros((size, size), np.uint8)
    cv2.fillPoly(inside, [np.round(np.array(points) * 16).astype(np.int32)], 1, shift=4)
    return inside


def _shape(label: str, shape_type: str, points: list[list[float]], **more: Any) -> dict[str, Any]:
    rounded = [[round(x, 3), round(y, 3)] for x, y in points]
    base = {"label": label, "points": rounded, "group_id": None, "description": "", "shape_type": shape_type}
    return base | {"flags": {}, "mask": None} | more


def _turned(x: float, y: float, half: tuple[float, float], angle: float) -> list[list[float]]:
    c, s = math.cos(angle), math.sin(angle)
    corners = ((-half[0], -half[1]), (half[0], -half[1]), (half[0], half[1]), (-half[0], half[1]))
    return [[x + c * dx - s * dy, y + s * dx + c * dy] for dx, dy in corners]


def _steel(rng: np.random.Generator) -> tuple[float, float, float]:
    tone = float(rng.uniform(150, 190))
    return (tone, tone, tone + 6)


def _washer(rng: Any, pixels: Pixels, x: float, y: float, r: float, number: int) -> tuple[Pixels, list[dict[str, Any]]]:
    size = len(pixels)
    rows, columns = np.mgrid[:size, :size] + 0.5
    distance = np.hypot(columns - x, rows - y)
    inside = ((distance <= r) & (distance >= r * rng.uniform(0.4, 0.6))).astype(np.uint8)
    ys, xs = np.nonzero(inside)
    top, left, bottom, right = ys.min(), xs.min(), ys.max(), xs.max()
    buffer = io.BytesIO()
    Image.fromarray(inside[top : bottom + 1, left : right + 1]).save(buffer, "PNG")
    corners = [[float(left), float(top)], [float(right), float(bottom)]]
    mask = base64.b64encode(buffer.getvalue()).decode()
    return _paint(pixels, inside, _steel(rng)), [_shape("washer", "mask", corners, mask=mask)]


def _nut(rng: Any, pixels: Pixels, x: float, y: float, r: float, number: int) -> tuple[Pixels, list[dict[str, Any]]]:
    turn = rng.uniform(0, math.pi / 3)
    angles = [turn + k * math.pi / 3 for k in range(6)]
    points = [[x + r * math.cos(a), y + r * math.sin(a)] for a in angles]
    painted = _paint(pixels, _fill(len(pixels), points), (196, 168, 92))
    cv2.circle(painted, (round(x), round(y)), round(r * 0.45), (60, 50, 34), -1, cv2.LINE_AA)
    return painted, [_shape("nut", "polygon", points)]


def _plate(rng: Any, pixels: Pixels, x: float, y: float, r: float, number: int) -> tuple[Pixels, list[dict[str, Any]]]:
    half = (r * 0.85, r * rng.uniform(0.35, 0.5))
    kind = rng.integers(0, 3)
    angle = 0.0 if kind == 0 else float(rng.uniform(0, math.pi))
    points = _turned(x, y, half, angle)
    painted = _paint(pixels, _fill(len(pixels), points), (92, 118, 176))
    if kind == 0:
        return painted, [_shape("plate", "rectangle", [points[2], points[0]])]
    if kind == 1:
        return painted, [_shape("plate", "oriented_rectangle", points)]
    c, s, gap = math.cos(angle), math.sin(angle), half[0] * 0.18  # a rod lies across: two parts of one plate
    parts = [
        _turned(
            x + side * c * (half[0] + gap) / 2,
            y + side * s * (half[0] + gap) / 2,
            ((half[0] - gap) / 2, half[1]),
            angle,
        )
        for side in (-1, 1)
    ]
    rod = _turned(x, y, (gap, r * 0.95), angle)
    return _paint(painted, _fill(len(pixels), rod), (70, 70, 74)), [
        _shape("plate", "polygon", part, group_id=number) for part in parts
    ]


def _disc(rng: Any, pixels: Pixels, x: float, y: float, r: float, number: int) -> tuple[Pixels, list[dict[str, Any]]]:
    r *= 0.8
    rows, columns = np.mgrid[: len(pixels), : len(pixels)] + 0.5
    inside = (np.hypot(columns - x, rows - y) <= r).astype(np.uint8)
    return _paint(pixels, inside, (176, 84, 70)), [_shape("disc", "circle", [[x, y], [x + r, y]])]


_PARTS = {"washer": _washer, "nut": _nut, "plate": _plate, "disc": _disc}


def make_pictures(folder: Path, count: int, size: int = 192, seed: int = 0, annotate: bool = True) -> None:
    """Write ``count`` pictures, each with a LabelMe file beside it unless ``annotate`` is off."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        pixels, shapes = draw_picture(np.random.default_rng([seed, number]), size)
        picture = folder / f"part_{number:03d}.jpg"
        Image.fromarray(pixels).save(picture, quality=93)
        if annotate:
            document = {
                "version": "5.11.0",
                "flags": {},
                "shapes": shapes,
                "imagePath": picture.name,
                "imageData": None,
                "imageHeight": size,
                "imageWidth": size,
            }
            picture.with_suffix(".json").write_text(json.dumps(document, indent=1), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Draw pictures of machine parts with LabelMe annotations.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-annotations", action="store_true")
    arguments = parser.parse_args()
    make_pictures(
        arguments.folder,
        arguments.count,
        arguments.size,
        arguments.seed,
        annotate=not arguments.no_annotations,
    )
    print(f"{arguments.count} pictures in {arguments.folder}")
