"""The pixels of image files: decoded to RGB, turned upright, written.

Nothing is decoded that would fill the memory (``segkit.data.pictures.check_size``).
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from segkit.data.pictures import ORIENTATION, check_size, opened, orientation_of, stored_size

_DEEP_GREY = ("I", "F", "I;16", "I;16B", "I;16L")  # Pillow's modes of more than 8 bits
_JPEG_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif")
_TRANSPOSE = {  # by orientation tag
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _decoded(picture: Any, *, turn: bool) -> Any:
    """The pixels as they are stored, or turned by the orientation tag."""
    tag = orientation_of(picture)
    if picture.format == "TIFF" and tag != 1:
        # Pillow turns TIFFs while it decodes them, since version 11, and scrambles grey ones that it maps into memory:
        # it must not see the tag.
        picture._size = stored_size(picture)[::-1]
        picture.tag_v2[ORIENTATION] = picture.getexif()[ORIENTATION] = 1
    picture.load()
    return picture.transpose(_TRANSPOSE[tag]) if turn and tag != 1 else picture


def check_decodes(source: Path | bytes, name: str) -> None:
    """Decode a picture to see whether it can be.

    Raises:
        InputError: It cannot.
    """
    with opened(source, name) as picture:
        check_size(picture, source, name)
        picture.load()


def thumbnail(source: Path | bytes | None) -> bytes | None:
    """An image as 16 x 16 grey values, upright and stretched to full contrast; None where there is none.

    Raises:
        InputError: It cannot be decoded.
    """
    if source is None:
        return None
    name = source.name if isinstance(source, Path) else "imageData"
    with opened(source, name) as picture:
        check_size(picture, source, name)
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
        check_size(picture, path, str(path))
        return _to_rgb(picture)


def load_upright_rgb(path: Path) -> npt.NDArray[np.uint8]:
    """Decode an image to RGB [H, W, 3] and apply its orientation tag."""
    with opened(path, str(path)) as picture:
        check_size(picture, path, str(path))
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
        check_size(original, source, name)
        picture = _decoded(original, turn=turn)
        if size is not None and picture.size != (size[1], size[0]):
            picture = picture.resize((size[1], size[0]), Image.Resampling.LANCZOS)
        if target.suffix.lower() in _JPEG_SUFFIXES:
            picture.convert("RGB").save(target, quality=98, subsampling=0)
        else:
            clean = picture.copy()
            clean.info = {}
            clean.getexif().clear()
            clean.save(target)
