"""One geometric transform, applied to the pixels, polygons and masks of an image alike.

Coordinates are continuous (pixel i spans [i, i + 1)), as LabelMe's and COCO's are.
"""

from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from segkit.data.coverage import Affine, Crop, moved, of_centres, resized
from segkit.data.masks import rle_crop, tight_crop, to_rle
from segkit.data.records import Segmentation

TargetKind = Literal["instances", "semantic"]
Pixels = npt.NDArray[np.uint8]

_HALF = 0.5  # of a pixel


@dataclass(frozen=True, slots=True)
class Warp:
    """Resize, then flip, then rotate about the centre, then crop or pad to a window.

    ``angle`` is in degrees, counter-clockwise. ``window`` is (top, left, height, width) in the resized frame.
    """

    height: int
    width: int
    flip_x: bool = False
    flip_y: bool = False
    angle: float = 0.0
    window: tuple[int, int, int, int] | None = None

    @property
    def out(self) -> tuple[int, int]:
        """(height, width) of the result."""
        return self.window[2:] if self.window is not None else (self.height, self.width)

    def affine(self, from_height: int, from_width: int) -> Affine:
        """The map [2, 3] of points (x, y) in a frame of the given size: what every other method agrees with."""
        mirrored = np.array([self.flip_x, self.flip_y])
        scale = np.array([self.width / from_width, self.height / from_height]) * np.where(mirrored, -1.0, 1.0)
        shift = np.where(mirrored, (self.width, self.height), 0.0)
        turn = cv2.getRotationMatrix2D((self.width / 2, self.height / 2), self.angle, 1.0)
        there = np.column_stack([turn[:, :2] * scale, turn[:, :2] @ shift + turn[:, 2]])
        if self.window is not None:
            there[:, 2] -= (self.window[1], self.window[0])
        return there

    def image(self, pixels: Pixels) -> Pixels:
        """Warp an image [H, W, C]; black where there is none."""
        if pixels.shape[2] not in (3, 4):  # OpenCV turns four at most, and leaves out an axis of one channel
            parts = [self.image(np.repeat(pixels[:, :, [n]], 3, axis=2))[:, :, :1] for n in range(pixels.shape[2])]
            return np.concatenate(parts, axis=2)
        if pixels.shape[:2] != (self.height, self.width):
            how = cv2.INTER_AREA if self.height < pixels.shape[0] else cv2.INTER_LINEAR
            pixels = np.asarray(cv2.resize(pixels, (self.width, self.height), interpolation=how), np.uint8)
        pixels = self._flipped(pixels)
        if self.angle:
            turn = replace(self, flip_x=False, flip_y=False).affine(self.height, self.width)
            turned = cv2.warpAffine(pixels, of_centres(turn), self.out[::-1], flags=cv2.INTER_LINEAR)
            return np.asarray(turned, np.uint8)
        return pixels if self.window is None else _cut(pixels, self.window, 0)

    def label_map(self, labels: Pixels, fill: int) -> Pixels:
        """Warp a label map [H, W]: a pixel takes the label that covers most of it; ``fill`` outside the image."""
        if labels.shape == (self.height, self.width) and not self.angle:
            labels = self._flipped(labels)
            return labels if self.window is None else _cut(labels, self.window, fill)
        inside, out, most = self.inside(), np.full(self.out, fill, np.uint8), np.zeros(self.out, np.float32)
        for label in np.flatnonzero(np.bincount(labels.ravel())).tolist():
            crop = self._moved(Crop(0, 0, (labels == label).view(np.uint8)), labels.shape)
            if crop is not None:
                top, left, shares = crop
                window = np.s_[top : top + shares.shape[0], left : left + shares.shape[1]]
                more = shares > most[window]
                out[window][more], most[window][more] = label, shares[more]
        if inside is not None:
            out[inside == 0] = fill
        return out

    def inside(self) -> Pixels | None:
        """Where the result shows the image, [H, W] of 0 and 1; None where it does everywhere."""
        height, width = self.out
        top, left = self.window[:2] if self.window is not None else (0, 0)
        if not self.angle and top >= 0 <= left and top + height <= self.height and left + width <= self.width:
            return None
        found = self._moved(Crop(0, 0, np.ones((self.height, self.width), np.uint8)), (self.height, self.width))
        out = np.zeros((height, width), np.uint8)
        if found is not None:
            y, x, shares = found
            out[y : y + shares.shape[0], x : x + shares.shape[1]] = shares > _HALF
        return out

    def box_mask(
        self, segmentation: Segmentation, from_height: int, from_width: int, inside: Pixels | None = None
    ) -> tuple[int, int, Pixels] | None:
        """A segmentation in the new frame, cut to its tight box: (top, left, bitmap [h, w]); None where it is empty.

        A pixel belongs to it where more than half of the pixel does, and so do polygons: their pixels by COCO's rule,
        which are what scores are computed with, are moved. Time and memory depend on the instance and not on the image.

        Args:
            segmentation: In the frame that the image comes from.
            from_height: Height of that frame.
            from_width: Width of that frame.
            inside: What ``inside`` returns: an instance has no pixels outside the image.
        """
        found = rle_crop(to_rle(segmentation, from_height, from_width))
        crop = None if found is None else self._moved(Crop(*found), (from_height, from_width))
        if crop is None:
            return None
        top, left, shares = crop
        bitmap = (shares > _HALF).astype(np.uint8)
        if inside is not None:
            bitmap &= inside[top : top + bitmap.shape[0], left : left + bitmap.shape[1]]
        tight = tight_crop(bitmap)
        return None if tight is None else (top + tight[0], left + tight[1], tight[2])

    def _moved(self, crop: Crop, before: tuple[int, int]) -> Crop | None:
        """How much a mask in a frame of the size ``before`` covers of each pixel; None where it covers none."""
        if self.angle:
            return moved(crop, self.affine(*before), *self.out)
        size = (self.height, self.width)
        crop = resized(crop, before, size).flipped(size, flip_x=self.flip_x, flip_y=self.flip_y)
        return crop if self.window is None else crop.within(*self.window)

    def _flipped(self, pixels: Pixels) -> Pixels:
        if not (self.flip_x or self.flip_y):
            return pixels
        return np.asarray(cv2.flip(pixels, -1 if self.flip_x and self.flip_y else int(self.flip_x)), np.uint8)


def _cut(pixels: Pixels, window: tuple[int, int, int, int], fill: int) -> Pixels:
    """The window of an image, with ``fill`` where it is outside."""
    top, left, height, width = window
    out = np.full((height, width, *pixels.shape[2:]), fill, np.uint8)
    y0, x0 = max(top, 0), max(left, 0)
    inside = pixels[y0 : top + height, x0 : left + width]
    out[y0 - top : y0 - top + inside.shape[0], x0 - left : x0 - left + inside.shape[1]] = inside
    return out


def resized_dimensions(height: int, width: int, size: int, max_size: int) -> tuple[int, int]:
    """(height, width) with the shorter side ``size``, or less where the longer one would exceed ``max_size``.

    Args:
        height: Before.
        width: Likewise.
        size: The shorter side, in pixels.
        max_size: Of the longer side.
    """
    scale = min(size / min(height, width), max_size / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


@dataclass(frozen=True, slots=True)
class Framing:
    """How images are resized.

    ``kind`` "instances": the shorter side becomes ``size``, the longer at most ``max_size``. "semantic": images keep
    their scale; in training a window of ``size`` x ``size`` is cropped.
    """

    kind: TargetKind
    size: int
    max_size: int
