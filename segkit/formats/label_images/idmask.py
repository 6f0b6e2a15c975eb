"""Images and masks of instance ids (as Penn-Fudan): 0 is background, every other id an instance.

``instances.csv`` (file,instance,category) has the categories where segkit wrote the folder; without it every instance
is an ``object``, which ``--map object=person`` renames. Also read: a folder for each picture, with a mask file for each
instance (as the Data Science Bowl 2018), and Cellpose's ``a_cp_masks.png`` beside ``a.png``.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from segkit.data.files import walk_folders
from segkit.data.pictures import PICTURE_SUFFIXES
from segkit.data.records import Finding, Instance, ReadFile
from segkit.errors import InputError
from segkit.formats.label_images.class_list import find_class_list
from segkit.formats.label_images.evidence import check_sharp, look_at
from segkit.formats.label_images.pairs import ImageAndMask, homes_of_lists
from segkit.formats.label_images.read import Ids, instances_of_ids, read_ids, read_pair, to_instance
from segkit.formats.pictures.find import own_slashes
from segkit.formats.source import Source
from segkit.formats.text import read_text
from segkit.text import from_spreadsheet_cell

LIST = "instances.csv"
Names = dict[tuple[str, int], str]  # category by (mask file relative to the root, instance number)


def holds_instance_ids(root: Path, pairs: Sequence[ImageAndMask]) -> bool:
    """Whether masks hold instance ids rather than class ids.

    They do if they have more than 8 bits, or if in each of a sample the ids are 1 to n, and n varies.
    """
    whole = [pair for pair in pairs if pair.is_whole]
    if (root / LIST).is_file() or any(map(_is_of_cellpose, whole)):
        return True
    return bool(whole) and find_class_list(homes_of_lists(root, pairs)) is None and look_at(whole).counted


def _is_of_cellpose(pair: ImageAndMask) -> bool:
    """Whether a mask is called ``a_cp_masks`` and its picture ``a``."""
    if pair.mask is None or pair.picture is None:
        return False
    return pair.mask.stem.endswith("_cp_masks") and pair.mask.stem != pair.picture.stem


def find_instance_folders(root: Path, skip: Path | None = None) -> list[ImageAndMask]:
    """Pictures in ``ID/images/`` whose instances have a file each in ``ID/masks/`` (Data Science Bowl 2018).

    Args:
        root: A folder.
        skip: A folder to leave out.
    """
    found = []
    for masks, _ in walk_folders(root, skip):
        if masks.name != "masks":
            continue
        images = masks.parent / "images"
        pictures = _pictures(images) if images.is_dir() else []
        files = _pictures(masks)
        if len(pictures) == 1 and files and not any(file.stem == pictures[0].stem for file in files):
            keys = [path.relative_to(root).as_posix() for path in (pictures[0], files[0])]
            found.append(ImageAndMask(pictures[0], files[0], keys[0], keys[1], tuple(files[1:])))
    return found


def _pictures(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES and not p.name.startswith("."))


def open_idmask(root: Path, pairs: Sequence[ImageAndMask], *, guessed: bool = False) -> Source:
    """The images and masks under a folder.

    Args:
        root: The folder.
        pairs: Those that were found.
        guessed: Whether only the ids say that they are instances.

    Raises:
        InputError: There are none, or ``instances.csv`` cannot be read.
    """
    if not pairs:
        hint = "expected folders such as images and masks, with equal file names (masks may end in _mask)"
        raise InputError(f"{root}: no images with instance-id PNGs", hint)
    names = _read_names(root / LIST) if (root / LIST).is_file() else {}
    findings: tuple[Finding, ...] = ()
    if guessed and not names and not pairs[0].more:
        why = "the ids in each mask are 1 to n: read as instances of 'object' (--map object=NAME names them; if they"
        findings = (Finding("masks", "noted", f"{why} are classes: --from semantic)", shapes=0),)
    return Source("idmask", pairs, partial(read, names=names), len(pairs), findings=findings)


def _read_names(path: Path) -> Names:
    names: Names = {}
    try:
        for row in csv.DictReader(io.StringIO(read_text(path), newline="")):
            file, number = from_spreadsheet_cell(row["file"]), int(row["instance"])
            names[own_slashes(path.parent, file), number] = from_spreadsheet_cell(row["category"])
    except (KeyError, ValueError, TypeError, AttributeError, csv.Error) as error:
        hint = "its columns are file, instance, category"
        raise InputError(f"{path}: cannot be read: {error}", hint) from error
    return names


def read(pair: ImageAndMask, names: Names) -> ReadFile:
    """Read an image and its mask. Never raises for bad input: that becomes a finding."""

    def find(ids: Ids, findings: list[Finding]) -> Iterator[Instance]:
        if pair.mask is not None:
            check_sharp(ids, pair.mask)

        def label_of(number: int) -> str:
            name = names.get((pair.mask_key, number))
            if names and not name:
                why = f"an instance that is not in {LIST}: it is called 'object'"
                findings.append(Finding(pair.key, "changed", why, number, shapes=0))
            return name or "object"

        yield from instances_of_ids(ids, label_of)
        for path in pair.more:
            try:
                inside = read_ids(path) != 0
                if inside.shape != ids.shape:
                    raise InputError(f"{path.name}: another size than the other masks")
                if inside.any():
                    yield to_instance("object", inside)
            except InputError as error:
                findings.append(Finding(pair.key, "left out", f"a mask of an instance: {error.why(path.name)}"))

    return read_pair(pair, find)
