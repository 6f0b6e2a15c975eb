"""CVAT's XML for images, version 1.1: polygons, masks, ellipses, boxes and polylines.

A mask is the run lengths of a bitmap, row by row, that begin with the pixels outside; it covers the box ``left``,
``top``, ``width``, ``height``. Format: https://docs.cvat.ai/docs/manual/advanced/xml_format/
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from segkit.data.masks import crop_to_rle, rle_area, rle_bbox
from segkit.data.pictures import MAX_MASK_PIXELS
from segkit.data.polygons import REACH
from segkit.data.records import AnnotatedImage, Finding, Instance, ReadFile
from segkit.errors import InputError
from segkit.formats.pictures.find import PicturePlaces, base_name, picture_places
from segkit.formats.pictures.look import declared_size, find_and_look
from segkit.formats.pictures.scale import scale_image
from segkit.formats.shapes.entries import read_shapes
from segkit.formats.shapes.instances import in_order, join_instances
from segkit.formats.shapes.regions import ShapeOptions
from segkit.formats.shapes.turned import ellipse, turned
from segkit.formats.source import Source, already_read
from segkit.formats.xml_file import begins_with, read_xml
from segkit.units import counted

_NOT_DRAWN = ("tag", "attribute")


def is_cvat(path: Path) -> bool:
    """Whether a file begins as CVAT's XML."""
    return begins_with(path, "annotations")


def open_cvat(files: Sequence[tuple[Path, str]], images_dir: Path | None, shapes: ShapeOptions) -> Source:
    """The images of CVAT files, each with its name in reports. Bad input becomes findings.

    Args:
        files: The files.
        images_dir: Another folder to look for images in.
        shapes: How lines and points get an area.
    """
    labels: dict[str, None] = {}
    tops: list[tuple[Path, str, Element | InputError]] = []
    for path, key in files:
        try:
            top: Element | InputError = read_xml(path)
        except InputError as error:
            top = error
        tops.append((path, key, top))
        if isinstance(top, Element):
            names = (node.text for node in top.iterfind("meta//labels/label/name"))
            labels |= {name.strip(): None for name in names if name and name.strip()}
    units = (unit for path, key, top in tops for unit in _read(path, key, top, images_dir, shapes))
    return Source("cvat", units, already_read, files=len(files), parallel=False, labels=tuple(labels))


def _read(
    path: Path, key: str, top: Element | InputError, images_dir: Path | None, options: ShapeOptions
) -> Iterator[ReadFile]:
    if isinstance(top, InputError):
        yield ReadFile.left_out(key, top.why(path.name))
        return
    tracks = top.findall("track")
    if tracks:
        why = "tracks of a video: export the task as 'CVAT for images 1.1'"
        yield ReadFile.left_out(key, why, sum(len(track) for track in tracks))
    images = top.findall("image")
    if not (images or tracks):
        yield ReadFile.left_out(key, "not a file of CVAT for images")
    places = picture_places(path, key, images_dir).for_names([node.get("name") or "" for node in images])
    for node in images:
        yield _image(node, places, key, options)


def _image(node: Element, places: PicturePlaces, file_key: str, options: ShapeOptions) -> ReadFile:
    name = node.get("name") or ""
    key = places.key_beside(file_key, name)
    drawn = [child for child in node if child.tag not in _NOT_DRAWN]
    if not base_name(name):
        return ReadFile.left_out(key or file_key, "an image without a name", len(drawn))
    declared = declared_size(node.get("height"), node.get("width"))
    try:
        picture, frame, noticed = find_and_look(places, [name], key, declared)
    except InputError as error:
        return ReadFile.left_out(key, error.why(), len(drawn))
    findings = list(noticed)
    if tags := len([child for child in node if child.tag == "tag"]):
        some = counted(tags, "tag of the whole image is", "tags of the whole image are")
        findings.append(Finding(key, "noted", f"{some} not read", shapes=0))
    drawn.sort(key=lambda each: _number(each, "z_order", 0.0))  # later ones are over earlier ones
    whole: list[Instance] = []
    entries: list[Any] = []
    for number, each in enumerate(drawn):
        entry: Any = None
        try:
            if each.tag == "mask":
                whole.append(replace(_mask(each, *frame.drawn), number=number))
            elif each.tag == "box" and not _number(each, "rotation", 0.0):
                whole.append(replace(_box(each, *frame.drawn), number=number))
            else:
                entry = _entry(each)
        except ValueError as error:
            findings.append(Finding(key, "left out", str(error), number, each.get("label"), each.tag))
        entries.append(entry)
    kept = [(number, entry) for number, entry in enumerate(entries) if entry is not None]
    shapes = read_shapes([entry for _, entry in kept], key, findings, [number for number, _ in kept])
    instances = in_order((*join_instances(shapes, key, *frame.drawn, options, findings), *whole))
    subset = node.get("subset") or None
    image = AnnotatedImage(
        key, picture, *frame.drawn, instances, split=subset, split_from="CVAT's subsets", annotation_file=file_key
    )
    return ReadFile(scale_image(image, frame.size, key, findings), tuple(findings), len(drawn))


