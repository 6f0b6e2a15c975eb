"""Which format a folder or a file has."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segkit.conversion.json_kinds import json_kind
from segkit.conversion.mixed import kinds_of, the_one_format
from segkit.conversion.refusals import check_file
from segkit.data.records import Finding
from segkit.errors import InputError
from segkit.formats.cvat import is_cvat
from segkit.formats.label_images.idmask import find_instance_folders, holds_instance_ids
from segkit.formats.label_images.pairs import ImageAndMask, find_pairs
from segkit.formats.label_images.pairs_apart import find_pairs_apart
from segkit.formats.label_images.table import is_table
from segkit.formats.label_images.voc import is_voc
from segkit.formats.yolo.images import is_yolo

_SAMPLE = 50  # JSON files that are looked at


@dataclass(frozen=True, slots=True)
class Detected:
    """A format, the pictures with masks that were found on the way, if any were looked for, and findings."""

    format: str
    pairs: Sequence[ImageAndMask] | None = None
    findings: tuple[Finding, ...] = ()


def detect_file(path: Path) -> str | None:
    """The format of a file that is named by itself, by its suffix; None: its content tells.

    Raises:
        InputError: It is no annotation file.
    """
    suffix = path.suffix.lower()
    if suffix in (".yaml", ".yml"):
        return "yolo"
    if suffix == ".csv":
        return "csv"
    if suffix == ".xml":
        if not is_cvat(path):
            hint = "VOC: name the folder that has Annotations and JPEGImages"
            raise InputError(f"{path}: an XML file, but not one of CVAT for images", hint)
        return "cvat"
    check_file(path)
    return None


def detect_format(
    src: str,
    root: Path | None,
    files: Sequence[tuple[Path, str]],
    skip: Path | None = None,
    passed_over: Sequence[str] = (),
) -> Detected | None:
    """The format of the JSON files; of a folder without, by its other files; None: none.

    Args:
        src: What the user named.
        root: The folder; None: the files were named one by one.
        files: The JSON files, each with its name in reports.
        skip: A folder to leave out.
        passed_over: Folders in it that are no part of the source.

    Raises:
        InputError: It has annotations in several formats.
    """
    kind, notes = the_one_format(src, root, kinds_of(files), skip, passed_over)
    if kind is not None:
        return Detected(kind, findings=notes)
    found = _detect_folder(root, skip) if root is not None and root.is_dir() else None
    if found is not None:
        return found
    other = next((kind for path, _ in files[:_SAMPLE] if (kind := json_kind(path)) is not None), None)
    return Detected(other) if other is not None else None  # its reader says why it has no annotations


def _detect_folder(root: Path, skip: Path | None) -> Detected | None:
    if is_yolo(root, skip):
        return Detected("yolo")
    if is_voc(root, skip):
        return Detected("voc")
    if pairs := find_pairs(root, skip):
        return Detected("idmask" if holds_instance_ids(root, pairs) else "semantic", pairs)
    if pairs := find_instance_folders(root, skip):
        return Detected("idmask", pairs)
    tables = [path for path in root.iterdir() if path.suffix.lower() == ".csv"]
    return Detected("csv") if len(tables) == 1 and is_table(tables[0]) else None


def detect_masks_apart(pictures: Path, root: Path, skip: Path | None) -> Detected | None:
    """The format of masks whose pictures are in another folder; None where no mask has a picture there.

    Args:
        pictures: The folder of the pictures.
        root: The folder of the masks.
        skip: A folder to leave out.
    """
    if not (pairs := find_pairs_apart(pictures, root, skip)):
        return None
    return Detected("idmask" if holds_instance_ids(root, pairs) else "semantic", pairs)
