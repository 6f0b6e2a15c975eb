"""The channels of a TIFF file, by tifffile: Pillow does not open files with other than one, three or four samples.

Channels are an axis of a file's first image: samples of a pixel (side by side, or one after the other), or an axis C of
ImageJ and OME. Pages without a meaning are channels where they are asked for.
"""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from segkit.errors import InputError
from segkit.units import counted

_ORIENTATION = 274  # the TIFF tag
_NAMED, _UNNAMED = "SC", "QI"  # tifffile's axes: samples and channels; pages of no meaning
_ALPHA = (1, 2)  # kinds of extra samples that are transparency
_REDUCED, _MASK = 1, 4  # of the tag NewSubfileType
_AS_LEARNT = "the model takes images like those that it learnt from"
_BEGINNINGS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")


class TiffChannels(NamedTuple):
    """The size of a file's first image, its EXIF orientation, and its number of channels."""

    height: int
    width: int
    orientation: int
    channels: int


def look_at_channels(path: Path) -> TiffChannels | None:
    """The channels of a TIFF file; None where they are grey or colours, with or without transparency, or it is none."""
    try:
        if not _is_tiff(path):
            return None
        with _opened(path) as (tiff, axes, shape):
            here = [axis for axis in range(len(axes)) if axes[axis] in _NAMED]
            if len(axes) != 3 or len(here) != 1 or (axes[here[0]] == "S" and _is_colour(tiff.pages[0])):
                return None
            return TiffChannels(shape[axes.index("Y")], shape[axes.index("X")], _orientation(tiff), shape[here[0]])
    except (InputError, OSError, ValueError):  # whoever decodes it says what is wrong
        return None


def has_overviews(path: Path) -> bool:
    """Whether the second page of a TIFF file is the first one again, smaller, or its mask, as in files of GDAL."""
    import tifffile  # noqa: PLC0415 -- few pictures need it

    try:
        with tifffile.TiffFile(path) as tiff:
            return bool(int(tiff.pages[1].subfiletype) & (_REDUCED | _MASK))
    except Exception:  # any of tifffile's: whoever decodes the file says what is wrong with it
        return False


def read_tiff_channels(path: Path, count: int, most_pixels: int) -> npt.NDArray[Any]:
    """The values of a TIFF file of so many channels, as stored, [H, W, count].

    Args:
        path: The file.
        count: Of channels.
        most_pixels: That are decoded.

    Raises:
        InputError: It cannot be decoded, is too large, or has another number of channels.
    """
    if not _is_tiff(path):
        raise InputError(f"{path}: has no {count} channels, as only TIFF files have", _AS_LEARNT)
    with _opened(path) as (tiff, axes, shape):
        here = [axis for axis in range(len(axes)) if axes[axis] in _NAMED + _UNNAMED]
        if len(axes) > 3:
            raise InputError(f"{path}: has the axes {axes}, and not only {count} channels", _AS_LEARNT)
        found = shape[here[0]] if len(here) == 1 else 1
        if len(axes) < 3 or found != count:
            raise InputError(f"{path}: has {counted(found, 'channel', 'channels')}, and not {count}", _AS_LEARNT)
        if shape[axes.index("Y")] * shape[axes.index("X")] > most_pixels:
            raise InputError(f"{path}: has more than the {most_pixels:,} pixels that are decoded", "cut it into parts")
        if _orientation(tiff) != 1:
            raise InputError(f"{path}: is turned by its orientation tag", "save it upright")
        values = tiff.series[0].asarray().reshape(shape)
    return np.ascontiguousarray(np.moveaxis(values, here[0], 2))


def _is_tiff(path: Path) -> bool:
    """Whether a file begins as a TIFF file.

    Raises:
        InputError: It cannot be opened.
    """
    try:
        where = path.stat()
        if not stat.S_ISREG(where.st_mode) or not where.st_size:  # pipes and files of /proc are waited for
            return False
        with path.open("rb") as file:
            return file.read(4) in _BEGINNINGS
    except FileNotFoundError:
        raise InputError(f"{path}: no such image") from None


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, str, tuple[int, ...]]]:
    """A TIFF file, and the axes of its first image and their lengths, without those of length 1 besides Y and X."""
    import tifffile  # noqa: PLC0415 -- few pictures need it

    try:
        with tifffile.TiffFile(path) as tiff:
            series = tiff.series[0]
            pairs = [(axis, side) for axis, side in zip(series.axes, series.shape, strict=True)
                     if side > 1 or axis in "YX"]  # fmt: skip
            yield tiff, "".join(axis for axis, _ in pairs), tuple(int(side) for _, side in pairs)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such image") from None
    except Exception as error:  # a codec that is missing, a file that is cut off, or any of tifffile's
        raise InputError(f"{path}: cannot be decoded: {error}", "open it in a viewer; replace or remove it") from error


def _is_colour(page: Any) -> bool:
    """Whether a page's samples are colours, or grey with transparency."""
    return page.photometric.name != "MINISBLACK" or any(int(each) in _ALPHA for each in page.extrasamples)


def _orientation(tiff: Any) -> int:
    tag = tiff.pages[0].tags.get(_ORIENTATION)
    return int(tag.value) if tag is not None else 1