def _number(node: Element, name: str, default: float | None = None) -> float:
    """An attribute as a number; the default, if there is one, where it is none or far too large.

    Raises:
        ValueError: It is none or far too large, and there is no default.
    """
    try:
        value = float(node.get(name) or "")
    except ValueError:
        if default is None:
            raise ValueError(f"{name} is not a number") from None
        return default
    if abs(value) < REACH:
        return value
    if default is None:
        raise ValueError(f"{name} is more than a million pixels away")
    return default


def _attributes(node: Element) -> dict[str, Any]:
    own = {str(child.get("name"))[:200]: child.text for child in node.iterfind("attribute") if child.text}
    return own | ({"occluded": True} if node.get("occluded") == "1" else {})


def _mask(node: Element, height: int, width: int) -> Instance:
    left, top, w, h = (int(_number(node, name)) for name in ("left", "top", "width", "height"))
    if not (0 < w <= 4 * width and 0 < h <= 4 * height and w * h <= MAX_MASK_PIXELS):
        raise ValueError("a mask whose box is empty or much larger than the image")
    try:
        counts = [int(count) for count in (node.get("rle") or "").split(",")]
    except ValueError:
        raise ValueError("a mask whose run lengths are not numbers") from None
    if min(counts) < 0 or sum(counts) != w * h:
        raise ValueError("a mask whose run lengths do not add up to its box")
    values = np.arange(len(counts)) % 2
    bitmap = np.repeat(values.astype(np.uint8), counts).reshape(h, w)
    rle = crop_to_rle(bitmap, top, left, height, width)
    if not (area := rle_area(rle)):
        raise ValueError("covers no pixel of the image")
    return Instance(_label(node), rle, rle_bbox(rle), area, attributes=_attributes(node))


def _box(node: Element, height: int, width: int) -> Instance:
    x1, y1, x2, y2 = (_number(node, name) for name in ("xtl", "ytl", "xbr", "ybr"))
    return Instance.of_box(_label(node), (x1, y1, x2 - x1, y2 - y1), height, width, attributes=_attributes(node))


def _label(node: Element) -> str:
    if not (label := (node.get("label") or "").strip()):
        raise ValueError("no label")
    return label


def _entry(node: Element) -> Any:
    """A drawn node as an entry of LabelMe's ``shapes``, so that the same code reads it.

    Raises:
        ValueError: Its numbers are none.
    """
    kind, points = node.tag, []
    if node.tag == "box":
        kind, points = "polygon", _turned_box(node)
    elif node.tag == "ellipse":
        kind, points = "polygon", _ellipse(node)
    elif node.tag in ("polygon", "polyline", "points"):
        kind = {"polyline": "linestrip"}.get(node.tag, node.tag)
        pairs = [pair.split(",") for pair in (node.get("points") or "").split(";") if pair.strip()]
        try:
            points = [[float(x), float(y)] for x, y in pairs]
        except ValueError:
            raise ValueError("points are not pairs of numbers") from None
        if kind == "points" and len(points) == 1:
            kind = "point"
    else:
        raise ValueError(f"a {node.tag} is no region")
    group = node.get("group_id")
    group = group if group not in (None, "", "0") else None
    return {
        "label": (node.get("label") or "").strip(), "shape_type": kind, "points": points, "group_id": group,
        "attributes": _attributes(node),
    }  # fmt: skip


def _turned_box(node: Element) -> list[list[float]]:
    x1, y1, x2, y2, turn = (_number(node, name) for name in ("xtl", "ytl", "xbr", "ybr", "rotation"))
    cx, cy, w, h = (x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) / 2, (y2 - y1) / 2
    return [turned(cx, cy, x * w, y * h, math.radians(turn)) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))]


def _ellipse(node: Element) -> list[list[float]]:
    cx, cy, rx, ry = (_number(node, name) for name in ("cx", "cy", "rx", "ry"))
    return ellipse(cx, cy, rx, ry, math.radians(_number(node, "rotation", 0.0)))
