"""Images and their mask files, found by folder names and file stems."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from segkit.data.masks import crop_to_rle, rle_area, rle_bbox, tight_crop
from segkit.data.pictures import PICTURE_SUFFIXES, opened, read_header
from segkit.data.records import AnnotatedImage, Instance, Picture, ReadFile
from segkit.errors import InputError

_FORMS = ("{}annot", "{}_annot", "{}_labels", "{}_masks", "{}labels", "{}masks")
_FOLDERS = (
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


class ImageAndMask(NamedTuple):
    """A picture and its mask file, the picture's name in reports, and the mask's path relative to the source."""

    picture: Path
    mask: Path
    key: str
    mask_key: str = ""


def find_pairs(root: Path) -> list[ImageAndMask]:
    """All pictures under ``root`` that have a mask in a folder for masks, sorted."""
    pairs = []
    for folder in [root, *sorted(p for p in root.rglob("*") if p.is_dir())]:
        for masks in _mask_folders(folder, root):
            for picture in sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES):
                names = (masks / f"{form.format(picture.stem)}{suffix}" for form in _STEMS for suffix in _MASK_SUFFIXES)
                if (mask := next((name for name in names if name.is_file()), None)) is not None:
                    key, mask_key = (path.relative_to(root).as_posix() for path in (picture, mask))
                    pairs.append(ImageAndMask(picture, mask, key, mask_key))
    return pairs


def _mask_folders(folder: Path, root: Path) -> Iterator[Path]:
    """Where the masks of a folder may be: ``masks/x`` for ``images/x``, ``trainannot`` for ``train``."""
    for ancestor in (folder, *folder.parents):
        names = [form.format(ancestor.name) for form in _FORMS]
        names += [masks for images, masks in _FOLDERS if images == ancestor.name]
        found = (ancestor.parent / name / folder.relative_to(ancestor) for name in names)
        yield from (path for path in found if path.is_dir())
        if ancestor == root:
            return


def read_ids(path: Path) -> npt.NDArray[Any]:
    """The ids in a mask file [H, W], as they are stored; the colours of a palette do not matter.

    Raises:
        InputError: It cannot be decoded, or has more than one channel.
    """
    with opened(path, path.name) as picture:
        ids = np.asarray(picture)
    if ids.ndim == 3 and all((ids[..., 0] == ids[..., channel]).all() for channel in range(1, min(ids.shape[2], 3))):
        ids = ids[..., 0]  # a grey image that was saved as RGB
    if ids.ndim != 2:
        raise InputError(f"{path.name}: a mask has one channel of ids (grey or palette), this one has {ids.shape[2]}")
    return ids.astype(np.int64)


def read_pair(
    pair: ImageAndMask,
    find_instances: Callable[[npt.NDArray[Any]], Iterable[Instance]],
    folder: str | None = None,
    num_shapes: int = 0,
) -> ReadFile:
    """Read an image and its mask. Never raises for bad input: that becomes a finding.

    Args:
        pair: The files.
        find_instances: Makes instances of the mask's ids [H, W]; may raise ``InputError``.
        folder: Where the picture goes below ``images/``; None: where it is below the source.
        num_shapes: How many shapes are lost if the image cannot be read.
    """
    try:
        header = read_header(pair.picture, pair.picture.name)
        ids = read_ids(pair.mask)
        if ids.shape != (header.height, header.width):
            size = f"{ids.shape[0]}x{ids.shape[1]}"
            raise InputError(f"{pair.mask.name}: has {size} pixels, the image {header.height}x{header.width}")
        instances = tuple(find_instances(ids))
    except InputError as error:
        return ReadFile.left_out(pair.key, error.message, num_shapes)
    picture = Picture(pair.picture.name, pair.picture, exif="drop" if header.orientation != 1 else "none")
    image = AnnotatedImage(pair.key, picture, header.height, header.width, instances, folder=folder)
    return ReadFile(image, (), len(instances))


def to_instance(label: str, inside: npt.NDArray[np.bool_]) -> Instance:
    """The instance of a region [H, W] that is not empty; only its bounding box is encoded, which is faster."""
    crop = tight_crop(inside)
    assert crop is not None
    rle = crop_to_rle(crop[2], crop[0], crop[1], *inside.shape)
    return Instance(label, rle, rle_bbox(rle), rle_area(rle))
