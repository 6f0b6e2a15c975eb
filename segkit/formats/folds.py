"""Folds for cross-validation: ``folds.json`` beside ``train.json`` says which fold each training image is in."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from segkit.data.files import temporary_file
from segkit.data.records import Dataset
from segkit.errors import InputError
from segkit.formats.dataset_folder import find_split, open_split

FILE = "folds.json"
_HINT = "make some: segkit convert SRC --folds 5"


def write_folds(folder: Path, folds: Mapping[str, int]) -> None:
    """Write the fold, from 1, of every training image by its file name."""
    content = {"folds": max(folds.values()), "images": dict(sorted(folds.items()))}
    with temporary_file(folder / FILE) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_folds(dataset: Path) -> tuple[int, dict[str, int]]:
    """How many folds a dataset has, and the fold of every training image by its file name.

    Raises:
        InputError: It has none, or the file is damaged.
    """
    path = find_split(dataset, "train").parent / FILE
    if not path.is_file():
        raise InputError(f"{dataset}: has no folds", _HINT)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return int(content["folds"]), {str(name): int(fold) for name, fold in content["images"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: is not a list of folds", _HINT) from error


def open_fold(dataset: Path, fold: int) -> tuple[Dataset, Dataset]:
    """The training split without a fold, to learn from, and the fold, to validate.

    Raises:
        InputError: There is no such fold, or the training split has images without one.
    """
    count, folds = read_folds(dataset)
    if not 1 <= fold <= count:
        raise InputError(f"--fold {fold}: {dataset} has folds 1 to {count}")
    whole = open_split(dataset, "train")
    without = [image.file_name for image in whole.images if image.file_name not in folds]
    if without:
        raise InputError(f"{dataset / FILE}: does not list {without[0]}", _HINT)
    inside = {image.id for image in whole.images if folds[image.file_name] == fold}
    return _some(whole, inside, inverted=True), _some(whole, inside)


def _some(dataset: Dataset, ids: set[int], *, inverted: bool = False) -> Dataset:
    """The images with some ids, or without them, with their annotations."""
    return replace(
        dataset,
        images=tuple(image for image in dataset.images if (image.id in ids) != inverted),
        annotations=tuple(each for each in dataset.annotations if (each.image_id in ids) != inverted),
    )
