"""Names of the files of a dataset: one rule, for every format, by which no two files meet.

An image keeps its own name where no other has it. Names that differ only in capital letters, or in the Unicode form of
a letter, are one name on some file systems. Where a format pairs files by what comes before the ending (``a.txt`` for
``a.jpg``), ``a.jpg`` and ``a.png`` are one name, too.

Where a format pairs folders (``labels/x`` for ``images/x``), no folder of an image is called as such a folder: other
programs take the last ``images`` of a path, others the first, and ``images/masks/a.png`` could be either.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from unicodedata import normalize

from segkit.conversion.output import OutputImage
from segkit.conversion.spool import ImageEntry
from segkit.data.files import path_inside
from segkit.formats.splits import split_of_name

# Folders of pictures, and words in the names of folders that are paired with them (labels, img_dir, SegmentationClass).
_OF_IMAGES = frozenset({"image", "images", "img", "imgs", "jpegimages", "pngimages"})
_ROLES = frozenset({"img", "imgs", "gt", "gtfine", "gtcoarse", "ann", "anns", "txt", "truth", "seg"})
_IN_ROLES = ("image", "label", "mask", "annot", "segmentation", "groundtruth")
_WORDS = re.compile(r"[^\W\d_]+")


def unique_names(wanted: Sequence[Sequence[str]], *, by_stem: bool, taken: Iterable[str] = ()) -> list[str]:
    """A name for each file, unlike all others.

    Args:
        wanted: The names that each file may have, with folders, the best first. Who comes first keeps the best.
        by_stem: Whether names must differ in what comes before their endings.
        taken: Names that no file may have.

    Raises:
        InputError: A name leads out of the folder that the files are written to.
    """
    used = {_folded(name, by_stem=by_stem) for name in taken}
    names: list[str | None] = []
    for best, *_ in wanted:
        folded = _folded(best, by_stem=by_stem)
        names.append(None if folded in used else best)
        used.add(folded)
    numbers: dict[str, int] = {}
    for index, candidates in enumerate(wanted):
        if names[index] is None:
            free = (name for name in candidates[1:] if _folded(name, by_stem=by_stem) not in used)
            names[index] = name = next(free, None) or _numbered(candidates[0], used, numbers, by_stem=by_stem)
            used.add(_folded(name, by_stem=by_stem))
    found = [name for name in names if name is not None]
    for name in found:
        if name.startswith("/") or ".." in name:
            path_inside(Path(), name)
    return found


def image_names(entries: Sequence[ImageEntry]) -> list[str]:
    """A name for every image: its own, in the folder of its annotations; else that of its annotation file."""
    wanted = []
    for entry in entries:
        folder = entry.key.rpartition("/")[0] if entry.folder is None else entry.folder
        names = [entry.name, PurePosixPath(entry.key).stem + PurePosixPath(entry.name).suffix]
        wanted.append(["/".join(filter(None, (folder, name))) for name in names])
    return unique_names(wanted, by_stem=False)


def names_in_splits(images: Sequence[OutputImage], *, folders_name_splits: bool) -> list[str]:
    """Names below a folder for each split, for formats that pair files by folder and stem: ``train/a.jpg``.

    A folder that already says the same is not repeated.

    Args:
        images: The images.
        folders_name_splits: Whether the folder of the split is all that says it: no other folder may name a split.
    """
    wanted = [
        [f"{image.split}/{name}" for name in _without_roles(_without_split(image), folders_name_splits)]
        for image in images
    ]
    return _own_names_first(wanted)


def names_in_folder(images: Sequence[OutputImage]) -> list[str]:
    """Names for formats that pair files by folder and stem, where nothing says the split."""
    return _own_names_first([_without_roles(image.name, splits=True) for image in images])


def _own_names_first(wanted: Sequence[Sequence[str]]) -> list[str]:
    """Unique names by stem; an image with its own name is not renamed for one that lost a folder."""
    order = sorted(range(len(wanted)), key=lambda index: len(wanted[index]) > 1)
    found = unique_names([wanted[index] for index in order], by_stem=True)
    names = dict(zip(order, found, strict=True))
    return [names[index] for index in range(len(wanted))]


def _without_roles(name: str, splits: bool) -> list[str]:
    """The names that an image may have so that no folder is taken for one of the format; best first.

    Folders of images are left out (``images/a.jpg``), others become a part of the file's name (``masks_a.jpg``).
    """
    *folders, base = name.split("/")
    at = next((at for at, folder in enumerate(folders) if _has_role(folder, splits)), None)
    if at is None:
        return [name]
    rest = [folder for folder in folders[at:] if folder.casefold() not in _OF_IMAGES]
    return ["/".join([*folders[:at], "_".join([*some, base])]) for some in (rest, folders[at:])]


def _has_role(folder: str, splits: bool) -> bool:
    words = _WORDS.findall(folder.casefold())
    named = split_of_name(folder) if splits else None
    return (
        named is not None or not _ROLES.isdisjoint(words) or any(part in word for word in words for part in _IN_ROLES)
    )


def flat_names(images: Sequence[OutputImage]) -> list[str]:
    """Names without folders, for formats that pair files by stem; where that does not tell them apart, with them."""
    wanted = [[PurePosixPath(image.name).name, image.name.replace("/", "_")] for image in images]
    return unique_names(wanted, by_stem=True)


def _without_split(image: OutputImage) -> str:
    first, _, rest = image.name.partition("/")
    named = split_of_name(first) if rest else None
    return rest if named is not None and named.exact and named.split == image.split else image.name


def _numbered(name: str, used: set[str], numbers: dict[str, int], *, by_stem: bool) -> str:
    path = PurePosixPath(name)
    folded = _folded(name, by_stem=by_stem)
    number = numbers.get(folded, 1)
    while True:
        number += 1
        again = path.with_name(f"{path.stem}_{number}{path.suffix}").as_posix()
        if _folded(again, by_stem=by_stem) not in used:
            numbers[folded] = number
            return again


def _folded(name: str, *, by_stem: bool) -> str:
    path = PurePosixPath(name)
    return normalize("NFC", (path.with_suffix("") if by_stem else path).as_posix()).casefold()
