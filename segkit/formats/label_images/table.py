"""A table of pictures and masks: a CSV file with the columns ``picture`` and ``mask``.

Other names of the columns are understood (``image``, ``img``, ``label``, ...); without a heading the first two columns
count. Paths are absolute, or relative to the table. A column ``split`` says the split of each picture.
"""

import csv
import io
from pathlib import Path

from segkit.data.files import is_file
from segkit.data.pictures import PICTURE_SUFFIXES
from segkit.data.records import Finding
from segkit.errors import InputError
from segkit.formats.label_images.pairs import ImageAndMask
from segkit.formats.pictures.find import below, own_slashes
from segkit.formats.splits import split_of_word
from segkit.formats.text import read_text
from segkit.text import from_spreadsheet_cell

_PICTURES = (
    "picture", "image", "img", "images", "image_path", "picture_path", "input", "filename", "file", "path", "x",
)  # fmt: skip
_MASKS = ("mask", "masks", "mask_path", "label", "labels", "label_path", "annotation", "segmentation", "target", "y")

_SPLITS = ("split", "set", "subset", "partition", "fold", "phase", "usage", "dataset")


def is_table(path: Path) -> bool:
    """Whether a CSV file has columns of pictures and masks."""
    try:
        _columns(path, _rows(path))
    except InputError:
        return False
    return True


def _rows(path: Path) -> list[list[str]]:
    text = read_text(path)
    first = text[:4096].partition("\n")[0]
    between = max(",;\t", key=first.count)
    try:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=between)
        return [row for row in rows if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise InputError(f"{path}: not a table: {error}") from error


def read_table(path: Path) -> tuple[list[ImageAndMask], list[Finding]]:
    """The pictures and masks that a table names, and rows on what is missing.

    Raises:
        InputError: It has no two columns of files, or names none that exists.
    """
    every = _rows(path)
    at, rows = _columns(path, every)
    splits = _split_column(every) if len(rows) < len(every) else None
    pairs: list[ImageAndMask] = []
    findings: list[Finding] = []
    for number, row in enumerate(rows, 1):
        cells = [own_slashes(path.parent, from_spreadsheet_cell(cell.strip())) for cell in row]
        picture, mask = (cells[column] if column < len(cells) else "" for column in at)
        files = [path.parent / cell if cell else None for cell in (picture, mask)]
        there = [file if file is not None and is_file(file) else None for file in files]
        if picture and there[0] is None and there[1] is not None:  # its reader counts what is in the mask
            pairs.append(ImageAndMask(None, there[1], below(picture), below(mask)))
        elif there[0] is None or there[1] is None:
            missing = "picture" if there[0] is None else "mask"
            name = picture if there[0] is None else mask
            why = f"{missing} not found" if name else f"no {missing} in the row"
            findings.append(Finding(name[:200] or f"{path.name}, row {number}", "left out", why, shapes=0))
        else:
            split = cells[splits] if splits is not None and splits < len(cells) else ""
            pairs.append(ImageAndMask(there[0], there[1], below(picture), below(mask), split=split or None))
    if not any(pair.is_whole for pair in pairs):
        raise InputError(
            f"{path}: none of its {len(rows)} rows names a picture and a mask that exist",
            "a row for each: picture,mask; paths are relative to the table",
        )
    return pairs, findings


def _split_column(rows: list[list[str]]) -> int | None:
    """The column of splits: one of the usual names, in which some row names a split."""
    for number, cell in enumerate(rows[0]):
        named = (row[number].strip() for row in rows[1:] if number < len(row))
        if cell.strip().lower() in _SPLITS and any(split_of_word(each) for each in named):
            return number
    return None


def _columns(path: Path, rows: list[list[str]]) -> tuple[tuple[int, int], list[list[str]]]:
    """The columns of pictures and masks, and the rows without the heading."""
    heading = [cell.strip().lower() for cell in rows[0]] if rows else []
    pictures = [number for name in _PICTURES for number, cell in enumerate(heading) if cell == name]
    masks = [number for name in _MASKS for number, cell in enumerate(heading) if cell == name]
    if pictures and masks:
        return (pictures[0], masks[0]), rows[1:]
    if len(heading) >= 2 and all(Path(cell).suffix.lower() in PICTURE_SUFFIXES for cell in heading[:2]):
        return (0, 1), rows
    columns = ", ".join(heading[:6]) or "none"
    hint = "columns: picture,mask; VIA, Label Studio and others export JSON, which is read"
    raise InputError(f"{path}: not a table of pictures and masks: its columns are {columns[:200]}", hint)
