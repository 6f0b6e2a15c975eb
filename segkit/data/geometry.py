"""One geometric transform, applied to the pixels, polygons and masks of an image alike.

Coordinates are continuous (pixel i spans [i, i + 1)), as LabelMe's and COCO's are.
"""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from segkit.data.masks import polygons_to_rle, rle_to_mask, tight_crop
from segkit.data.records import Polygons, Segmentation

TargetKind = Literal["instances", "semantic"]
Pixels = npt.NDArray[np.uint8]


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

    def image(self, pixels: Pixels, fill: int = 0) -> Pixels:
        """Warp a picture [H, W, 3], or a label map [H, W] without mixing labels."""
        labels = pixels.ndim == 2
        if pixels.shape[:2] != (self.height, self.width):
            shrinks = self.height < pixels.shape[0]
            how = cv2.INTER_NEAREST if labels else cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            pixels = cv2.resize(pixels, (self.width, self.height), interpolation=how)
        if self.flip_x or self.flip_y:
            pixels = cv2.flip(pixels, -1 if self.flip_x and self.flip_y else int(self.flip_x))
        if self.angle:
            turn = cv2.getRotationMatrix2D(((self.width - 1) / 2, (self.height - 1) / 2), self.angle, 1.0)
            how = cv2.INTER_NEAREST if labels else cv2.INTER_LINEAR
            border = (fill,) * 3
            pixels = cv2.warpAffine(pixels, turn, (self.width, self.height), flags=how, borderValue=border)
        return pixels if self.window is None else _cut(pixels, self.window, fill)

    def polygons(self, polygons: Polygons, from_height: int, from_width: int) -> Polygons:
        """Warp polygons that were drawn in a frame of the given size."""
        scale_x, scale_y = self.width / from_width, self.height / from_height
        out = []
        for flat in polygons:
            points = np.asarray(flat, np.float64).reshape(-1, 2) * (scale_x, scale_y)
            if self.flip_x:
                points[:, 0] = self.width - points[:, 0]
            if self.flip_y:
                points[:, 1] = self.height - points[:, 1]
            if self.angle:
                turn = cv2.getRotationMatrix2D((self.width / 2, self.height / 2), self.angle, 1.0)
                points = points @ turn[:, :2].T + turn[:, 2]
            if self.window is not None:
                points -= (self.window[1], self.window[0])
            out.append(points.ravel().tolist())
        return out

    def mask(self, segmentation: Segmentation, from_height: int, from_width: int) -> Pixels:
        """A segmentation as a bitmap in the new frame; polygons are transformed before they are rasterised."""
        if isinstance(segmentation, list):
            return rle_to_mask(polygons_to_rle(self.polygons(segmentation, from_height, from_width), *self.out))
        return self.image(np.ascontiguousarray(rle_to_mask(segmentation)))

    def box_mask(self, segmentation: Segmentation, from_height: int, from_width: int) -> tuple[int, int, Pixels] | None:
        """The result of ``mask``, cut to its tight box: (top, left, bitmap [h, w]); None where it is empty.

        Polygons are rasterised in their own box: time and memory depend on the instance and not on the image.
        """
        top = left = 0
        if isinstance(segmentation, list):
            polygons = [p for p in self.polygons(segmentation, from_height, from_width) if len(p) >= 6]
            if not polygons:
                return None
            points = np.concatenate([np.reshape(p, (-1, 2)) for p in polygons])
            left, top = (max(0, int(low)) for low in np.floor(points.min(axis=0)))
            right, bottom = np.minimum(np.ceil(points.max(axis=0)).astype(int) + 1, (self.out[1], self.out[0])).tolist()
            if right <= left or bottom <= top:
                return None
            moved = [(np.reshape(p, (-1, 2)) - (left, top)).ravel().tolist() for p in polygons]
            bitmap = rle_to_mask(polygons_to_rle(moved, bottom - top, right - left))
        else:
            bitmap = self.mask(segmentation, from_height, from_width)
        tight = tight_crop(bitmap)
        return None if tight is None else (top + tight[0], left + tight[1], tight[2])


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
