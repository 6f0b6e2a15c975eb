"""ISAT's JSON: a file for each image, polygons, and a group for the polygons of one object.

Format: https://github.com/yatengLG/ISAT_with_segment_anything (``info`` and ``objects``).
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from segkit.data.records import AnnotatedImage, ReadFile
from segkit.errors import InputError
from segkit.formats.json_file import read_json
from segkit.formats.pictures.find import picture_places
from segkit.formats.pictures.look import declared_size, find_and_look
from segkit.formats.pictures.scale import scale_image
from segkit.formats.shapes.entries import read_shapes
from segkit.formats.shapes.instances import join_instances
from segkit.formats.shapes.regions import ShapeOptions
from segkit.formats.source import Source

_MISSING_LAYER, _HIGHEST = 2.0, 1e9  # the first as ISAT reads a file without
_BACKGROUND = "__background__"  # a polygon that is cut out of the others of its group


def is_isat(top: Any) -> bool:
    """Whether a JSON document is one of ISAT."""
    return isinstance(top, dict) and isinstance(top.get("info"), dict) and isinstance(top.get("objects"), list)


def open_isat(files: Sequence[tuple[Path, str]], images_dir: Path | None) -> Source:
    """The images of ISAT files, each with its name in reports. Bad input becomes findings.

    Args:
        files: The files.
        images_dir: Another folder to look for images in.
    """
    return Source("isat", list(files), partial(read, images_dir=images_dir), len(files))


def read(unit: tuple[Path, str], images_dir: Path | None) -> ReadFile:
    """Read one file. Never raises for bad input: that becomes a finding.

    Args:
        unit: The file, and its name in reports.
        images_dir: Another folder to look for the image in.
    """
    path, key = unit
    try:
        top = read_json(path)
    except InputError as error:
        return ReadFile.left_out(key, error.why(path))
    if not is_isat(top):
        return ReadFile.left_out(key, "not a file of ISAT")
    info, objects = top["info"], top["objects"]
    places = picture_places(path, key, images_dir)
    names = [str(info.get("name") or ""), path.stem]
    try:
        declared = declared_size(info.get("height"), info.get("width"))
        picture, frame, noticed = find_and_look(places, names, key, declared)
    except InputError as error:
        return ReadFile.left_out(key, error.why(), len(objects))
    findings = list(noticed)
    order = sorted(range(len(objects)), key=lambda number: _layer(objects[number]))
    shapes = read_shapes([_entry(objects[number]) for number in order], key, findings, order)
    options = ShapeOptions(hole_label=_BACKGROUND)
    instances = join_instances(shapes, key, *frame.drawn, options, findings)
    image = AnnotatedImage(key, picture, *frame.drawn, instances)
    return ReadFile(scale_image(image, frame.size, key, findings), tuple(findings), len(objects))


def _layer(raw: Any) -> float:
    """How high an object lies: ISAT paints its masks in this order, so that later ones cover earlier ones."""
    layer = raw.get("layer") if isinstance(raw, dict) else None
    return float(layer) if isinstance(layer, int | float) and abs(layer) < _HIGHEST else _MISSING_LAYER


def _entry(raw: Any) -> Any:
    """An object as an entry of LabelMe's ``shapes``, so that the same code reads it."""
    if not isinstance(raw, dict):
        return None
    flags = {"iscrowd": True} if raw.get("iscrowd") in (1, True) else {}
    note = {"note": raw["note"]} if raw.get("note") else {}
    return {
        "label": raw.get("category"), "shape_type": "polygon", "points": raw.get("segmentation"),
        "group_id": raw.get("group"), "flags": flags, **note,
    }  # fmt: skip
