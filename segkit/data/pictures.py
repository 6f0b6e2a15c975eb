"""Image files: which there are, opening one, its header. Pixels are decoded in ``segkit.data.pixels``.

Sizes are (height, width) throughout.
"""

import io
import os
import stat
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from segkit.data.quick_header import quick_header
from segkit.data.tiff_channels import has_overviews, look_at_channels
from segkit.errors import InputError
from segkit.quiet import without_warnings
from segkit.units import format_size

_PHOTOS = (".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
PICTURE_SUFFIXES = frozenset((*_PHOTOS, ".pbm", ".pgm", ".pnm", ".ppm"))
MAX_PIXELS = 1 << 30  # that are decoded: 3 GiB as RGB
MOST_OF_JPEG = 65_500  # pixels on a side that libjpeg writes
MAX_MASK_PIXELS = 1 << 28  # of a mask that is decoded: files of a few bytes can have so many
# From twice the limit of Pillow on, a file that holds more pixels per byte than a blank slide is made to fill memory.
_LARGE, _MAX_PIXELS_PER_BYTE = 178_956_970, 200
_ANIMATED = ("GIF", "TIFF", "WEBP", "PNG", "AVIF")  # not MPO: the second picture of phones is a preview
ORIENTATION = 274  # the EXIF tag
_WIDTH, _HEIGHT = 256, 257  # TIFF tags
_RGB = 3
_TURNED = frozenset({5, 6, 7, 8})  # tags that swap height and width


def picture_names(stem: str) -> list[str]:
    """The likely names of a picture with a stem: listing a folder of 100,000 files for each would be quadratic."""
    return [stem + suffix for low in sorted(PICTURE_SUFFIXES) for suffix in (low, low.upper())]


class Header(NamedTuple):
    """The header of an image file: stored size, EXIF orientation (1: upright), format name, number of frames.

    ``channels`` are counted in TIFF files that are neither grey nor in colours; of others they are 3.
    """

    height: int
    width: int
    orientation: int
    format: str
    frames: int = 1
    channels: int = _RGB

    @property
    def upright(self) -> tuple[int, int]:
        """(height, width) after the orientation is applied."""
        return (self.width, self.height) if self.orientation in _TURNED else (self.height, self.width)


_pillows_limit = threading.RLock()
_lifted: list[int | None] = []  # a limit for each block that is open, the first of which is restored


@contextmanager
def without_pillows_limit() -> Iterator[None]:
    """Lift Pillow's limit on pixels inside the block: microscope slides are larger, and this module has its own."""
    with _pillows_limit:
        _lifted.append(Image.MAX_IMAGE_PIXELS)
        Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        with _pillows_limit:
            limit = _lifted.pop()
            if not _lifted:
                Image.MAX_IMAGE_PIXELS = limit


_PILLOWS_ERRORS = (
    OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, KeyError, OverflowError, RuntimeError,
    struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip


@contextmanager
def opened(source: Path | bytes, name: str) -> Iterator[Any]:
    """Open with Pillow; its errors become an ``InputError``. Whoever decodes calls ``check_size`` first."""
    try:
        if isinstance(source, Path):
            _check_regular(source.stat(), name)
        # Warnings are of harmless defects of metadata.
        with (
            without_warnings(),
            without_pillows_limit(),
            Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as picture,
        ):
            yield picture
    except FileNotFoundError:
        raise InputError(f"{name}: no such image") from None
    except InputError:
        raise
    except PermissionError:
        raise InputError(f"{name}: no permission to read it") from None
    except MemoryError:
        raise InputError(f"{name}: needs more memory than there is", "make it smaller, or cut it into parts") from None
    except _PILLOWS_ERRORS as error:
        identified = "identify" not in str(error)
        reason = f"cannot be decoded: {error}" if identified else _not_an_image(source)
        raise InputError(f"{name}: {reason}", "open it in a viewer; replace or remove it") from error


def _check_regular(where: os.stat_result, name: str) -> None:
    """Refuse what one would wait for: named pipes, devices, and the files of /proc, which have no size.

    Raises:
        InputError: It is none of the files that can be read.
    """
    if not stat.S_ISREG(where.st_mode):
        raise InputError(f"{name}: not a regular file")
    if not where.st_size:
        raise InputError(f"{name}: an empty file (0 bytes)", "replace or remove it")


def _not_an_image(source: Path | bytes) -> str:
    """What a file is that no decoder knows."""
    head = b""
    with suppress(OSError):
        if isinstance(source, Path):
            with source.open("rb") as file:
                head = file.read(256)
        else:
            head = source[:256]
    if not head:
        return "an empty file (0 bytes)"
    if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<":
        return "not an image but a page of HTML or XML"
    return "not an image that can be decoded"


def check_size(picture: Any, source: Path | bytes, name: str) -> None:
    """Refuse to decode what would fill the memory.

    Args:
        picture: As ``opened`` yields it.
        source: What was opened.
        name: In the message.

    Raises:
        InputError: It has more than ``MAX_PIXELS``, or far more than a file of its length can hold.
    """
    pixels = picture.width * picture.height
    if pixels <= _LARGE:
        return
    size = f"{name}: has {format_size(picture.height, picture.width)}"
    if pixels > MAX_PIXELS:
        raise InputError(f"{size}, more than the {MAX_PIXELS:,} that are decoded", "cut it into parts")
    length = source.stat().st_size if isinstance(source, Path) else len(source)
    if pixels > _MAX_PIXELS_PER_BYTE * length:
        raise InputError(f"{size} in {length} bytes: it may be made to fill the memory", "save it again, or remove it")


def check_mask_size(picture: Any, name: str) -> None:
    """Refuse to decode a mask of more than ``MAX_MASK_PIXELS``: a file of a few bytes can have many.

    Raises:
        InputError: It has.
    """
    if picture.width * picture.height > MAX_MASK_PIXELS:
        size = format_size(picture.height, picture.width)
        raise InputError(f"{name}: a mask of {size}, more than the {MAX_MASK_PIXELS:,} that are read")


def stored_size(picture: Any) -> tuple[int, int]:
    """(height, width) of the pixels of an open image, before its orientation is applied."""
    width, height = picture.size
    if picture.format == "TIFF" and orientation_of(picture) != 1:  # Pillow may return the size after orientation
        width, height = picture.tag_v2.get(_WIDTH, width), picture.tag_v2.get(_HEIGHT, height)
    return height, width


def read_header(source: Path | bytes, name: str | None = None) -> Header:
    """Read size, orientation and format without decoding pixels.

    Raises:
        InputError: Neither Pillow nor, of a TIFF file of other channels, tifffile can read it.
    """
    if isinstance(source, Path) and (quick := _quick(source)) is not None:
        return quick
    try:
        return _read_header(source, name)
    except InputError:
        found = look_at_channels(source) if isinstance(source, Path) else None
        if found is None:
            raise
        return Header(found.height, found.width, found.orientation, "TIFF", channels=found.channels)


def _read_header(source: Path | bytes, name: str | None) -> Header:
    with opened(source, name or str(source)) as picture:
        height, width = stored_size(picture)
        tag = orientation_of(picture)
        several = picture.format in _ANIMATED and getattr(picture, "is_animated", False)
        frames = picture.n_frames if several else 1
        if frames > 1 and picture.format == "TIFF" and isinstance(source, Path) and has_overviews(source):
            frames = 1
        header = Header(height, width, tag, picture.format or "", frames)
    found = look_at_channels(source) if header.format == "TIFF" and isinstance(source, Path) else None
    return header if found is None else header._replace(channels=found.channels)


def _quick(path: Path) -> Header | None:
    """The header of a plain file; None where Pillow has to look."""
    try:
        where = path.stat()
        found = quick_header(path) if stat.S_ISREG(where.st_mode) and where.st_size else None
    except (OSError, ValueError):
        return None
    return Header(found[0], found[1], 1, found[2]) if found is not None else None


def orientation_of(picture: Any) -> int:
    """The EXIF orientation of an image that ``opened`` yields; 1: upright."""
    if picture.format == "PNG" and picture.fp is not None and not _has_exif(picture):
        return 1  # Pillow would decode the pixels to look behind them
    tag = picture.getexif().get(ORIENTATION, 1)
    return tag if isinstance(tag, int) and 1 <= tag <= 8 else 1


def _has_exif(picture: Any) -> bool:
    """Whether a PNG that is not decoded yet has EXIF data, before its pixels or behind them."""
    if "exif" in picture.info or "Raw profile type exif" in picture.info:
        return True
    file, before = picture.fp, picture.fp.tell()
    try:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            if head[4:] == b"eXIf":
                return True
            file.seek(int.from_bytes(head[:4], "big") + 4, 1)
    finally:
        file.seek(before)
    return False
