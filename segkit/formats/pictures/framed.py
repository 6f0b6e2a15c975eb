"""The pixels of a picture in the frame of its annotations, by the rules that ``convert`` follows.

COCO files that were not made by ``convert`` have pictures with orientation tags, or scaled since they were annotated.
"""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from segkit.data.depth import Levels, turned
from segkit.data.find_levels import spread
from segkit.data.pictures import Header, read_header
from segkit.data.pixels import load_channels
from segkit.data.records import Dataset
from segkit.errors import InputError
from segkit.formats.pictures.look import first_frame, frame_of
from segkit.units import format_size

Pixels = npt.NDArray[np.uint8]
_RGB = 3  # channels
_LOOKED_AT = 256  # pictures of a dataset, spread over it


def load_framed(path: Path, size: tuple[int, int], levels: Levels | None = None) -> Pixels:
    """Decode a picture to RGB [H, W, 3] in the frame of annotations; it may be scaled, and is not resized.

    Args:
        path: The file.
        size: (height, width) that the dataset says.
        levels: What values of more than 8 bits become, and which channels there are instead of RGB.

    Raises:
        InputError: It cannot be decoded, or has another size that nothing explains.
    """
    return to_frame(load_channels(path, levels), read_header(path, str(path)), path, size)


def load_resized(path: Path, size: tuple[int, int]) -> Pixels:
    """A picture as RGB of exactly the size that the dataset says, to draw annotations on.

    Args:
        path: The file.
        size: (height, width) that the dataset says.

    Raises:
        InputError: It cannot be decoded, or has another size that nothing explains.
    """
    pixels = load_framed(path, size)
    if pixels.shape[:2] == size:
        return pixels
    return np.asarray(cv2.resize(pixels, (size[1], size[0]), interpolation=cv2.INTER_AREA), np.uint8)


def odd_pictures(dataset: Dataset) -> list[str]:
    """Warnings where pictures have another size than the dataset says, in the same ratio, or several pages.

    Some are looked at.
    """
    scaled, several = [], []
    images = spread(dataset.images, _LOOKED_AT)
    for image in images:
        try:
            header = read_header(dataset.paths.of(image), image.file_name)
            if header.frames > 1 and header.channels == _RGB:
                several.append(first_frame(image.file_name, header))
            frame = frame_of(header, (image.height, image.width), lambda exchanged: False)
        except InputError:  # whoever loads it says so
            continue
        if frame.size != frame.drawn:
            height, width = frame.size
            scaled.append(f"{image.file_name} has {height}x{width}, not {format_size(image.height, image.width)}")
    warnings = []
    if scaled:
        many = f"{len(scaled)} of {len(images)} pictures that were looked at have another size than the file says"
        warnings.append(f"{many}: annotations are scaled with them ({scaled[0]})")
    if several:
        others = len(several) - 1
        more = f", and so it is with {others} more of {len(images)} pictures that were looked at" if others else ""
        warnings.append(f"{several[0]}{more}")
    return warnings


def to_frame(pixels: Pixels, header: Header, path: Path, size: tuple[int, int]) -> Pixels:
    """The stored pixels of a picture [H, W, 3] in the frame of annotations.

    Args:
        pixels: As they are stored.
        header: Of the file.
        path: The file.
        size: (height, width) that the dataset says.

    Raises:
        InputError: The sizes differ, and nothing explains it.
    """
    if header.orientation == 1 and pixels.shape[:2] == size:
        return pixels
    try:
        frame = frame_of(header, size, lambda exchanged: False)
    except InputError as error:
        height, width = header.upright
        raise InputError(
            f"{path}: has {height}x{width}, the dataset says {format_size(*size)}",
            "was the picture replaced? convert again",
        ) from error
    return np.ascontiguousarray(turned(pixels, header.orientation)) if frame.exif == "apply" else pixels
