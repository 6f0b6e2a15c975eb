"""The splits of a dataset folder, or of a COCO file."""

import glob
from dataclasses import replace
from pathlib import Path

from segkit.data.records import Dataset
from segkit.errors import InputError
from segkit.formats.coco.file import read_coco
from segkit.formats.pictures.find import PicturePlaces
from segkit.formats.splits import split_of_name, without_split


def open_split(path: Path, split: str) -> Dataset:
    """Read one split.

    Args:
        path: A dataset folder, or a COCO file, which is read whatever the split.
        split: Name of the split in a folder.

    Raises:
        InputError: It is not there, or no COCO file.
    """
    return read_coco(find_split(path, split))


def find_split(path: Path, split: str) -> Path:
    """The file of a split in a dataset folder; a COCO file is taken as it is.

    Raises:
        InputError: It is not there.
    """
    file = path if path.is_file() else split_file(path, split)
    if file is None:
        raise _missing(path, split)
    return file


def with_pictures_in(folder: Path | None, dataset: Dataset) -> Dataset:
    """The dataset with its images in another folder; None: in its own.

    Raises:
        InputError: There is no such folder.
    """
    if folder is None:
        return dataset
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder", "--images-dir names the folder of the images")
    places = PicturePlaces(folder, (folder,), (folder,))
    return replace(dataset, images_dir=folder, find_picture=places.find)


def split_file(path: Path, split: str) -> Path | None:
    """The file of a split; None if there is none.

    The val split of ``instances_train2017.json`` is ``val.json`` beside it, or the only file that is called the same
    but for the split: ``instances_val2017.json``; or ``../valid/a.json`` for ``train/a.json``.
    """
    if path.is_file():
        if split == "train":
            return path
        other = path.with_name(f"{split}.json")
        return other if other.is_file() and other != path else _sister(path, split)
    file = path / f"{split}.json"
    return file if file.is_file() else None


def _sister(path: Path, split: str) -> Path | None:
    """The only COCO file in a place that is called as a file's but for the split."""
    here, above = path.absolute().parent, path.absolute().parent.parent
    if split_of_name(path.stem):
        candidates = [(other, path.stem, other.stem) for other in here.glob("*.json")]
    else:
        candidates = [(other, here.name, other.parent.name) for other in above.glob(f"*/{glob.escape(path.name)}")]
    found = [
        other
        for other, mine, its in candidates
        if (named := split_of_name(its)) and named.split == split and without_split(mine) == without_split(its)
    ]
    return found[0] if len(found) == 1 and found[0] != path.absolute() else None


def _missing(path: Path, split: str) -> InputError:
    if not path.exists():
        return InputError(f"{path}: no such dataset", "make one: segkit convert LABELME-DIR")
    there = sorted(p.stem for p in path.glob("*.json") if p.stem != "report") if path.is_dir() else []
    have = f"; it has {', '.join(there)}" if there else ""
    return InputError(f"{path}: has no split {split!r}{have}", "make one: segkit convert LABELME-DIR --val 0.2")
