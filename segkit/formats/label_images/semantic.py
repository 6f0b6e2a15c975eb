"""Images and class-id PNGs (as CamVid): one annotation for each class in an image.

Every class is a category, also a background class; unlabelled pixels are covered by no annotation, and the dataset has
``uncovered = ignore``. A class named ``_background_`` is no category: no annotation covers it.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segkit.data.masks import mask_to_rle, rle_area, rle_bbox
from segkit.data.records import Finding, Instance, ReadFile
from segkit.errors import InputError
from segkit.formats.label_images.pairs import ImageAndMask, find_pairs, read_pair
from segkit.formats.labelme.instances import BACKGROUND

_IGNORED_NAME = re.compile(r"\b(ignore|void|unlabell?ed)\b|__ignore__", re.IGNORECASE)
IGNORED_ID = 255
Classes = dict[int, str | None]  # names by id; None: not a category


def is_semantic(root: Path) -> bool:
    """Whether a folder has images with masks."""
    return bool(find_pairs(root))


def open_semantic(root: Path) -> tuple[list[ImageAndMask], Classes]:
    """The images and masks under a folder, and its class names.

    Raises:
        InputError: There are none.
    """
    pairs = find_pairs(root)
    if not pairs:
        raise InputError(
            f"{root}: no images with class-id PNGs",
            "expected folders such as train and trainannot, or images and masks, with equal file names",
        )
    return pairs, read_classes(root)


def read_classes(root: Path) -> Classes:
    """Class names by id from ``classes.txt`` (``0 Sky`` or just ``Sky`` a line)."""
    path = root / "classes.txt"
    if not path.is_file():
        return {}
    names: Classes = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines()):
        if match := re.fullmatch(r"\s*(?:(\d+)[\s:,]+)?(\S.*?)\s*", line):
            none = _IGNORED_NAME.search(match[2]) or match[2] == BACKGROUND
            names[int(match[1]) if match[1] else number] = None if none else match[2]
    return names


def covers_background(root: Path) -> bool:
    """Whether the class list has a background class: then pixels under no annotation are background."""
    path = root / "classes.txt"
    return path.is_file() and BACKGROUND in path.read_text(encoding="utf-8-sig", errors="replace").split()


def read(pair: ImageAndMask, classes: Classes) -> ReadFile:
    """Read an image and its mask. Never raises for bad input: that becomes a finding."""

    def find(ids: npt.NDArray[Any]) -> tuple[Instance, ...]:
        instances = []
        for value in np.unique(ids).tolist():
            name = classes.get(value, None if value == IGNORED_ID else f"class_{value}")
            if name is not None:
                rle = mask_to_rle(ids == value)
                instances.append(Instance(name, rle, rle_bbox(rle), rle_area(rle)))
        return tuple(instances)

    try:
        image = read_pair(pair, find, None)
    except InputError as error:
        return ReadFile(None, (Finding(pair.key, "left out", error.message, shapes=0),))
    return ReadFile(image, (), len(image.instances))
