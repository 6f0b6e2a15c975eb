"""Images and class-id PNGs (as CamVid): one annotation for each class in an image.

Every class is a category, also a background class; unlabelled pixels are covered by no annotation, and the dataset has
``uncovered = ignore``. A class named ``_background_`` is no category: no annotation covers it.
"""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segkit.data.records import BACKGROUND, Instance, ReadFile, Uncovered
from segkit.errors import InputError
from segkit.formats.label_images.pairs import ImageAndMask, find_pairs, read_pair, to_instance
from segkit.formats.source import Source

_IGNORED_NAME = re.compile(r"\b(ignore|void|unlabell?ed)\b|__ignore__", re.IGNORECASE)
IGNORED_ID = 255
Classes = dict[int, str | None]  # names by id; None: not a category


def is_semantic(root: Path) -> bool:
    """Whether a folder has images with masks."""
    return bool(find_pairs(root))


def open_semantic(root: Path) -> Source:
    """The images and masks under a folder, and the class names in its ``classes.txt``.

    Pixels under no annotation are background where the list has a background class, else unlabelled.

    Raises:
        InputError: There are none.
    """
    pairs = find_pairs(root)
    if not pairs:
        raise InputError(
            f"{root}: no images with class-id PNGs",
            "expected folders such as train and trainannot, or images and masks, with equal file names",
        )
    path = root / "classes.txt"
    text = path.read_text(encoding="utf-8-sig", errors="replace") if path.is_file() else ""
    classes = _classes(text)
    labels = tuple(name for _, name in sorted(classes.items()) if name is not None)
    uncovered: Uncovered = "background" if BACKGROUND in text.split() else "ignore"
    read_unit = partial(read, classes=classes)
    return Source("semantic", pairs, read_unit, len(pairs), labels=labels, uncovered=uncovered)


def _classes(text: str) -> Classes:
    """Class names by id, one in a line: ``0 Sky``, or just ``Sky``."""
    names: Classes = {}
    for number, line in enumerate(text.splitlines()):
        if match := re.fullmatch(r"\s*(?:(\d+)[\s:,]+)?(\S.*?)\s*", line):
            none = _IGNORED_NAME.search(match[2]) or match[2] == BACKGROUND
            names[int(match[1]) if match[1] else number] = None if none else match[2]
    return names


def read(pair: ImageAndMask, classes: Classes) -> ReadFile:
    """Read an image and its mask. Never raises for bad input: that becomes a finding."""

    def find(ids: npt.NDArray[Any]) -> Iterator[Instance]:
        for value in np.unique(ids).tolist():
            name = classes.get(value, None if value == IGNORED_ID else f"class_{value}")
            if name is not None:
                yield to_instance(name, ids == value)

    return read_pair(pair, find)
