"""LabelMe files made in tests."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def shape(label: str, points: list[list[float]], shape_type: str = "polygon", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": shape_type, "group_id": None, "flags": {}} | more


def square(x: float, y: float, side: float, label: str = "box", **more: Any) -> dict[str, Any]:
    return shape(label, [[x, y], [x + side, y], [x + side, y + side], [x, y + side]], **more)


def png(mask: np.ndarray[Any, Any]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def write(
    path: Path,
    shapes: list[dict[str, Any]],
    *,
    size: tuple[int, int] = (120, 200),
    picture: bool = True,
    **more: Any,
) -> Path:
    """Write a LabelMe file and, in the same folder, an image of ``size`` (height, width)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = path.with_suffix(".png")
    if picture:
        Image.fromarray(np.full((*size, 3), 90, np.uint8)).save(image)
    document = {
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": image.name,
        "imageData": None,
        "imageHeight": size[0],
        "imageWidth": size[1],
    } | more
    path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    return path
