"""Predictions drawn over an image, readable from one instance to hundreds.

Contours lie inside the masks. The legend is a strip below the image, and tags go where they hide the least of the
instances: what was predicted stays visible.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from segkit.data.draw import Pixels, colour, font
from segkit.data.masks import rle_crop, to_rle
from segkit.data.overlaps import Crop
from segkit.data.records import Category, Result, in_label_order

Tags = Literal["auto", "none", "name", "score"]
Rgb = tuple[int, int, int]
_FEW, _MOST_TAGS = 30, 40  # instances that are filled, too; that have tags unless they are asked for
_FILL, _MAP_FILL = 0.25, 0.45  # opacities
_LIGHT = 110  # luma, above which black letters are read more easily than white ones
_HIDDEN = 0.25  # the share of a tag that may hide instances, unless tags are asked for


def category_colours(names: dict[int, str]) -> dict[int, Rgb]:
    """An RGB colour for each category."""
    ordered = in_label_order(Category(number, name) for number, name in names.items())
    return {category.id: colour(place) for place, category in enumerate(ordered)}


def class_map_picture(class_map: npt.NDArray[np.uint8], names: dict[int, str]) -> Image.Image:
    """A label map as a picture of category ids, 0 for background, with the colours of overlays as its palette.

    Ids above 255, which a palette cannot have, make a picture of 16 bits; larger ones keep the labels 1..K.

    Args:
        class_map: The label of every pixel [H, W].
        names: Category names by id.
    """
    shades = category_colours(names)
    ids = [number if isinstance(number, int) else -1 for number in shades]
    if not all(0 < number < 1 << 16 for number in ids):
        ids = list(range(1, len(ids) + 1))
    table = np.zeros(256, np.uint16)
    table[1 : len(ids) + 1] = ids
    values = table[class_map]
    if max(ids, default=0) > 255:
        return Image.fromarray(values)
    picture = Image.fromarray(values.astype(np.uint8)).convert("P")
    palette = np.zeros((256, 3), np.uint8)
    palette[ids] = list(shades.values())
    picture.putpalette(palette.ravel().tolist())
    return picture


def draw_overlay(
    pixels: Pixels,
    results: Sequence[Result],
    names: dict[int, str],
    tags: Tags = "auto",
    line_width: int | None = None,
    class_map: npt.NDArray[np.uint8] | None = None,
    *,
    of_video: bool = False,
) -> Pixels:
    """An image with its instances, or the label of every pixel, and a legend below it.

    Args:
        pixels: RGB [H, W, 3].
        results: Of this image, by falling score.
        names: Category names by id.
        tags: What is written at each instance; ``auto``: name and score where there are few, and where it hides little.
        line_width: Of contours, in pixels; None: by the size of the image.
        class_map: The label of every pixel [H, W], 0 for background; it is filled in place of the instances.
        of_video: It is a frame: no legend, and one colour for a category, which stays from frame to frame.
    """
    out = pixels.copy()
    height, width = pixels.shape[:2]
    line = line_width or max(1, round(max(height, width) / 700))
    shades = category_colours(names)
    if class_map is not None:
        out = _filled(out, class_map, list(shades.values()))
    single = len(names) == 1 and class_map is None and not of_video  # colours tell instances apart instead
    shade_of = [colour(number) if single else shades[r.category_id] for number, r in enumerate(results)]
    crops = [_crop(result, height, width) for result in results]
    for crop, result, shade in reversed(list(zip(crops, results, shade_of, strict=True))):
        fill = _FILL if len(results) <= _FEW and class_map is None else 0.0
        _draw(out, crop, result, shade, line, fill)
    picture = Image.fromarray(out)
    if tags != "none" and not (tags == "auto" and (len(results) > _MOST_TAGS or class_map is not None)):
        _tag(picture, results, crops, shade_of, names, tags)
    if of_video:
        return np.asarray(picture)
    return _with_legend(np.asarray(picture), _legend(results, names, shades, single, class_map))


def _filled(pixels: Pixels, class_map: npt.NDArray[np.uint8], shades: Sequence[Rgb]) -> Pixels:
    """Pixels mixed with the colours of their labels, and lines between labels."""
    palette = np.zeros((256, 3), np.float32)
    palette[1 : len(shades) + 1] = shades
    out = pixels.copy()
    for row in range(0, len(out), 256):  # floats of the whole image would be large
        part = np.s_[row : row + 256]
        inside = (class_map[part] > 0) & (class_map[part] <= len(shades))
        mixed = out[part] * (1 - _MAP_FILL) + palette[class_map[part]] * _MAP_FILL
        out[part][inside] = mixed[inside].astype(np.uint8)
    return out


def _crop(result: Result, height: int, width: int) -> Crop | None:
    return None if result.segmentation is None else rle_crop(to_rle(result.segmentation, height, width))


def _draw(out: Pixels, crop: Crop | None, result: Result, shade: Rgb, line: int, fill: float) -> None:
    if crop is None:
        if result.segmentation is None and result.bbox is not None:
            x, y, w, h = (round(value) for value in result.bbox)
            cv2.rectangle(out, (x, y), (x + w - 1, y + h - 1), shade, line)
        return
    top, left, bitmap = crop
    window = out[top : top + bitmap.shape[0], left : left + bitmap.shape[1]]
    inside = bitmap > 0
    if fill:
        mixed = window * (1 - fill) + np.array(shade) * fill
        window[inside] = mixed[inside].astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * line + 1, 2 * line + 1))
    core = cv2.erode(np.pad(bitmap, line), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    core = core[line:-line, line:-line]
    window[inside & (core == 0)] = shade


def _tag(
    picture: Image.Image,
    results: Sequence[Result],
    crops: Sequence[Crop | None],
    shades: Sequence[Rgb],
    names: dict[int, str],
    tags: Tags,
) -> None:
    """Write at each instance what it is, where it hides the least: above, below, right or left of it, or inside."""
    width, height = picture.size
    taken = np.zeros((height, width), np.uint8)
    for crop in crops:
        if crop is not None:
            top, left, bitmap = crop
            taken[top : top + bitmap.shape[0], left : left + bitmap.shape[1]] |= bitmap
    draw, letters = ImageDraw.Draw(picture), font(_text_size(height, width))
    for result, crop, shade in zip(results, crops, shades, strict=True):
        box = _box(result, crop)
        if box is None:
            continue
        name = names[result.category_id]
        text = name if tags == "name" else f"{name} {result.score:.2f}"
        _, _, right, bottom = draw.textbbox((0, 0), text, font=letters)
        size = int(right) + 4, int(bottom) + 2
        places = [_within(place, size, (width, height)) for place in _places(box, size)]
        hidden = [int((taken[y : y + size[1], x : x + size[0]] > 0).sum()) for x, y in places]
        best = int(np.argmin(hidden))
        if tags == "auto" and hidden[best] > _HIDDEN * size[0] * size[1]:
            continue
        x, y = places[best]
        taken[y : y + size[1], x : x + size[0]] = 1
        draw.rectangle((x, y, x + size[0] - 1, y + size[1] - 1), fill=shade)
        light = np.dot(shade, (0.299, 0.587, 0.114)) > _LIGHT
        draw.text((x + 2, y), text, fill=(0, 0, 0) if light else (255, 255, 255), font=letters)


def _box(result: Result, crop: Crop | None) -> tuple[int, int, int, int] | None:
    """x, y, width, height."""
    if crop is not None:
        top, left, bitmap = crop
        return left, top, bitmap.shape[1], bitmap.shape[0]
    if result.segmentation is None and result.bbox is not None:
        x, y, w, h = (round(value) for value in result.bbox)
        return x, y, w, h
    return None


def _places(box: tuple[int, int, int, int], size: tuple[int, int]) -> list[tuple[int, int]]:
    x, y, w, h = box
    return [(x, y - size[1]), (x, y + h), (x + w, y), (x - size[0], y), (x + w - size[0], y - size[1]), (x, y)]


def _within(place: tuple[int, int], size: tuple[int, int], of: tuple[int, int]) -> tuple[int, int]:
    x, y = (max(0, min(at, whole - own)) for at, own, whole in zip(place, size, of, strict=True))
    return x, y


def _text_size(height: int, width: int) -> int:
    return max(11, round(max(height, width) / 70))


def _legend(
    results: Sequence[Result],
    names: dict[int, str],
    shades: dict[int, Rgb],
    single: bool,
    class_map: npt.NDArray[np.uint8] | None,
) -> list[tuple[Rgb | None, str]]:
    """Colours and texts: categories that occur, with the number of their instances, or their share of the pixels."""
    if class_map is not None:
        counts = np.bincount(class_map.ravel(), minlength=len(names) + 1)
        items = [
            (shades[number], names[number], counts[label] / class_map.size) for label, number in enumerate(shades, 1)
        ]
        found: list[tuple[Rgb | None, str]] = [
            (shade, f"{name} {share:.1%}") for shade, name, share in items if share > 0
        ]
        return found or [(None, "background only")]
    numbers = Counter(result.category_id for result in results)
    if not numbers:
        return [(None, "no instances")]
    return [
        (None if single else shades[number], f"{names[number]}: {numbers[number]}")
        for number in shades
        if numbers[number]
    ]


def _with_legend(pixels: Pixels, items: Sequence[tuple[Rgb | None, str]]) -> Pixels:
    """The image with a strip below it."""
    height, width = pixels.shape[:2]
    size = _text_size(height, width)
    letters, gap = font(size), max(4, size // 2)
    lines: list[list[tuple[int, Rgb | None, str]]] = [[]]
    x = gap
    for shade, text in items:
        needs = (size + gap // 2 if shade is not None else 0) + int(letters.getlength(text)) + 2 * gap
        if x + needs > width and lines[-1]:
            lines.append([])
            x = gap
        lines[-1].append((x, shade, text))
        x += needs
    step = size + gap
    strip = Image.new("RGB", (width, step * len(lines) + gap), (24, 24, 24))
    draw = ImageDraw.Draw(strip)
    for row, line in enumerate(lines):
        y = gap + row * step
        for at, shade, text in line:
            if shade is not None:
                draw.rectangle((at, y, at + size - 1, y + size - 1), fill=shade)
                at += size + gap // 2
            draw.text((at, y + size // 2), text, fill=(235, 235, 235), font=letters, anchor="lm")
    return np.concatenate([pixels, np.asarray(strip)])
