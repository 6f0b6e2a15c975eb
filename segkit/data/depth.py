"""Images of more than 8 bits: their values, and how they become bytes.

A dataset has one mapping of values to bytes (``Levels``), so that a value means the same in every image. Without one,
each grey image is stretched from its least to its greatest value, as LabelMe shows it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Range = tuple[float, float]  # the values that become 0 and 255
Values = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]

_GREY = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")  # Pillow's modes of more than 8 bits
_COLOUR = ("RGB", "RGBA", "RGBX", "LA")
_BITS = 258  # the TIFF tag BitsPerSample
_PLANES = 284  # PlanarConfiguration; neither Pillow nor OpenCV decodes 2 with 16 bits
_TOP = 65535
_BLOCK = 1 << 22  # values that are mapped at once


@dataclass(frozen=True, slots=True)
class Levels:
    """The values that become black and white in all images of a dataset.

    Attributes:
        integer: Of images of 16 and 32 bits; None: the dataset has none.
        floating: Of images of floating-point numbers; None: the dataset has none.
        channels: Of each channel, where a model takes others than red, green and blue; one: it takes grey, whose values
            are those of the fields above.
    """

    integer: Range | None = None
    floating: Range | None = None
    channels: tuple[Range, ...] | None = None

    @property
    def num_channels(self) -> int:
        """The channels that a model takes."""
        return 3 if self.channels is None else len(self.channels)

    def of(self, values: Values) -> Range | None:
        """Those for an image's values."""
        return self.floating if values.dtype.kind == "f" else self.integer

    def describe(self) -> str:
        """A sentence; empty where there is nothing to say."""
        kinds = (("16 bits", self.integer), ("floating-point numbers", self.floating))
        parts = [f"{low:g} to {high:g} in images of {kind}" for kind, (low, high) in _known(kinds)]
        if self.num_channels > 1 and self.channels is not None:
            parts = [f"{low:g} to {high:g} in channel {n}" for n, (low, high) in enumerate(self.channels, 1)]
        return f"{', '.join(parts)} become 0 to 255, the same for all images" if parts else ""


def _known(kinds: tuple[tuple[str, Range | None], ...]) -> Iterator[tuple[str, Range]]:
    for name, range_ in kinds:
        if range_ is not None:
            yield name, range_


class Mapped(NamedTuple):
    """An image as bytes, the share of its values outside the levels, and whether it had to be mapped without any."""

    pixels: Bytes
    clipped: float = 0.0
    by_itself: bool = False


def is_deep(picture: Any) -> bool:
    """Whether an image that ``opened`` yields, and that is not decoded yet, has more than 8 bits per value."""
    return picture.mode in _GREY or is_deep_colour(picture)


def is_deep_colour(picture: Any) -> bool:
    """Whether it has, and is in colours, of which Pillow decodes only the upper 8 bits."""
    if picture.mode not in _COLOUR:
        return False
    if picture.format == "TIFF":
        bits = picture.tag_v2.get(_BITS, (8,))
        deep = bool(max(bits if isinstance(bits, tuple) else (bits,)) > 8)
        if deep and picture.tag_v2.get(_PLANES, 1) == 2:
            raise ValueError("its channels of 16 bits are stored one after the other; save it with them side by side")
        return deep
    if picture.format == "PNG":
        return any("16" in str(tile[3]) for tile in picture.tile)
    return picture.format == "PPM" and any(isinstance(tile[3], tuple) and tile[3][-1] > 255 for tile in picture.tile)


def decode_colour(source: Path | bytes, size: tuple[int, int]) -> Values | None:
    """Decode an image of deep colours to [H, W, 3] as it is stored; None where OpenCV cannot.

    Args:
        source: The file, or its bytes.
        size: (height, width) that it must have.
    """
    import cv2  # noqa: PLC0415 -- it takes a tenth of a second, and few conversions need it

    data = np.frombuffer(source.read_bytes() if isinstance(source, Path) else source, np.uint8)
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # libtiff's remarks on metadata
    try:
        values = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    finally:
        cv2.utils.logging.setLogLevel(level)
    if values is None or values.shape[:2] != size or values.dtype == np.uint8:
        return None
    if values.ndim == 2:
        return np.repeat(values[:, :, None], 3, axis=2)
    return np.asarray(values[:, :, 2::-1]) if values.shape[2] >= 3 else None


def to_bytes(values: Values, levels: Levels | None) -> Mapped:
    """Values [H, W] or [H, W, 3] as RGB [H, W, 3].

    Values that are not numbers become 0, infinite ones 255 (or 0 below). Without levels for the kind of values, grey is
    stretched from its least to its greatest finite value, and 16 bits of colour keep their range. A model that has
    levels, but none for this kind, has learnt from 8 bits: for it, values that are one apart do not become more than
    one apart, so that the noise of a dark picture does not become objects.
    """
    known = levels.of(values) if levels is not None else None
    low, high = known or (_extremes(values) if values.ndim == 2 else (0.0, float(_TOP)))
    if known is None and levels is not None and values.ndim == 2 and values.dtype.kind in "iu":
        high = max(high, low + 255)
    out = np.empty(values.shape, np.uint8)
    outside = 0
    rows = max(1, _BLOCK // max(1, values[:1].size))
    for start in range(0, len(values), rows):
        block = values[start : start + rows].astype(np.float64)
        if known is not None:
            outside += int(((block < low) | (block > high)).sum())
        scaled = (block - low) * (255.0 / (high - low) if high > low else 0.0)
        scaled[np.isposinf(block)] = np.inf
        out[start : start + rows] = np.nan_to_num(scaled, nan=0.0, posinf=255.0, neginf=0.0).round().clip(0, 255)
    if out.ndim == 2:
        out = np.repeat(out[:, :, None], 3, axis=2)
    return Mapped(out, outside / max(1, values.size), known is None)


def _extremes(values: Values) -> Range:
    """The least and the greatest finite value."""
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    return (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)


def turned(values: Values, orientation: int) -> Values:
    """An array [H, W, ...] turned upright by an EXIF orientation."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values
