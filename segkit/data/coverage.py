"""How much of each pixel of another grid a mask covers, computed for the box of the mask only.

Pixels are squares: pixel i of a side spans [i, i + 1). A mask that is made smaller covers the share of each new pixel
that it has in the old ones (area averaging); a mask that is made larger is interpolated between the centres of pixels,
as its image is.
"""

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

Affine = npt.NDArray[np.float64]  # [2, 3], of points (x, y)
_FINE_SIDE = 512  # pixels along a side of the finer grid that a turned mask is sampled on
_FINEST = 4  # times as fine


class Crop(NamedTuple):
    """A part of an image-sized array that is zero elsewhere; ``values`` [h, w] begins at (``top``, ``left``)."""

    top: int
    left: int
    values: npt.NDArray[np.float32] | npt.NDArray[np.uint8]

    def within(self, top: int, left: int, height: int, width: int) -> "Crop | None":
        """The part in a window, in coordinates of the window; None where there is none.

        Args:
            top: The first row of the window.
            left: Its first column.
            height: Of the window.
            width: Likewise.
        """
        y0, x0 = max(top, self.top), max(left, self.left)
        y1, x1 = min(top + height, self.top + self.values.shape[0]), min(left + width, self.left + self.values.shape[1])
        if y1 <= y0 or x1 <= x0:
            return None
        values = self.values[y0 - self.top : y1 - self.top, x0 - self.left : x1 - self.left]
        return Crop(y0 - top, x0 - left, values)

    def flipped(self, size: tuple[int, int], *, flip_x: bool, flip_y: bool) -> "Crop":
        """The crop of a mirrored image.

        Args:
            size: Height and width of the image.
            flip_x: Exchange left and right.
            flip_y: Exchange top and bottom.
        """
        top, left, values = self
        if flip_y:
            top, values = size[0] - top - values.shape[0], values[::-1]
        if flip_x:
            left, values = size[1] - left - values.shape[1], values[:, ::-1]
        return Crop(top, left, values)


def resized(crop: Crop, before: tuple[int, int], after: tuple[int, int]) -> Crop:
    """The coverage of a mask after its image is resized.

    Args:
        crop: The mask of 0 and 1.
        before: Height and width of its image.
        after: Height and width to which the image is resized.
    """
    if before == after:
        return crop
    return _averaged(crop, before, after) if after[0] < before[0] else _interpolated(crop, before, after)


def _averaged(crop: Crop, before: tuple[int, int], after: tuple[int, int]) -> Crop:
    """The share of the area of each new pixel, by differences of sums over all pixels above and to the left."""
    sums: npt.NDArray[np.floating] = cv2.integral(np.ascontiguousarray(crop.values, np.uint8)).astype(np.float64)
    begins, scales = [], []
    for axis, first in enumerate((crop.top, crop.left)):
        scale, count = after[axis] / before[axis], crop.values.shape[axis]
        low, high = int(np.floor(first * scale)), min(int(np.ceil((first + count) * scale)), after[axis])
        sums = _between(sums, np.clip(np.arange(low, high + 1) / scale - first, 0, count)).T
        begins.append(low)
        scales.append(scale)
    shares = np.diff(np.diff(sums, axis=0), axis=1) * (scales[0] * scales[1])
    return Crop(begins[0], begins[1], shares.astype(np.float32))


def _interpolated(crop: Crop, before: tuple[int, int], after: tuple[int, int]) -> Crop:
    """Values between the centres of pixels; beyond the outermost centres of the image, their own."""
    values: npt.NDArray[np.floating] = np.pad(crop.values.astype(np.float32), 1)
    begins = []
    for axis, first in enumerate((crop.top, crop.left)):
        scale, count = after[axis] / before[axis], crop.values.shape[axis]
        low = max(int(np.floor((first - 0.5) * scale)), 0)
        high = min(int(np.ceil((first + count + 0.5) * scale)), after[axis])
        centres = np.clip((np.arange(low, high) + 0.5) / scale - 0.5, 0, before[axis] - 1)
        values = _between(values, np.clip(centres - first + 1, 0, count + 1)).T
        begins.append(low)
    return Crop(begins[0], begins[1], values.astype(np.float32))


def _between(rows: npt.NDArray[np.floating], places: npt.NDArray[np.float64]) -> npt.NDArray[np.floating]:
    """Rows at fractional places, interpolated linearly."""
    below = np.minimum(places.astype(np.int64), len(rows) - 2)
    share = (places - below)[:, None].astype(rows.dtype)
    return np.asarray(rows[below] * (1 - share) + rows[below + 1] * share)


def moved(crop: Crop, there: Affine, height: int, width: int) -> Crop | None:
    """The coverage of a mask after any affine map; None where nothing of it is in the new frame.

    It is sampled at up to 4 x 4 points of each pixel: turned pixels have no simple area.

    Args:
        crop: The mask of 0 and 1.
        there: The map of points.
        height: Of the new frame.
        width: Likewise.
    """
    h, w = crop.values.shape
    across, down = (crop.left - 1, crop.left + w + 1), (crop.top - 1, crop.top + h + 1)
    corners = np.array([(x, y) for x in across for y in down], np.float64)
    reached = corners @ there[:, :2].T + there[:, 2]
    left, top = np.maximum(np.floor(reached.min(axis=0)).astype(int), 0).tolist()
    right, bottom = np.minimum(np.ceil(reached.max(axis=0)).astype(int), (width, height)).tolist()
    if right <= left or bottom <= top:
        return None
    times = int(np.clip(_FINE_SIDE // max(bottom - top, right - left), 1, _FINEST))
    here = there.copy()
    here[:, 2] += there[:, :2] @ (crop.left, crop.top) - (left, top)
    side = ((right - left) * times, (bottom - top) * times)
    values = np.ascontiguousarray(crop.values, np.float32)
    fine = cv2.warpAffine(values, of_centres(here * times), side, flags=cv2.INTER_LINEAR)
    shares = cv2.resize(fine, (right - left, bottom - top), interpolation=cv2.INTER_AREA) if times > 1 else fine
    return Crop(top, left, np.asarray(shares, np.float32))


def of_centres(there: Affine) -> Affine:
    """A map of points as OpenCV needs it, where the first pixel's centre is at (0, 0) and not at (0.5, 0.5)."""
    out = there.copy()
    out[:, 2] += there[:, :2] @ (0.5, 0.5) - (0.5, 0.5)
    return out
