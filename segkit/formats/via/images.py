"""VGG Image Annotator's JSON, of versions 1 and 2: polygons, rectangles, circles, ellipses.

``regions`` is a dict (version 1) or a list (version 2); one attribute of the regions names the category. A file
annotates the images of its folder; it does not have their sizes.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from segkit.data.records import AnnotatedImage, Finding, ReadFile
from segkit.errors import InputError
from segkit.formats.json_file import read_json
from segkit.formats.pictures.find import PicturePlaces, base_name, picture_places
from segkit.formats.pictures.look import find_and_look
from segkit.formats.shapes.entries import read_shapes
from segkit.formats.shapes.instances import join_instances
from segkit.formats.shapes.regions import ShapeOptions
from segkit.formats.source import Source, already_read
from segkit.formats.via.attributes import NO_NAME, attributes_of, choose_attribute, ticked
from segkit.formats.via.outlines import shape_of
from segkit.units import counted


def is_via(top: Any) -> bool:
    """Whether a JSON document is a VIA annotation file or project."""
    return any(_is_image(each) for each in _entries(top).values())


def is_via3(top: Any) -> bool:
    """Whether a JSON document is a project of VIA 3, which has another structure."""
    return isinstance(top, dict) and {"project", "attribute", "metadata", "file"} <= top.keys()


def _entries(top: Any) -> dict[str, Any]:
    files = top.get("_via_img_metadata", top) if isinstance(top, dict) else {}
    return files if isinstance(files, dict) else {}


def _is_image(entry: Any) -> bool:
    return _has_regions(entry) and isinstance(entry.get("filename"), str)


def _has_regions(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("regions"), dict | list)


def _regions(entry: dict[str, Any]) -> list[Any]:
    regions = entry["regions"]
    return list(regions.values()) if isinstance(regions, dict) else regions


def open_via(files: Sequence[tuple[Path, str]], images_dir: Path | None, shapes: ShapeOptions) -> Source:
    """The images of VIA files, each with its name in reports. Bad input becomes findings.

    Args:
        files: The files.
        images_dir: Another folder to look for images in.
        shapes: How lines and points get an area.
    """
    units = (unit for path, key in files for unit in _read(path, key, images_dir, shapes))
    return Source("via", units, already_read, files=len(files), parallel=False)


def _read(path: Path, key: str, images_dir: Path | None, shapes: ShapeOptions) -> Iterator[ReadFile]:
    try:
        top = read_json(path)
    except InputError as error:
        yield ReadFile.left_out(key, error.why(path))
        return
    images = [entry for entry in _entries(top).values() if _is_image(entry)]
    if not images:
        yield ReadFile.left_out(key, "a VIA 3 project: VIA 2 is read" if is_via3(top) else "not a VIA file")
        return
    if others := [entry for entry in _entries(top).values() if not _is_image(entry)]:
        lost = sum(len(_regions(each)) for each in others if _has_regions(each))
        why = f"{counted(len(others), 'entry', 'entries')} without a file name and regions"
        yield ReadFile(None, (Finding(key, "left out" if lost else "noted", why, shapes=lost),), lost)
    chosen = choose_attribute([region for entry in images for region in _regions(entry)], key)
    if chosen.findings:
        yield ReadFile(None, chosen.findings)
    places = picture_places(path, key, images_dir).for_names([entry["filename"] for entry in images])
    for entry in images:
        yield _image(places, key, entry, chosen.name, shapes)


def _image(
    places: PicturePlaces, file_key: str, raw: dict[str, Any], attribute: str | None, options: ShapeOptions
) -> ReadFile:
    regions = _regions(raw)
    name = raw["filename"]
    key = places.key_beside(file_key, base_name(name) if _is_elsewhere(name) else name)
    try:
        # Browsers apply the EXIF orientation, so the regions were drawn on the upright image.
        picture, frame, noticed = find_and_look(places, [name], key, None)
    except InputError as error:
        return ReadFile.left_out(key, error.why(), len(regions))
    findings = list(noticed)
    shapes = read_shapes([_shape(r, n, attribute, key, findings) for n, r in enumerate(regions)], key, findings)
    instances = join_instances(shapes, key, *frame.drawn, options, findings)
    image = AnnotatedImage(key, picture, *frame.drawn, instances, annotation_file=file_key)
    return ReadFile(image, tuple(findings), len(regions))


def _is_elsewhere(name: str) -> bool:
    """Whether a name is a URL or a path of another machine: only its last part is a name below the source."""
    return "://" in name or name.startswith(("/", "\\")) or ":" in name[:3]


def _shape(region: Any, number: int, attribute: str | None, key: str, findings: list[Finding]) -> Any:
    """A region as an entry of LabelMe's ``shapes``, so that the same code reads it."""
    if not isinstance(region, dict) or not isinstance(region.get("shape_attributes"), dict):
        return None
    own = attributes_of(region)
    values = ticked(own.get(attribute)) if attribute is not None else []
    why = ""
    if attribute is not None and not values:
        why = f"no value of {attribute[:80]!r}: called {NO_NAME!r}"
    elif len(values) > 1:
        why = f"{len(values)} boxes of {str(attribute)[:80]!r} are ticked: the first is the category"
    if why:
        findings.append(Finding(key, "changed", why, number, shapes=0))
    kind, points = shape_of(region["shape_attributes"])
    rest = {name: value for name, value in own.items() if value not in ("", None, {}) and name != attribute}
    return {"label": values[0] if values else NO_NAME, "shape_type": kind, "points": points, "attributes": rest}
