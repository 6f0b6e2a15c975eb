"""What is in the folder, and what would be the next command."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from segkit.conversion.json_kinds import json_kind
from segkit.data.files import walk_folders
from segkit.data.pictures import PICTURE_SUFFIXES
from segkit.doctor.facts import Fact
from segkit.errors import SegkitError
from segkit.formats.dataset_folder import split_file
from segkit.runs.find import find_checkpoint
from segkit.runs.folder import newest_without_checkpoint
from segkit.units import counted

_LOOK_AT = 20  # annotation files whose format is asked
_LIST = 100_000  # files: a home folder is not walked to its end


def check_folder(folder: Path) -> Iterator[Fact]:
    """What segkit can do in a folder: may it be written to, what is in it.

    Args:
        folder: An existing folder.
    """
    if not os.access(folder, os.W_OK | os.X_OK):
        yield Fact(
            "folder", "problem", f"{folder.absolute()} cannot be written to", "choose another folder, or ask for access"
        )
    if not os.access(folder, os.R_OK):
        return
    yield from _check_data(folder)
    yield from _check_runs(folder / "runs")


def _check_data(folder: Path) -> Iterator[Fact]:
    """Datasets of ``convert``, or else annotations and pictures."""
    for place in (folder, folder / "dataset"):
        if place.is_dir() and split_file(place, "train") is not None:
            val = "train and val" if split_file(place, "val") is not None else "train, and no val"
            yield Fact("folder", "ok", f"{place} is a dataset ({val})", f"segkit train {place}")
            return
    name = "this folder" if folder == Path() else str(folder)
    found = (place / each for place, names in walk_folders(folder) for each in names)
    files = list(islice(found, _LIST + 1))
    if len(files) > _LIST:
        yield Fact(
            "folder",
            "ok",
            f"{name} has more than {_LIST} files",
            "name the one with your pictures: segkit doctor FOLDER",
        )
        return
    annotations = [path for path in files if path.suffix.lower() == ".json"]
    pictures = sum(path.suffix.lower() in PICTURE_SUFFIXES for path in files)
    kinds = {kind for path in annotations[:_LOOK_AT] if (kind := json_kind(path)) is not None}
    if kinds:
        named = " and ".join(sorted(kinds))
        yield Fact(
            "folder",
            "ok",
            f"{name} has {counted(pictures, 'picture', 'pictures')} and "
            f"{counted(len(annotations), 'JSON file', 'JSON files')} ({named})",
            f"segkit convert {folder}",
        )
    elif pictures:
        yield Fact(
            "folder",
            "ok",
            f"{name} has {counted(pictures, 'picture', 'pictures')} and no annotations in JSON",
            f"annotate them: segkit label {folder}; other formats: segkit convert {folder}",
        )
    else:
        yield Fact("folder", "ok", f"{name} has no pictures", "name another one: segkit doctor FOLDER")


def _check_runs(runs: Path) -> Iterator[Fact]:
    """The latest run, and one that ended before its first checkpoint."""
    if not runs.is_dir():
        return
    latest = None
    try:
        latest = find_checkpoint(runs / "latest")
        yield Fact("folder", "ok", f"the latest run has a model: {latest}", "segkit eval, predict or export use it")
    except SegkitError as error:
        yield Fact("folder", "note", error.message, error.hint)
    without = newest_without_checkpoint(runs, latest.parent if latest is not None else None)
    if without is not None:
        yield Fact(
            "folder",
            "note",
            f"{without} has no checkpoint: it has just begun, or ended before its first one",
            "segkit train again, if it is not running",
        )
