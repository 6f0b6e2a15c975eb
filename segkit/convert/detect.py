"""Which format a folder or a file has."""

from collections.abc import Sequence
from pathlib import Path

from segkit.errors import InputError
from segkit.formats import via
from segkit.formats.coco.file import is_coco
from segkit.formats.json_file import read_json
from segkit.formats.label_images import idmask, semantic, voc
from segkit.formats.labelme.file import read_labelme
from segkit.formats.yolo.images import is_yolo

_FOLDERS = {"yolo": is_yolo, "voc": voc.is_voc, "idmask": idmask.is_idmask, "semantic": semantic.is_semantic}


def is_report(path: Path) -> bool:
    """Whether a file is the ``report.json`` of an earlier conversion."""
    if path.name != "report.json":
        return False
    try:
        top = read_json(path)
    except InputError:
        return False
    return isinstance(top, dict) and "findings" in top


def detect_format(root: Path | None, files: Sequence[tuple[Path, str]]) -> str:
    """The format of the first JSON files that have one; of a folder without, by its masks and text files."""
    seen: set[str | None] = set()
    for path, _ in files[:50]:
        if "labelme" not in seen:
            seen.add(_detect_json_format(path))
    for kind in ("labelme", "coco", "via"):
        if kind in seen:
            return kind
    if root is not None and root.is_dir():
        for kind, is_kind in _FOLDERS.items():
            if is_kind(root):
                return kind
    return "labelme"


def _detect_json_format(path: Path) -> str | None:
    try:
        if read_labelme(path, picture=False) is not None:
            return "labelme"
        top = read_json(path)
    except InputError:
        return None  # the reader reports it
    return "coco" if is_coco(top) else "via" if via.is_via(top) else None
