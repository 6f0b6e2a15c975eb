"""Image files: size, orientation and pixels.

Sizes are (height, width) throughout. Headers are read, pixels are not, until ``load_rgb`` or ``write_upright``.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from segkit.errors import InputError

PICTURE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".jp2", ".png", ".ppm", ".pgm", ".tif", ".tiff", ".webp"})
_DEEP_GREY = ("I", "F", "I;16", "I;16B", "I;16L")  # Pillow's modes of more than 8 bits
_ORIENTATION = 274  # the EXIF tag
_WIDTH, _HEIGHT = 256, 257  # TIFF tags
_TURNED = frozenset({5, 6, 7, 8})  # tags that swap height and width
_TRANSPOSE = {  # by orientation tag
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def picture_names(stem: str) -> list[str]:
    """The likely names of a picture with a stem: listing a folder of 100,000 files for each would be quadratic."""
    return [stem + suffix for low in sorted(PICTURE_SUFFIXES) for suffix in (low, low.upper())]


class Header(NamedTuple):
    """The header of an image file: stored size, EXIF orientation (1: upright) and format name."""

    height: int
    width: int
    orientation: int
    format: str

    @property
    def upright(self) -> tuple[int, int]:
        """(height, width) after the orientation is applied."""
        return (self.width, self.height) if self.orientation in _TURNED else (self.height, self.width)


def allow_large_images() -> None:
    """Lift Pillow's limit on pixels in this process: microscope slides are larger. Call it before ``Image.open``."""
    Image.MAX_IMAGE_PIXELS = None


@contextmanager
def opened(source: Path | bytes, name: str) -> Iterator[Any]:
    """Open with Pillow; its errors become an ``InputError``."""
    allow_large_images()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # harmless defects of metadata
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as picture:
                yield picture
    except FileNotFoundError:
        raise InputError(f"{name}: no such image") from None
    except InputError:
        raise
    except PermissionError:
        raise InputError(f"{name}: no permission to read it") from None
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError) as error:
        reason = "not an image that can be decoded" if "identify" in str(error) else f"cannot be decoded: {error}"
        raise InputError(f"{name}: {reason}", "open it in a viewer; replace or remove it") from error


def read_header(source: Path | bytes, name: str | None = None) -> Header:
    """Read size, orientation and format without decoding pixels.

    Raises:
        InputError: Pillow cannot read it.
    """
    with opened(source, name or str(source)) as picture:
        width, height = picture.size
        tag = _orientation(picture)
        if picture.format == "TIFF" and tag in _TURNED:  # Pillow may return the size after orientation
            width, height = picture.tag_v2.get(_WIDTH, width), picture.tag_v2.get(_HEIGHT, height)
        return Header(height, width, tag, picture.format or "")


def _orientation(picture: Any) -> int:
    tag = picture.getexif().get(_ORIENTATION, 1)
    return tag if isinstance(tag, int) and 1 <= tag <= 8 else 1


def _decoded(picture: Any, *, turn: bool) -> Any:
    """The pixels as they are stored, or turned by the orientation tag."""
    tag = _orientation(picture)
    if picture.format == "TIFF" and tag != 1:
        # Pillow turns TIFFs while it decodes them, since version 11, and scrambles grey ones that it maps into memory:
        # it must not see the tag.
        picture._size = (picture.tag_v2.get(_WIDTH, picture.width), picture.tag_v2.get(_HEIGHT, picture.height))
        picture.tag_v2[_ORIENTATION] = picture.getexif()[_ORIENTATION] = 1
    picture.load()
    return picture.transpose(_TRANSPOSE[tag]) if turn and tag != 1 else picture


def check_decodes(source: Path | bytes, name: str) -> None:
    """Decode a picture to see whether it can be.

    Raises:
        InputError: It cannot.
    """
    with opened(source, name) as picture:
        picture.load()


def thumbnail(source: Path | bytes | None) -> bytes | None:
    """An image as 16 x 16 grey values, upright and stretched to full contrast; None where there is none.

    Raises:
        InputError: It cannot be decoded.
    """
    if source is None:
        return None
    with opened(source, source.name if isinstance(source, Path) else "imageData") as picture:
        picture.draft("L", (64, 64))  # JPEGs are decoded at an eighth of their size
        upright = _decoded(picture, turn=True)
        deep = upright.mode in _DEEP_GREY
        grey = Image.fromarray(_to_rgb(upright)[:, :, 0]) if deep else upright.convert("L")
        small = np.asarray(grey.resize((16, 16), Image.Resampling.BOX), np.float32)
    low, high = float(small.min()), float(small.max())
    return bytes(((small - low) * (255 / max(high - low, 16.0))).round().astype(np.uint8))


def load_rgb(path: Path) -> npt.NDArray[np.uint8]:
    """Decode an image to RGB [H, W, 3] as stored, without applying its orientation tag.

    Images of a dataset are stored upright by ``convert``. Deep grey (16 bit, float) is stretched
    from its least to its greatest value, as LabelMe shows it.

    Raises:
        InputError: It cannot be decoded.
    """
    with opened(path, str(path)) as picture:
        return _to_rgb(picture)


def load_upright_rgb(path: Path) -> npt.NDArray[np.uint8]:
    """Decode an image to RGB [H, W, 3] and apply its orientation tag."""
    with opened(path, str(path)) as picture:
        return _to_rgb(_decoded(picture, turn=True))


def _to_rgb(picture: Any) -> npt.NDArray[np.uint8]:
    if picture.mode in _DEEP_GREY:
        values = np.asarray(picture, dtype=np.float64)
        low, high = float(values.min()), float(values.max())
        grey = ((values - low) * (255.0 / (high - low) if high > low else 0.0)).round().astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    return np.array(picture.convert("RGB"))


def write_upright(
    source: Path | bytes, target: Path, name: str, *, turn: bool, size: tuple[int, int] | None = None
) -> None:
    """Write an image whose stored pixels are the frame that the points were drawn in.

    Args:
        source: The picture, as a file or as its bytes.
        target: File to write; its suffix says the format.
        name: Of the source, in messages.
        turn: Apply the orientation tag; otherwise only leave it out.
        size: (height, width) to scale to, where the file has another.
    """
    with opened(source, name) as original:
        picture = _decoded(original, turn=turn)
        if size is not None and picture.size != (size[1], size[0]):
            picture = picture.resize((size[1], size[0]), Image.Resampling.LANCZOS)
        if target.suffix.lower() in (".jpg", ".jpeg"):
            picture.convert("RGB").save(target, quality=98, subsampling=0)
        else:
            clean = picture.copy()
            clean.info = {}
            clean.getexif().clear()
            clean.save(target)
