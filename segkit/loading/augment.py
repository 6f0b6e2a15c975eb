"""Augmentation of training images, by level; the same seed gives the same change on every machine."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from segkit.choices import AugmentLevel
from segkit.data.geometry import Framing, Warp, resized_dimensions
from segkit.data.masks import tight_crop
from segkit.models.tensors import BoxMask

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Strength:
    """The limits of a level."""

    scale: tuple[float, float] = (1.0, 1.0)
    flip_x: float = 0.0  # probabilities
    flip_y: float = 0.0
    angle: float = 0.0  # degrees to either side
    light: float = 0.0  # brightness and contrast, as a share
    colour: float = 0.0  # gain of each channel, as a share
    erase: float = 0.0  # probability of a grey rectangle
    paste: float = 0.0  # probability of instances from another image


STRENGTHS: dict[AugmentLevel, Strength] = {
    "none": Strength(),
    "light": Strength(flip_x=0.5, light=0.1),
    "medium": Strength(scale=(0.7, 1.4), flip_x=0.5, angle=10.0, light=0.25, colour=0.1),
    "heavy": Strength(
        scale=(0.5, 2.0), flip_x=0.5, flip_y=0.5, angle=30.0, light=0.4, colour=0.2, erase=0.3, paste=0.5
    ),
}


def random_warp(rng: np.random.Generator, strength: Strength, height: int, width: int, framing: Framing) -> Warp:
    """A geometric change of a training image.

    For instances, the image is scaled to about ``framing.size``, flipped and rotated. For label maps, it is scaled
    from its own size, flipped and rotated, and a window of ``framing.size`` x ``framing.size`` is cut out.

    Args:
        rng: The source of randomness.
        strength: The limits.
        height: Height of the image.
        width: Width of the image.
        framing: How the model gets images.
    """
    windowed = framing.kind == "semantic"
    scale = _log_uniform(rng, strength.scale)
    h, w = (height, width) if windowed else resized_dimensions(height, width, framing.size, framing.max_size)
    h, w = max(1, round(h * scale)), max(1, round(w * scale))
    flips = rng.random(2) < (strength.flip_x, strength.flip_y)
    angle = float(rng.uniform(-1, 1) * strength.angle)
    window = None
    if windowed:
        window = _offset(rng, h, framing.size), _offset(rng, w, framing.size), framing.size, framing.size
    return Warp(h, w, bool(flips[0]), bool(flips[1]), angle, window)


def augment_pixels(rng: np.random.Generator, strength: Strength, pixels: Pixels) -> Pixels:
    """Change brightness, contrast and colour of an image [H, W, C], and erase a rectangle of it."""
    if strength.light or strength.colour:
        contrast = 1 + rng.uniform(-1, 1) * strength.light
        gains = contrast * (1 + rng.uniform(-1, 1, pixels.shape[2]) * strength.colour)
        shift = rng.uniform(-1, 1) * strength.light * 128 + 128 * (1 - contrast)
        table = np.clip(np.arange(256)[:, None] * gains + shift, 0, 255).astype(np.uint8)  # [256, C]
        pixels = cv2.LUT(pixels, table[None]).reshape(pixels.shape)
    if strength.erase and rng.random() < strength.erase:
        h, w = (max(1, round(side * rng.uniform(0.05, 0.25))) for side in pixels.shape[:2])
        y, x = rng.integers(0, pixels.shape[0] - h + 1), rng.integers(0, pixels.shape[1] - w + 1)
        pixels = pixels.copy()
        pixels[y : y + h, x : x + w] = 128
    return pixels


def paste(
    rng: np.random.Generator, image: Pixels, masks: Sequence[BoxMask], other: Pixels, other_masks: Sequence[BoxMask]
) -> tuple[Pixels, list[BoxMask], list[BoxMask]]:
    """Copy some instances of another image onto this one, at their own place (Ghiasi et al. 2021).

    Instances of this image lose the pixels that are covered, and go when nothing is left of them
    (https://arxiv.org/abs/2012.07177). Parts outside this image are cut off.

    Args:
        rng: Chooses each instance with a probability of one half.
        image: The image [H, W, 3]; it is not changed.
        masks: Its instances.
        other: The other image, of any size.
        other_masks: Its instances.

    Returns:
        The new image [H, W, 3], its own instances, and those of the other one.
    """
    covered = np.zeros(image.shape[:2], np.bool_)
    image, pasted = image.copy(), []
    for mask in other_masks:
        if rng.random() < 0.5:
            continue
        bitmap = mask.bitmap[: max(0, image.shape[0] - mask.top), : max(0, image.shape[1] - mask.left)]
        window = np.s_[mask.top : mask.top + bitmap.shape[0], mask.left : mask.left + bitmap.shape[1]]
        if (cut := _tight(mask._replace(bitmap=bitmap))) is None:
            continue
        image[window][bitmap > 0] = other[window][bitmap > 0]
        covered[window] |= bitmap > 0
        pasted.append(cut)
    own = []
    for mask in masks:
        window = np.s_[mask.top : mask.top + mask.bitmap.shape[0], mask.left : mask.left + mask.bitmap.shape[1]]
        if (left := _tight(mask._replace(bitmap=mask.bitmap * ~covered[window]))) is not None:
            own.append(left)
    return image, own, pasted


def paint_over(labels: Pixels, masks: Sequence[BoxMask]) -> Pixels:
    """A label map [H, W] with instances over it; the same array where there are none."""
    if masks:
        labels = labels.copy()
    for mask in masks:
        window = np.s_[mask.top : mask.top + mask.bitmap.shape[0], mask.left : mask.left + mask.bitmap.shape[1]]
        labels[window][mask.bitmap > 0] = mask.label
    return labels


def _tight(mask: BoxMask) -> BoxMask | None:
    """A mask without empty borders; None where it is empty."""
    tight = tight_crop(mask.bitmap)
    return None if tight is None else BoxMask(mask.label, mask.top + tight[0], mask.left + tight[1], tight[2])


def _log_uniform(rng: np.random.Generator, between: tuple[float, float]) -> float:
    return float(np.exp(rng.uniform(np.log(between[0]), np.log(between[1]))))


def _offset(rng: np.random.Generator, side: int, size: int) -> int:
    """Where a window of ``size`` begins: anywhere inside the image, or around the middle of a smaller one."""
    return int(rng.integers(0, side - size + 1)) if side > size else -((size - side) // 2)
