"""How training pictures are varied, level by level; the same key draws the same variation on every machine."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from segkit.choices import AugmentLevel
from segkit.data.geometry import Warp, fit
from segkit.models.tensors import Crop

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Strength:
    """What a level may do."""

    scale: tuple[float, float] = (1.0, 1.0)
    flip_x: float = 0.0  # probabilities
    flip_y: float = 0.0
    angle: float = 0.0  # degrees to either side
    light: float = 0.0  # brightness and contrast, as a share
    colour: float = 0.0  # gain of each channel, as a share
    erase: float = 0.0  # probability of a grey rectangle
    paste: float = 0.0  # probability of instances from another picture


STRENGTHS: dict[AugmentLevel, Strength] = {
    "none": Strength(),
    "light": Strength(flip_x=0.5, light=0.1),
    "medium": Strength(scale=(0.7, 1.4), flip_x=0.5, angle=10.0, light=0.25, colour=0.1),
    "heavy": Strength(
        scale=(0.5, 2.0), flip_x=0.5, flip_y=0.5, angle=30.0, light=0.4, colour=0.2, erase=0.3, paste=0.5
    ),
}


def draw_warp(rng: np.random.Generator, strength: Strength, height: int, width: int, size: int, max_size: int) -> Warp:
    """A change of frame for a detector: scaled to about ``size``, flipped, turned."""
    scale = _log_uniform(rng, strength.scale)
    h, w = fit(height, width, size, max_size)
    flips = rng.random(2) < (strength.flip_x, strength.flip_y)
    angle = float(rng.uniform(-1, 1) * strength.angle)
    return Warp(max(1, round(h * scale)), max(1, round(w * scale)), bool(flips[0]), bool(flips[1]), angle)


def draw_crop(rng: np.random.Generator, strength: Strength, height: int, width: int, size: int) -> Warp:
    """A change of frame for a U-Net: a window of ``size`` x ``size`` somewhere in the scaled picture."""
    scale = _log_uniform(rng, strength.scale)
    h, w = max(1, round(height * scale)), max(1, round(width * scale))
    flips = rng.random(2) < (strength.flip_x, strength.flip_y)
    angle = float(rng.uniform(-1, 1) * strength.angle)
    top, left = (_offset(rng, side, size) for side in (h, w))
    return Warp(h, w, bool(flips[0]), bool(flips[1]), angle, (top, left, size, size))


def vary_pixels(rng: np.random.Generator, strength: Strength, pixels: Pixels) -> Pixels:
    """Brightness, contrast, colour and erasing of a picture [H, W, 3]."""
    if strength.light or strength.colour:
        contrast = 1 + rng.uniform(-1, 1) * strength.light
        gains = contrast * (1 + rng.uniform(-1, 1, 3) * strength.colour)
        shift = rng.uniform(-1, 1) * strength.light * 128 + 128 * (1 - contrast)
        table = np.clip(np.arange(256)[:, None] * gains + shift, 0, 255).astype(np.uint8)  # [256, 3]
        pixels = cv2.LUT(pixels, table[None])
    if strength.erase and rng.random() < strength.erase:
        h, w = (max(1, round(side * rng.uniform(0.05, 0.25))) for side in pixels.shape[:2])
        y, x = rng.integers(0, pixels.shape[0] - h + 1), rng.integers(0, pixels.shape[1] - w + 1)
        pixels = pixels.copy()
        pixels[y : y + h, x : x + w] = 128
    return pixels


def paste(
    rng: np.random.Generator, image: Pixels, crops: Sequence[Crop], other: Pixels, others: Sequence[Crop]
) -> tuple[Pixels, list[Crop]]:
    """Some instances of another picture laid over this one, where they are there (Ghiasi et al. 2021).

    What they cover of this picture's own instances is taken from those, and an instance that is covered whole goes
    (https://arxiv.org/abs/2012.07177). Parts outside this picture are cut off.

    Returns:
        The picture [H, W, 3], and its instances, own ones first.
    """
    covered = np.zeros(image.shape[:2], np.bool_)
    image, pasted = image.copy(), []
    for crop in others:
        if rng.random() < 0.5:
            continue
        bitmap = crop.bitmap[: max(0, image.shape[0] - crop.top), : max(0, image.shape[1] - crop.left)]
        window = np.s_[crop.top : crop.top + bitmap.shape[0], crop.left : crop.left + bitmap.shape[1]]
        if (cut := tight(crop._replace(bitmap=bitmap))) is None:
            continue
        image[window][bitmap > 0] = other[window][bitmap > 0]
        covered[window] |= bitmap > 0
        pasted.append(cut)
    own = []
    for crop in crops:
        window = np.s_[crop.top : crop.top + crop.bitmap.shape[0], crop.left : crop.left + crop.bitmap.shape[1]]
        if (left := tight(crop._replace(bitmap=crop.bitmap * ~covered[window]))) is not None:
            own.append(left)
    return image, own + pasted


def tight(crop: Crop) -> Crop | None:
    """A crop without empty borders; None where it is empty."""
    rows, columns = np.flatnonzero(crop.bitmap.any(axis=1)), np.flatnonzero(crop.bitmap.any(axis=0))
    if not rows.size:
        return None
    y, x = int(rows[0]), int(columns[0])
    bitmap = np.ascontiguousarray(crop.bitmap[y : int(rows[-1]) + 1, x : int(columns[-1]) + 1])
    return Crop(crop.label, crop.top + y, crop.left + x, bitmap)


def _log_uniform(rng: np.random.Generator, between: tuple[float, float]) -> float:
    return float(np.exp(rng.uniform(np.log(between[0]), np.log(between[1]))))


def _offset(rng: np.random.Generator, side: int, size: int) -> int:
    """Where a window of ``size`` begins: inside where there is room, else with the picture centred in it."""
    return int(rng.integers(0, side - size + 1)) if side > size else -((size - side) // 2)
