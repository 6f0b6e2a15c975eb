"""Images and their mask files, found by folder names and file stems."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from segkit.data.files import walk_folders
from segkit.data.pictures import PICTURE_SUFFIXES

_FORMS = ("{}annot", "{}_annot", "{}_labels", "{}_masks", "{}_mask", "{}labels", "{}masks")
_FOLDERS = (
    ("images", "labels"),
    ("images", "masks"),
    ("images", "annotations"),
    ("images", "mask"),
    ("images", "groundtruth"),
    ("images", "ground_truth"),
    ("images", "gt"),
    ("image", "mask"),
    ("image", "masks"),
    ("image", "label"),
    ("img", "mask"),
    ("img", "masks"),
    ("img", "ann"),  # img_dir and ann_dir
    ("img", "lab"),
    ("data", "labels"),  # FiftyOne
    ("imgs", "masks"),
    ("pngimages", "pedmasks"),  # Penn-Fudan
    ("jpegimages", "segmentationclass"),
    ("jpegimages", "segmentationclasspng"),
)
ENDINGS = (
    "_mask", "_masks", "_label", "_labels", "_instanceids", "_l", "_seg", "_segmentation", "_gt", "-mask", "_cp_masks",
)  # fmt: skip
# Files that tools write beside a mask, and that are neither a picture nor a mask of one.
_FURTHER = re.compile(
    r"(.+?)[_-](?:cp_)?(?:gtfine_)?(?:colou?r(?:ed|s)?|overlay|outlines?|vi[sz]|visuali[sz]ations?|rgb|flows|preview"
    r"|labelids|labeltrainids|trainids|instanceids)"
)
_FIRST_CHANNEL = "_0000"  # of nnU-Net, whose masks have no such ending
MASK_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".gif", ".jpg", ".jpeg")  # the last two are blurred
_MOST_FOLDERS = 50  # that are searched for a list of the classes
LOSSY = frozenset({".jpg", ".jpeg"})


class ImageAndMask(NamedTuple):
    """A picture and its mask file, the picture's name in reports, and the mask's path relative to the source.

    One of the files may be missing: then the unit becomes a finding. ``more`` are further masks of the picture, where
    every instance has a file of its own. ``split`` is what a table says.
    """

    picture: Path | None
    mask: Path | None
    key: str
    mask_key: str = ""
    more: tuple[Path, ...] = ()
    split: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether both files are there."""
        return self.picture is not None and self.mask is not None


def find_pairs(root: Path, skip: Path | None = None) -> list[ImageAndMask]:
    """All pictures under ``root`` that have a mask, sorted, and the pictures and masks beside them that have none.

    Args:
        root: A folder.
        skip: A folder to leave out: what is written must not be read back.
    """
    folders = [
        (folder, names, [name for name in names if Path(name).suffix.lower() in PICTURE_SUFFIXES])
        for folder, names in walk_folders(root, skip)
    ]
    found: dict[Path, set[str]] = {folder: set() for folder, _, _ in folders}  # pictures with a mask
    pairs: list[ImageAndMask] = []
    masks_of: dict[Path, set[Path]] = {}  # those that were used, by folder of masks
    pictures_of: dict[Path, set[str]] = {}

    def take(folder: Path, name: str, mask: Path) -> None:
        found[folder].add(name)
        masks_of.setdefault(mask.parent, set()).add(mask)
        pictures_of.setdefault(mask.parent, set()).add(Path(name).stem.casefold())
        pairs.append(_pair(root, folder / name, mask))

    for folder, _, pictures in folders:
        for masks in _mask_folders(folder, root):
            index = _by_stem([path.name for path in masks.iterdir()])
            for name in pictures:
                if (mask := _mask_of(name, index, same=False)) is not None:
                    take(folder, name, masks / mask)
    # Beside its picture a mask is known by its ending; what has a place in such folders is what the folder says.
    masks_apart = {mask for used in masks_of.values() for mask in used}
    for folder, names, pictures in folders:
        index = _by_stem([name for name in names if name not in found[folder] and folder / name not in masks_apart])
        free = [name for name in pictures if name not in found[folder] and folder / name not in masks_apart]
        for name in free:
            if (mask := _mask_of(name, index, same=True)) is not None:
                take(folder, name, folder / mask)
    lonely = []
    for folder, _, pictures in folders:
        lonely += _without_mask(root, folder, pictures, found[folder], masks_of.get(folder, set()))
    for masks, used in masks_of.items():
        if not found.get(masks):
            lonely += [_pair(root, None, path) for path in _unused(masks, used, pictures_of[masks])]
    return sorted({*pairs}) + sorted(lonely, key=lambda pair: pair.key)


