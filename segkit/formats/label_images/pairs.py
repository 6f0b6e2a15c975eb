"""Pictures and the mask files that belong to them: found by folder names and stems."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from segkit.data.pictures import PICTURE_SUFFIXES, opened, read_header
from segkit.data.records import AnnotatedImage, Instance, Picture
from segkit.errors import InputError

_FORMS = ("{}annot", "{}_annot", "{}_labels", "{}_masks", "{}labels", "{}masks")
_SISTERS = (
    ("images", "labels"),
    ("images", "masks"),
    ("images", "annotations"),
    ("images", "mask"),
    ("image", "mask"),
    ("imgs", "masks"),
    ("PNGImages", "PedMasks"),  # Penn-Fudan
    ("JPEGImages", "SegmentationClass"),
)
_STEMS = ("{}", "{}_mask", "{}_masks", "{}_label", "{}_labels", "{}_instanceIds", "{}_L")
_MASK_SUFFIXES = (".png", ".tif", ".tiff", ".bmp")


class Pair(NamedTuple):
    """A picture, the file that says what its pixels are, and the picture's name in reports."""

    picture: Path
    mask: Path
    key: str


def find_pairs(root: Path) -> list[Pair]:
    """All pictures under ``root`` that have a mask in a sister folder, sorted."""
    pairs = []
    for folder in [root, *sorted(p for p in root.rglob("*") if p.is_dir())]:
        for sister in _sisters(folder, root):
            for picture in sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES):
                names = (
                    sister / f"{form.format(picture.stem)}{suffix}" for form in _STEMS for suffix in _MASK_SUFFIXES
                )
                if (mask := next((name for name in names if name.is_file()), None)) is not None:
                    pairs.append(Pair(picture, mask, picture.relative_to(root).as_posix()))
    return pairs


def _sisters(folder: Path, root: Path) -> Iterator[Path]:
    """Folders of masks: ``images/x`` has ``masks/x``, ``train`` has ``trainannot``."""
    for ancestor in (folder, *folder.parents):
        names = [form.format(ancestor.name) for form in _FORMS]
        names += [masks for images, masks in _SISTERS if images == ancestor.name]
        places = (ancestor.parent / name / folder.relative_to(ancestor) for name in names)
        yield from (place for place in places if place.is_dir())
        if ancestor == root:
            return


def read_ids(path: Path) -> npt.NDArray[Any]:
    """The numbers in a mask file [H, W], as they are stored: a palette's colours do not matter.

    Raises:
        InputError: It cannot be decoded, or has more than one channel.
    """
    with opened(path, path.name) as picture:
        ids = np.asarray(picture)
    if ids.ndim == 3 and all((ids[..., 0] == ids[..., channel]).all() for channel in range(1, min(ids.shape[2], 3))):
        ids = ids[..., 0]  # grey that was saved as colours
    if ids.ndim != 2:
        raise InputError(f"{path.name}: ids must be one grey or palette channel, not {ids.shape[2]}")
    return ids.astype(np.int64)


def read_pair(
    pair: Pair, find_instances: Callable[[npt.NDArray[Any]], tuple[Instance, ...]], folder: str | None = None
) -> AnnotatedImage:
    """An image from a pair.

    Args:
        pair: The files.
        find_instances: From the mask's numbers [H, W] to instances.
        folder: Where the picture goes below ``images/``; None: where it was below the source.

    Raises:
        InputError: One of the two cannot be decoded, or they differ in size.
    """
    header = read_header(pair.picture, pair.picture.name)
    ids = read_ids(pair.mask)
    if ids.shape != (header.height, header.width):
        size = f"{ids.shape[0]}x{ids.shape[1]}"
        raise InputError(f"{pair.mask.name}: has {size} pixels, its image {header.height}x{header.width}")
    exif = "drop" if header.orientation != 1 else "none"
    picture = Picture(pair.picture.name, pair.picture, exif=exif)  # type: ignore[arg-type]
    return AnnotatedImage(pair.key, picture, header.height, header.width, find_instances(ids), folder=folder)
