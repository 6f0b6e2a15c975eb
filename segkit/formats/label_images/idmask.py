"""Images and PNGs of instance ids (as Penn-Fudan): 0 is background, every other id an instance.

``instances.csv`` (file,instance,category) has the categories where segkit wrote the folder; without it every instance
is an ``object``, which ``--map object=person`` renames.
"""

import csv
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segkit.data.pictures import opened
from segkit.data.records import Instance, ReadFile
from segkit.errors import InputError
from segkit.formats.label_images.pairs import ImageAndMask, find_pairs, read_ids, read_pair, to_instance
from segkit.formats.source import Source
from segkit.text import from_spreadsheet_cell

LIST = "instances.csv"
Names = dict[tuple[str, int], str]  # category by (mask file relative to the root, instance number)
_SAMPLE = 12


def is_idmask(root: Path) -> bool:
    """Whether the masks under a folder hold instance ids rather than class ids.

    They do if they have more than 8 bits, or if in each of a sample the ids are 1 to n, and n varies.
    """
    if (root / LIST).is_file():
        return True
    pairs = find_pairs(root)
    if not pairs or (root / "classes.txt").is_file():
        return False
    counts = set()
    for pair in pairs[:: max(1, len(pairs) // _SAMPLE)]:
        try:
            with opened(pair.mask, pair.mask.name) as picture:
                if picture.mode.startswith("I"):
                    return True
            numbers = np.unique(read_ids(pair.mask)).tolist()
        except InputError:
            continue
        found = [number for number in numbers if number != 0]
        if found != list(range(1, len(found) + 1)):
            return False
        counts.add(len(found))
    return len(counts) > 1


def open_idmask(root: Path) -> Source:
    """The images and masks under a folder.

    Raises:
        InputError: There are none.
    """
    pairs = find_pairs(root)
    if not pairs:
        hint = "expected folders such as images and masks, with equal file names (masks may end in _mask)"
        raise InputError(f"{root}: no images with instance-id PNGs", hint)
    names: Names = {}
    if (root / LIST).is_file():
        with (root / LIST).open(encoding="utf-8", newline="") as file:
            try:
                for row in csv.DictReader(file):
                    key = from_spreadsheet_cell(row["file"]), int(row["instance"])
                    names[key] = from_spreadsheet_cell(row["category"])
            except (KeyError, ValueError, TypeError, csv.Error) as error:
                hint = "its columns are file, instance, category"
                raise InputError(f"{root / LIST}: cannot be read: {error}", hint) from error
    return Source("idmask", pairs, partial(read, names=names), len(pairs))


def read(pair: ImageAndMask, names: Names) -> ReadFile:
    """Read an image and its mask. Never raises for bad input: that becomes a finding."""

    def find(ids: npt.NDArray[Any]) -> Iterator[Instance]:
        for number in np.unique(ids).tolist():
            if number != 0:
                yield to_instance(names.get((pair.mask_key, number), "object"), ids == number)

    return read_pair(pair, find)
