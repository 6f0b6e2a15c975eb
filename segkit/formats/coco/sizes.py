"""Sizes of images that a COCO file does not have, read from the pictures."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from segkit.data.pictures import read_header
from segkit.data.records import Image
from segkit.errors import InputError
from segkit.formats.coco.segmentation import shown
from segkit.formats.pictures.find import PicturePlaces


def with_sizes(path: Path, images: Sequence[Image], places: PicturePlaces) -> tuple[Image, ...]:
    """Image records that all have a size.

    Args:
        path: The file, in messages.
        images: Its records; height and width are 0 where it has none that can be used.
        places: Where the pictures are.

    Raises:
        InputError: The picture of such a record is not there, or cannot be read.
    """
    return tuple(image if image.height else _with_size(path, image, places) for image in images)


def _with_size(path: Path, image: Image, places: PicturePlaces) -> Image:
    found = places.find(image.file_name)
    if found is None:
        raise InputError(
            f"{path}: image {shown(image.id)} has no size that can be used, and its picture was not found",
            "an image needs height and width, whole numbers of pixels",
        )
    height, width = read_header(found, str(found)).upright
    return replace(image, height=height, width=width)
