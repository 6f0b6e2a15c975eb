"""Class-id PNGs beside pictures (as CamVid comes): one annotation for each class in an image.

Every class is a category, background too where it is one; what is marked unlabelled is covered by no annotation,
and the dataset says ``uncovered = ignore``.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from segkit.dataset import AnnotatedImage, Instance, Picture
from segkit.errors import InputError
from segkit.masks import mask_to_rle, rle_area, rle_bbox
from segkit.pictures import PICTURE_SUFFIXES, opened, read_header

_MASK_FOLDERS = ("{}annot", "{}_annot", "{}_labels", "{}_masks", "{}labels", "{}masks")
_PAIRS = (
    ("images", "labels"),
    ("images", "masks"),
    ("images", "annotations"),
    ("JPEGImages", "SegmentationClass"),
)
_IGNORED_NAME = re.compile(r"\b(ignore|void|unlabell?ed)\b", re.IGNORECASE)
IGNORED_ID = 255


class Pair(NamedTuple):
    """A picture, its class ids, and the split that its folder is named after."""

    picture: Path
    ids: Path
    split: str | None


def find_pairs(root: Path) -> list[Pair]:
    """All pictures under ``root`` that have class ids in a sister folder, sorted."""
    pairs = []
    for folder in [root, *sorted(p for p in root.rglob("*") if p.is_dir())]:
        for sister in _sisters(folder):
            split = {"train": "train", "val": "val", "valid": "val", "test": "test"}.get(folder.name)
            for picture in sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES):
                ids = sister / f"{picture.stem}.png"
                if ids.is_file():
                    pairs.append(Pair(picture, ids, split))
    return pairs


def _sisters(folder: Path) -> Iterator[Path]:
    names = [form.format(folder.name) for form in _MASK_FOLDERS]
    names += [masks for images, masks in _PAIRS if images == folder.name]
    yield from (folder.parent / name for name in names if (folder.parent / name).is_dir())


def read_classes(root: Path) -> dict[int, str | None]:
    """Class names by id from ``classes.txt`` (``0 Sky`` or just ``Sky`` a line); None for what is to be ignored."""
    path = root / "classes.txt"
    if not path.is_file():
        return {}
    names: dict[int, str | None] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        if match := re.fullmatch(r"\s*(?:(\d+)[\s:,]+)?(\S.*?)\s*", line):
            names[int(match[1]) if match[1] else number] = None if _IGNORED_NAME.search(match[2]) else match[2]
    return names


def read(pair: Pair, key: str, classes: dict[int, str | None]) -> AnnotatedImage:
    """Read one pair.

    Raises:
        InputError: One of the two cannot be decoded, or they differ in size.
    """
    header = read_header(pair.picture)
    with opened(pair.ids, str(pair.ids)) as picture:
        ids = np.asarray(picture)
    if ids.ndim != 2:
        raise InputError(f"{pair.ids}: class ids must be one grey or palette channel, not {ids.shape[2]}")
    if ids.shape != (header.height, header.width):
        raise InputError(f"{pair.ids}: has {ids.shape[0]}x{ids.shape[1]}, its picture {header.height}x{header.width}")
    instances = []
    for value in np.unique(ids).tolist():
        name = classes.get(value, None if value == IGNORED_ID else f"class_{value}")
        if name is not None:
            rle = mask_to_rle(ids == value)
            instances.append(Instance(name, rle, rle_bbox(rle), rle_area(rle)))
    exif = "drop" if header.orientation != 1 else "none"
    placed = Picture(pair.picture.name, pair.picture, exif=exif)  # type: ignore[arg-type]
    return AnnotatedImage(key, placed, header.height, header.width, tuple(instances), pair.split)
