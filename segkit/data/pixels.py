"""The pixels of image files: decoded to RGB, turned upright, written.

Nothing is decoded that would fill the memory (``segkit.data.pictures.check_size``).
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from segkit.data.channels import decode_channels, preview, to_grey
from segkit.data.depth import Levels, Mapped, Values, decode_colour, is_deep, is_deep_colour, to_bytes, turned
from segkit.data.pictures import ORIENTATION, check_size, opened, orientation_of, stored_size
from segkit.errors import InputError

Pixels = npt.NDArray[np.uint8]

_RGB = 3
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
    try:
        with opened(source, name) as picture:
            check_size(picture, source, name)
            picture.load()
    except InputError:
        if not isinstance(source, Path) or preview(source) is None:
            raise


def thumbnail(source: Path | bytes | None) -> bytes | None:
    """An image as 16 x 16 grey values, upright and stretched to full contrast; None where there is none.

    Raises:
        InputError: It cannot be decoded.
    """
    if source is None:
        return None
    name = source.name if isinstance(source, Path) else "imageData"
    try:
        with opened(source, name) as picture:
            check_size(picture, source, name)
            picture.draft("L", (64, 64))  # JPEGs are decoded at an eighth of their size
            upright = _decoded(picture, turn=True)
            deep = is_deep(upright) and not is_deep_colour(upright)
            own = to_bytes(np.asarray(upright), None).pixels[:, :, 0] if deep else None
            grey = upright.convert("L") if own is None else Image.fromarray(own)
    except InputError:
        seen = preview(source) if isinstance(source, Path) else None
        if seen is None:
            raise
        grey = Image.fromarray(seen).convert("L")
    small = np.asarray(grey.resize((16, 16), Image.Resampling.BOX), np.float32)
    low, high = float(small.min()), float(small.max())
    return bytes(((small - low) * (255 / max(high - low, 16.0))).round().astype(np.uint8))


def load_rgb(path: Path, levels: Levels | None = None) -> Pixels:
    """Decode an image to RGB [H, W, 3] as stored, without applying its orientation tag.

    Args:
        path: The file.
        levels: What values of more than 8 bits become; None: each grey image is stretched from its least to its
            greatest value, of deep colours the upper 8 bits remain.

    Raises:
        InputError: It cannot be decoded.
    """
    return decode(path, levels, turn=False).pixels


def load_channels(path: Path, levels: Levels | None = None) -> Pixels:
    """Decode an image to the channels of a model, [H, W, C] as stored.

    Args:
        path: The file.
        levels: What values become, and which channels there are; None: RGB.

    Raises:
        InputError: It cannot be decoded, or has other channels.
    """
    return decode(path, levels, turn=False, channels=True).pixels


def load_upright_rgb(path: Path, levels: Levels | None = None) -> Pixels:
    """The same with its orientation tag applied."""
    return decode(path, levels, turn=True).pixels


def load_deep(path: Path, page: int = 1) -> Values | None:
    """The values of an image as stored, [H, W] or [H, W, 3]; None where it has no more than 8 bits.

    Args:
        path: The file.
        page: Of the file, from 1.

    Raises:
        InputError: It cannot be decoded.
    """
    with opened(path, str(path)) as picture:
        _turn_to(picture, page)
        if not is_deep(picture):
            return None
        check_size(picture, path, str(path))
        return _values(picture, path)


def _turn_to(picture: Any, page: int) -> None:
    """Go to a page of an open image; Pillow counts from 0.

    Raises:
        ValueError: It is one that cannot be decoded.
    """
    if page > 1:
        picture.seek(page - 1)
        if is_deep_colour(picture):  # OpenCV, which decodes these, sees the first page
            raise ValueError(f"page {page} has more than 8 bits in colours: save its pages as files")


def decode(path: Path, levels: Levels | None, *, turn: bool, page: int = 1, channels: bool = False) -> Mapped:
    """Decode an image to RGB [H, W, 3]: its pixels, and the share of its values outside the levels.

    Args:
        path: The file.
        levels: As in ``load_rgb``.
        turn: Whether to apply its orientation tag.
        page: Of the file, from 1.
        channels: Decode the channels of the levels, [H, W, C], where they are not RGB.

    Raises:
        InputError: It cannot be decoded.
    """
    count = levels.num_channels if levels is not None and channels else _RGB
    if count not in (1, _RGB):
        assert levels is not None
        assert levels.channels is not None
        return decode_channels(path, levels.channels)
    try:
        mapped = _decode(path, levels, turn=turn, page=page)
    except InputError:
        if (seen := preview(path)) is None:
            raise
        mapped = Mapped(seen)
    return mapped._replace(pixels=to_grey(mapped.pixels)) if count == 1 else mapped


def _decode(path: Path, levels: Levels | None, *, turn: bool, page: int) -> Mapped:
    with opened(path, str(path)) as picture:
        _turn_to(picture, page)
        check_size(picture, path, str(path))
        deep_colour = is_deep_colour(picture)
        if not is_deep(picture) or (levels is None and deep_colour):
            return Mapped(_rgb(_decoded(picture, turn=turn)), by_itself=deep_colour)
        tag = orientation_of(picture)
        mapped = to_bytes(_values(picture, path), levels)
        return mapped._replace(pixels=np.ascontiguousarray(turned(mapped.pixels, tag))) if turn else mapped


def _values(picture: Any, source: Path) -> Values:
    """The values of a deep image as stored."""
    if is_deep_colour(picture):
        values = decode_colour(source, stored_size(picture))
        if values is not None:
            return values
        upper = np.array(_decoded(picture, turn=False).convert("RGB"))
        return upper.astype(np.uint16) * 257
    return np.asarray(_decoded(picture, turn=False))


def _rgb(picture: Any) -> Pixels:
    return np.array(picture if picture.mode == "RGB" else picture.convert("RGB"))


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
        if is_deep_colour(original) and _write_deep(original, source, target, turn=turn, size=size):
            return
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


def _write_deep(picture: Any, source: Path | bytes, target: Path, *, turn: bool, size: tuple[int, int] | None) -> bool:
    """Write an image of deep colours with all its bits; False where that is not possible."""
    import cv2  # noqa: PLC0415 -- it takes a tenth of a second, and few conversions need it

    tag = orientation_of(picture)
    values = decode_colour(source, stored_size(picture))
    if values is None or target.suffix.lower() not in (".png", ".tif", ".tiff"):
        return False
    values = np.ascontiguousarray(turned(values, tag) if turn else values)
    if size is not None and values.shape[:2] != size:
        values = cv2.resize(values, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    return bool(cv2.imwrite(str(target), values[:, :, ::-1]))
