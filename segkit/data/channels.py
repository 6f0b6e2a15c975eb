"""Pictures as a model of other than three channels gets them, as bytes."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from segkit.data.depth import Levels, Mapped, Range, to_bytes
from segkit.data.pictures import MAX_PIXELS
from segkit.data.tiff_channels import look_at_channels, read_tiff_channels

Bytes = npt.NDArray[np.uint8]

_LOW, _HIGH = 1, 99  # percent of the values between black and white in what is shown


def decode_channels(path: Path, ranges: Sequence[Range]) -> Mapped:
    """The channels of a TIFF file as bytes, [H, W, C], and the share of their values outside the ranges.

    Args:
        path: The file.
        ranges: Of each channel, the values that become 0 and 255.

    Raises:
        InputError: It cannot be decoded, or has another number of channels.
    """
    values = read_tiff_channels(path, len(ranges), MAX_PIXELS)
    out, clipped = np.empty(values.shape, np.uint8), 0.0
    for number, range_ in enumerate(ranges):
        mapped = to_bytes(np.ascontiguousarray(values[:, :, number]), Levels(range_, range_))
        out[:, :, number] = mapped.pixels[:, :, 0]
        clipped += mapped.clipped / len(ranges)
    return Mapped(out, clipped)


def to_grey(pixels: Bytes) -> Bytes:
    """RGB [H, W, 3] as one channel, [H, W, 1]; what is grey keeps its values."""
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)[:, :, None]


def resized(pixels: Bytes, height: int, width: int, how: int) -> Bytes:
    """An image [H, W, C] at another size; OpenCV resizes four channels at most, and leaves out an axis of one.

    Args:
        pixels: The image.
        height: Of the result.
        width: Likewise.
        how: OpenCV's interpolation.
    """
    if pixels.shape[2] in (3, 4):
        return np.asarray(cv2.resize(pixels, (width, height), interpolation=how), np.uint8)
    planes = [np.ascontiguousarray(pixels[:, :, number]) for number in range(pixels.shape[2])]
    return np.stack([np.asarray(cv2.resize(each, (width, height), interpolation=how)) for each in planes], axis=2)


def preview(path: Path) -> Bytes | None:
    """The first three channels of a TIFF file as RGB [H, W, 3], each stretched, to look at; None of other files.

    Raises:
        InputError: It cannot be decoded.
    """
    found = look_at_channels(path)
    if found is None:
        return None
    values = read_tiff_channels(path, found.channels, MAX_PIXELS)[:, :, :3]
    out = np.zeros((*values.shape[:2], 3), np.uint8)
    for number in range(values.shape[2]):
        plane = np.ascontiguousarray(values[:, :, number])
        low, high = (float(value) for value in np.percentile(plane, (_LOW, _HIGH)))
        range_ = (low, max(high, low + 1e-6))
        out[:, :, number] = to_bytes(plane, Levels(range_, range_)).pixels[:, :, 0]
    return out
