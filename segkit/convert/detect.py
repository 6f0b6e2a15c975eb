"""Which format a folder or a file has."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segkit.errors import InputError
from segkit.formats import via
from segkit.formats.coco.document import is_coco, is_panoptic
from segkit.formats.json_file import read_json
from segkit.formats.label_images.idmask import find_instance_folders, holds_instance_ids
from segkit.formats.label_images.pairs import ImageAndMask, find_pairs
from segkit.formats.label_images.voc import is_voc
from segkit.formats.labelme.file import read_labelme
from segkit.formats.yolo.images import is_yolo


@dataclass(frozen=True, slots=True)
class Detected:
    """A format, and the pictures with masks that were found on the way, if any were looked for."""

    format: str
    pairs: Sequence[ImageAndMask] | None = None


def is_report(path: Path) -> bool:
    """Whether a file is the ``report.json`` of an earlier conversion."""
    if path.name != "report.json":
        return False
    try:
        top = read_json(path)
    except InputError:
        return False
    return isinstance(top, dict) and "findings" in top


def detect_format(root: Path | None, files: Sequence[tuple[Path, str]], skip: Path | None = None) -> Detected:
    """The format of the first JSON files that have one; of a folder without, by its masks and text files.

    Args:
        root: The folder; None: the files were named one by one.
        files: The JSON files, each with its name in reports.
        skip: A folder to leave out.
    """
    seen: set[str | None] = set()
    for path, _ in files[:50]:
        if "labelme" not in seen:
            seen.add(_detect_json_format(path))
    for kind in ("labelme", "coco", "panoptic", "via"):
        if kind in seen:
            return Detected(kind)
    if root is not None and root.is_dir():
        return _detect_folder(root, skip) or Detected("labelme")
    return Detected("labelme")


def _detect_folder(root: Path, skip: Path | None) -> Detected | None:
    if is_yolo(root):
        return Detected("yolo")
    if is_voc(root):
        return Detected("voc")
    if pairs := find_pairs(root, skip):
        return Detected("idmask" if holds_instance_ids(root, pairs) else "semantic", pairs)
    if pairs := find_instance_folders(root):
        return Detected("idmask", pairs)
    return None


def _detect_json_format(path: Path) -> str | None:
    try:
        if read_labelme(path, picture=False) is not None:
            return "labelme"
        top = read_json(path)
    except InputError:
        return None  # the reader reports it
    return "panoptic" if is_panoptic(top) else "coco" if is_coco(top) else "via" if via.is_via(top) else None
