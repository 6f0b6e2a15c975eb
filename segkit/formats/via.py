"""VGG Image Annotator's JSON, of versions 1 and 2: polygons, rectangles, circles, ellipses.

``regions`` is a dict (version 1) or a list (version 2); the category is the first attribute that names one. A file
annotates the images of its folder; it does not have their sizes.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from segkit.data.records import AnnotatedImage, ReadFile
from segkit.errors import InputError
from segkit.formats.json_file import read_json
from segkit.formats.pictures.find import PicturePlaces, base_name, picture_places
from segkit.formats.pictures.look import look
from segkit.formats.shapes.entries import read_shapes
from segkit.formats.shapes.instances import join_instances
from segkit.formats.shapes.regions import ShapeOptions
from segkit.formats.source import Source, already_read

_NAMES = ("label", "class", "category", "name", "type", "object", "object_name")
_NO_NAME = "object"  # of a region without attributes


def is_via(top: Any) -> bool:
    """Whether a JSON document is a VIA annotation file or project."""
    return bool(_files(top))


def _files(top: Any) -> dict[str, Any]:
    files = top.get("_via_img_metadata", top) if isinstance(top, dict) else {}
    if not isinstance(files, dict):
        return {}
    return {
        name: each
        for name, each in files.items()
        if isinstance(each, dict)
        and isinstance(each.get("filename"), str)
        and isinstance(each.get("regions"), dict | list)
    }


def open_via(files: Sequence[tuple[Path, str]], images_dir: Path | None) -> Source:
    """The images of VIA files, each with its name in reports. Bad input becomes findings.

    Args:
        files: The files.
        images_dir: Another folder to look for images in.
    """
    units = (unit for path, key in files for unit in _read(path, key, images_dir))
    return Source("via", units, already_read, files=len(files), parallel=False)


def _read(path: Path, key: str, images_dir: Path | None) -> Iterator[ReadFile]:
    try:
        files = _files(read_json(path))
    except InputError as error:
        yield ReadFile.left_out(key, error.message)
        return
    if not files:
        yield ReadFile.left_out(key, "not a VIA file")
    places = picture_places(path, key, images_dir)
    for each in files.values():
        yield _image(places, key, each)


def _image(places: PicturePlaces, file_key: str, raw: dict[str, Any]) -> ReadFile:
    regions = list(raw["regions"].values()) if isinstance(raw["regions"], dict) else raw["regions"]
    name = raw["filename"]
    key = "/".join(filter(None, (file_key.rpartition("/")[0], base_name(name))))
    found = places.find(name)
    if found is None:
        return ReadFile.left_out(key, "image not found", len(regions))
    try:
        # Browsers apply the EXIF orientation, so the regions were drawn on the upright image.
        picture, frame, noticed = look(found, key, None)
    except InputError as error:
        return ReadFile.left_out(key, error.message, len(regions))
    findings = [*noticed, *places.outside(found, name, key)]
    shapes = read_shapes([_shape(region) for region in regions], key, findings)
    instances = join_instances(shapes, key, *frame.drawn, ShapeOptions(), findings)
    image = AnnotatedImage(key, picture, *frame.drawn, instances, annotation_file=file_key)
    return ReadFile(image, tuple(findings), len(regions))


def _shape(region: Any) -> Any:
    """A region as an entry of LabelMe's ``shapes``, so that the same code reads it."""
    if not isinstance(region, dict) or not isinstance(region.get("shape_attributes"), dict):
        return None
    outline, own = region["shape_attributes"], region.get("region_attributes")
    own = own if isinstance(own, dict) else {}
    label = _label(own)
    kind, points = _points(outline)
    rest = {name: value for name, value in own.items() if value not in ("", None, {}) and value != label}
    return {"label": label, "shape_type": kind, "points": points, "attributes": rest}


def _label(own: dict[str, Any]) -> str:
    named = [own[name] for name in _NAMES if own.get(name)]
    for value in [*named, *own.values()]:
        if isinstance(value, str) and value:
            return value
        if isinstance(value, dict):  # a checkbox: {"crack": true}
            on = sorted(str(name) for name, ticked in value.items() if ticked)
            if on:
                return on[0]
    return _NO_NAME


def _points(outline: dict[str, Any]) -> tuple[str, Any]:
    kind = str(outline.get("name"))
    try:
        match kind:
            case "polygon" | "polyline":
                pairs = zip(outline["all_points_x"], outline["all_points_y"], strict=True)
                return ("linestrip" if kind == "polyline" else kind), [list(pair) for pair in pairs]
            case "rect":
                x, y = outline["x"], outline["y"]
                return "rectangle", [[x, y], [x + outline["width"], y + outline["height"]]]
            case "circle":
                return kind, [[outline["cx"], outline["cy"]], [outline["cx"] + outline["r"], outline["cy"]]]
            case "ellipse":
                return "polygon", _ellipse(*(float(outline.get(name, 0)) for name in ("cx", "cy", "rx", "ry", "theta")))
            case "point":
                return kind, [[outline["cx"], outline["cy"]]]
    except (KeyError, TypeError, ValueError):
        return kind, None
    return kind, []


def _ellipse(cx: float, cy: float, rx: float, ry: float, theta: float) -> list[list[float]]:
    turn = (math.cos(theta), math.sin(theta))
    points = []
    for degree in range(360):
        x, y = rx * math.cos(math.radians(degree)), ry * math.sin(math.radians(degree))
        points.append([cx + x * turn[0] - y * turn[1], cy + x * turn[1] + y * turn[0]])
    return points
