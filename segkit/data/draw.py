"""Instances drawn over an image."""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import matplotlib as mpl  # for the font it brings: OpenCV's own has no letters beyond ASCII
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from segkit.data.masks import rle_bbox, rle_to_mask, to_rle
from segkit.data.records import Result, Segmentation, id_order

Pixels = npt.NDArray[np.uint8]
_OPACITY = 0.45


def colour(number: int) -> tuple[int, int, int]:
    """An RGB colour for a number; colours of close numbers differ."""
    hue = (number * 0.618033988749895 + 0.58) % 1.0  # the golden ratio spreads any count evenly
    r, g, b = colorsys.hsv_to_rgb(hue, 0.75, 1.0)
    return round(r * 255), round(g * 255), round(b * 255)


@dataclass(frozen=True, slots=True)
class Drawn:
    """One region to draw: its segmentation or its box, its RGB, and the text of its tag."""

    segmentation: Segmentation | None
    bbox: tuple[float, float, float, float] | None
    shade: tuple[int, int, int]
    tag: str


def draw_results(pixels: Pixels, results: Sequence[Result], names: dict[int, str], caption: str = "") -> Pixels:
    """An image with its instances: filled, outlined, and tagged with category and score.

    Each category has a colour, or each instance where there is only one category.

    Args:
        pixels: RGB [H, W, 3].
        results: Of this image, sorted by descending score.
        names: Category names by id.
        caption: Text for the lower left corner.
    """
    order = {category_id: number for number, category_id in enumerate(sorted(names, key=id_order))}
    regions = [
        Drawn(
            result.segmentation,
            result.bbox,
            colour(number if len(names) == 1 else order[result.category_id]),
            f"{names[result.category_id]} {result.score:.2f}",
        )
        for number, result in enumerate(results)
    ]
    return draw_regions(pixels, regions, caption)


def draw_regions(pixels: Pixels, regions: Sequence[Drawn], caption: str = "") -> Pixels:
    """An image with regions filled, outlined and tagged; the first are on top.

    Args:
        pixels: RGB [H, W, 3].
        regions: What to draw; empty ones are skipped.
        caption: Text for the lower left corner.
    """
    out = pixels.copy()
    height, width = pixels.shape[:2]
    thickness = max(1, round(max(height, width) / 600))
    tags = []
    for region in reversed(regions):
        shade = region.shade
        if region.segmentation:
            rle = to_rle(region.segmentation, height, width)
            x, y, w, h = (int(value) for value in rle_bbox(rle))
            if w == 0 or h == 0:
                continue
            inside = rle_to_mask(rle)[y : y + h, x : x + w]
            window = out[y : y + h, x : x + w]
            mixed = window * (1 - _OPACITY) + np.array(shade) * _OPACITY
            window[inside > 0] = mixed[inside > 0].astype(np.uint8)
            outlines, _ = cv2.findContours(inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(x, y))
            cv2.drawContours(out, outlines, -1, shade, thickness, cv2.LINE_AA)
        elif region.bbox is not None:
            x, y, w, h = (round(value) for value in region.bbox)
            cv2.rectangle(out, (x, y), (x + w, y + h), shade, thickness, cv2.LINE_AA)
        else:
            continue
        tags.append((x, y, region.tag, shade))
    return _write(out, tags, caption)


def _write(pixels: Pixels, tags: Sequence[tuple[int, int, str, tuple[int, int, int]]], caption: str) -> Pixels:
    picture = Image.fromarray(pixels)
    draw = ImageDraw.Draw(picture)
    letters = font(max(10, round(max(pixels.shape[:2]) / 60)))
    for x, y, text, shade in (tag for tag in tags if tag[2]):
        _, _, right, bottom = draw.textbbox((0, 0), text, font=letters)
        top = y - bottom - 2 if y >= bottom + 2 else y
        left = max(0, min(x, pixels.shape[1] - int(right) - 4))
        draw.rectangle((left, top, left + right + 3, top + bottom + 1), fill=shade)
        draw.text((left + 2, top), text, fill=(0, 0, 0), font=letters)
    if caption:
        _, _, right, bottom = draw.textbbox((0, 0), caption, font=letters)
        low = pixels.shape[0] - bottom - 3
        draw.rectangle((0, low, right + 6, pixels.shape[0]), fill=(0, 0, 0))
        draw.text((3, low), caption, fill=(255, 255, 255), font=letters)
    return np.asarray(picture)


@lru_cache(maxsize=8)
def font(height: int) -> ImageFont.FreeTypeFont:
    """The letters of matplotlib's font, of a height in pixels."""
    return ImageFont.truetype(str(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), height)
