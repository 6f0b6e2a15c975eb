"""What a JSON file is: a format that segkit reads, or one that it knows by name, and what to do about that."""

from pathlib import Path
from typing import Any

import msgspec

from segkit.errors import InputError
from segkit.formats.coco.kinds import is_coco, is_panoptic
from segkit.formats.isat import is_isat
from segkit.formats.json_file import read_json
from segkit.formats.label_studio.tasks import is_label_studio
from segkit.formats.labelme.file import read_labelme
from segkit.formats.via.images import is_via, is_via3

_EXPORT = "export it as COCO, or as masks"
# Formats that are not read, by the keys that their files have at the top.
_KNOWN = (
    (("info", "categories", "items"), "a datumaro file", f"{_EXPORT}: datum convert -f coco_instances"),
    (("description", "tags", "size", "objects"), "a Supervisely file", _EXPORT),
    (("asset", "regions"), "a VoTT file", _EXPORT),
    (("dataset", "item", "annotations"), "a V7 Darwin file", _EXPORT),
    (("type", "features"), "a GeoJSON file, such as QuPath's", "export label images from QuPath, or rasterise it"),
    (("type", "geometry"), "a GeoJSON file, such as QuPath's", "export label images from QuPath, or rasterise it"),
    (("imgHeight", "imgWidth", "objects"), "a Cityscapes file", "make masks: csCreateTrainIdLabelImgs"),
    (("openlabel",), "an OpenLABEL file", _EXPORT),
    (("frames", "labels"), "a Scalabel file", _EXPORT),
    (("version", "annotations", "metadata"), "a SuperAnnotate file", _EXPORT),
)

# Panoptic files are COCO files, too.
_READ = (("panoptic", is_panoptic), ("coco", is_coco), ("labelstudio", is_label_studio), ("isat", is_isat))
_ITEMS = 20  # of a list that are looked at


def json_kind(path: Path) -> str | None:
    """The format of a JSON file, of those that are read; None: another one, or it is broken (the reader reports that).

    A first look parses the keys at the top only, as files of COCO may have gigabytes.
    """
    try:
        top = _outline(path)
        if isinstance(top, dict) and isinstance(top.get("shapes"), list) and read_labelme(path, picture=False):
            return "labelme"
        for kind, is_kind in _READ:
            if is_kind(top):
                return kind
        return "via" if isinstance(top, dict) and "shapes" not in top and is_via(read_json(path)) else None
    except InputError:
        return None


def annotation_kind(path: Path) -> str | None:
    """As ``json_kind``; None also for COCO files without annotations: results, and lists of images."""
    kind = json_kind(path)
    return kind if kind != "coco" or _has_annotations(path) else None


def _has_annotations(path: Path) -> bool:
    try:
        top = _outline(path)
    except InputError:
        return False
    return isinstance(top, dict) and "annotations" in top


def unread_kind(path: Path) -> tuple[str, str] | None:
    """What a JSON file is that segkit does not read, and what to do; None: nobody knows."""
    try:
        top = _outline(path)
    except InputError:
        return None
    if is_via3(top):
        return "a VIA 3 project", "VIA 2 is read: annotate or convert the project there, or export COCO"
    if isinstance(top, dict):
        return next(((what, hint) for keys, what, hint in _KNOWN if top.keys() >= {*keys}), None)
    first = top[0] if isinstance(top, list) and top else None
    is_create_ml = isinstance(first, dict) and first.keys() >= {"image", "annotations"}
    return ("a Create ML file", _EXPORT) if is_create_ml else None


def _outline(path: Path) -> Any:
    """A JSON document of which only the top is parsed: lists and dicts in it are empty; of a list, the first items.

    Raises:
        InputError: It cannot be read, or is no JSON.
    """
    try:
        return _outlined(msgspec.json.decode(path.read_bytes(), type=dict[str, msgspec.Raw] | list[msgspec.Raw]))
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return read_json(path)  # what has other encodings, NaN or another top


def _outlined(top: dict[str, msgspec.Raw] | list[msgspec.Raw]) -> Any:
    empty: dict[bytes, Any] = {b"[": [], b"{": {}}
    if isinstance(top, list):
        return [msgspec.json.decode(raw) for raw in top[:_ITEMS]]
    outline = {name: empty.get(bytes(memoryview(raw)[:64]).lstrip()[:1], "") for name, raw in top.items()}
    if outline.get("annotations") == []:  # the first says whether it has segments, as in panoptic files
        outline["annotations"] = [msgspec.json.decode(raw) for raw in _first_items(top["annotations"])]
    return outline


def _first_items(raw: msgspec.Raw) -> list[msgspec.Raw]:
    return msgspec.json.decode(raw, type=list[msgspec.Raw])[:_ITEMS]