def _without_mask(
    root: Path, folder: Path, pictures: Sequence[str], found: set[str], masks: set[Path]
) -> list[ImageAndMask]:
    """The pictures of a folder that have no mask, where others there have one."""
    used = found | {path.name for path in masks}
    stems = {Path(name).stem.casefold() for name in found}
    rest = [name for name in pictures if name not in used] if found else []
    return [_pair(root, folder / name, None) for name in rest if not _is_further_file(Path(name).stem, stems)]


def homes_of_lists(root: Path, pairs: Sequence[ImageAndMask]) -> list[Path]:
    """Where a list of the classes may be: the source's folder, then those of masks, and those above them."""
    folders = dict.fromkeys(pair.mask.parent for pair in pairs if pair.mask is not None)
    above = dict.fromkeys(folder.parent for folder in folders if folder.parent.is_relative_to(root))
    return [root, *[*folders, *above][:_MOST_FOLDERS]]


def _pair(root: Path, picture: Path | None, mask: Path | None) -> ImageAndMask:
    key, mask_key = ("" if path is None else _relative(path, root) for path in (picture, mask))
    return ImageAndMask(picture, mask, key or mask_key, mask_key)


def _relative(path: Path, root: Path) -> str:
    """The path relative to the source; masks may be in a folder beside it."""
    return Path(os.path.relpath(path, root)).as_posix()


def _by_stem(names: list[str]) -> dict[str, list[str]]:
    index: dict[str, list[str]] = {}
    for name in sorted(names):
        path = Path(name)
        if path.suffix.lower() in MASK_SUFFIXES:
            index.setdefault(path.stem.casefold(), []).append(name)
    return index


def _mask_of(picture: str, index: dict[str, list[str]], *, same: bool) -> str | None:
    """The mask of a picture among files by stem; in the ``same`` folder its name must have an ending of masks."""
    stem = Path(picture).stem.casefold()
    wanted = [stem + ending for ending in (ENDINGS if same else ("", *ENDINGS))]
    wanted += [stem.removesuffix(_FIRST_CHANNEL)] if not same and stem.endswith(_FIRST_CHANNEL) else []
    for each in wanted:
        if found := index.get(each):
            return min(found, key=lambda name: MASK_SUFFIXES.index(Path(name).suffix.lower()))
    return None


def _unused(masks: Path, used: set[Path], pictures: set[str]) -> list[Path]:
    """The masks of a folder that belong to no picture; further files of a picture, such as ``a_color.png``, do."""
    paths = [path for path in sorted(masks.iterdir()) if path.suffix.lower() in MASK_SUFFIXES and path not in used]
    return [path for path in paths if not _is_further_file(path.stem, pictures)]


def _is_further_file(stem: str, pictures: set[str]) -> bool:
    match = _FURTHER.fullmatch(stem.casefold())
    return match is not None and any(match[1] + ending in pictures for ending in ("", *ENDINGS))


def _mask_folders(folder: Path, root: Path) -> Iterator[Path]:
    """Where the masks of a folder may be: ``masks/x`` for ``images/x``, ``trainannot`` for ``train``."""
    for ancestor in (folder, *folder.parents):
        name = ancestor.name.lower()
        names = {form.format(name) for form in _FORMS}
        names |= {name.replace(images, masks) for images, masks in _FOLDERS if images in name}  # train_images, too
        rest = folder.relative_to(ancestor)
        for sister in _folders_in(ancestor.parent):
            if sister.lower() in names and (path := ancestor.parent / sister / rest).is_dir():
                yield path
        if ancestor == root:
            return


def _folders_in(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())
    except OSError:
        return []
