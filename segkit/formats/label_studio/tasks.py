"""Label Studio's JSON and JSON-MIN exports: a list of tasks, one for each image, coordinates in percent of its size.

Read are polygons, brushes, ellipses, rectangles and, with a radius, keypoints. Of several annotations of an image the
ground truth counts, else the first that was not cancelled. Format: https://labelstud.io/guide/export
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from segkit.data.pictures import PICTURE_SUFFIXES
from segkit.data.records import AnnotatedImage, Finding, Instance, ReadFile
from segkit.errors import InputError
from segkit.formats.json_file import read_json
from segkit.formats.label_studio.regions import (
    Region,
    box_instance,
    brush_instance,
    entry_of,
    is_turned,
    regions_of,
    size_of,
)  # fmt: skip
from segkit.formats.pictures.find import PicturePlaces, base_name, picture_places
from segkit.formats.pictures.look import look
from segkit.formats.pictures.scale import scale_image
from segkit.formats.shapes.entries import read_shapes
from segkit.formats.shapes.instances import in_order, join_instances
from segkit.formats.shapes.regions import ShapeOptions
from segkit.formats.source import Source, already_read

_UPLOAD = re.compile(r"[0-9a-f]{8}-(.+)")  # what Label Studio puts before the name of an uploaded file


def is_label_studio(top: Any) -> bool:
    """Whether a JSON document is a list of tasks, in either export."""
    return isinstance(top, list) and any(_is_task(each) or _min_results(each) for each in top[:20])


def _is_task(each: Any) -> bool:
    return isinstance(each, dict) and isinstance(each.get("data"), dict) and isinstance(each.get("annotations"), list)


def _min_results(each: Any) -> list[Any]:
    """The results in a record of JSON-MIN: every list of regions in it."""
    if not isinstance(each, dict):
        return []
    lists = [value for value in each.values() if isinstance(value, list)]
    return [raw for value in lists for raw in value if isinstance(raw, dict) and "original_width" in raw]


def open_label_studio(files: Sequence[tuple[Path, str]], images_dir: Path | None, shapes: ShapeOptions) -> Source:
    """The images of Label Studio's files, each with its name in reports. Bad input becomes findings.

    Args:
        files: The files.
        images_dir: Another folder to look for images in.
        shapes: How points get an area.
    """
    units = (unit for path, key in files for unit in _read(path, key, images_dir, shapes))
    return Source("labelstudio", units, already_read, files=len(files), parallel=False)


def _read(path: Path, key: str, images_dir: Path | None, options: ShapeOptions) -> Iterator[ReadFile]:
    try:
        top = read_json(path)
    except InputError as error:
        yield ReadFile.left_out(key, error.why(path))
        return
    if not is_label_studio(top):
        yield ReadFile.left_out(key, "not an export of Label Studio (JSON or JSON-MIN)")
        return
    places = picture_places(path, key, images_dir)
    for number, task in enumerate(top):
        if _is_task(task):
            results, findings = _chosen(task["annotations"], key, number)
            if task.get("predictions") and not task["annotations"]:
                why = "predictions are no annotations: an image without instances"
                findings.append(Finding(key, "noted", why, number, shapes=0))
            yield from _images(task["data"], results, findings, places, key, options)
        elif isinstance(task, dict):
            results = [{"value": raw, **raw} for raw in _min_results(task)]
            yield from _images(task, results, [], places, key, options)
        else:
            yield ReadFile(None, (Finding(key, "noted", "not a task", number, shapes=0),))


def _chosen(annotations: list[Any], key: str, number: int) -> tuple[list[Any], list[Finding]]:
    """The results of the annotation that counts, and rows on the regions of the others."""
    valid = [each for each in annotations if isinstance(each, dict) and isinstance(each.get("result"), list)]
    valid.sort(key=lambda each: (each.get("ground_truth") is not True, each.get("was_cancelled") is True))
    if not valid:
        return [], []
    skipped = valid[0].get("was_cancelled") is True
    others = valid if skipped else valid[1:]
    lost = [region for each in others for region in regions_of(each["result"])]
    why = "an annotation that was skipped" if skipped else "another annotation of the same image"
    rows = [Finding(key, "left out", why, number, shapes=len(lost))] if lost else []
    if skipped:
        return [], [*rows, Finding(key, "noted", "a task that was skipped", number, shapes=0)]
    return valid[0]["result"], rows


def _names(data: dict[str, Any]) -> list[str]:
    """The names that the picture of a task may have: of paths, URLs, local files (``?d=``), uploads without prefix."""
    texts = [value for value in data.values() if isinstance(value, str) and value]
    first = ("image", "img", "photo", "picture", "url")
    keyed = [data[name] for name in first if isinstance(data.get(name), str) and data[name]]
    names = []
    for text in dict.fromkeys([*keyed, *texts]):
        path = unquote(text.partition("?d=")[2] or text.partition("?")[0])
        names.append(re.sub(r"^[a-z0-9]+://", "", path))
        if match := _UPLOAD.fullmatch(base_name(path)):
            names.append(match[1])
    return names


def _images(
    data: dict[str, Any],
    results: list[Any],
    findings: list[Finding],
    places: PicturePlaces,
    file_key: str,
    options: ShapeOptions,
) -> Iterator[ReadFile]:
    """The images of a task; results say by ``to_name`` on which of several they are drawn."""
    pictures = {
        name: found
        for name, value in data.items()
        if isinstance(value, str) and PurePosixPath(base_name(value)).suffix.lower() in PICTURE_SUFFIXES
        if (found := places.find(*_names({name: value}))) is not None
    }
    drawn: dict[Any, list[Any]] = defaultdict(list)
    for result in results:
        drawn[result.get("to_name") if isinstance(result, dict) else None].append(result)
    named = [name for name in pictures if name in drawn]
    if len({*pictures.values()}) < 2 or (not named and len(drawn) < 2):
        yield _image(_names(data), results, findings, places, file_key, options)
        return
    for name in named:
        yield _image(_names({name: data[name]}), drawn.pop(name), findings, places, file_key, options)
        findings = []
    if lost := [region for some in drawn.values() for region in regions_of(some)]:
        why = "a task of several images does not say which one its regions are on"
        yield ReadFile(None, (*findings, Finding(file_key, "left out", why, shapes=len(lost))), len(lost))


def _image(
    names: list[str],
    results: list[Any],
    findings: list[Finding],
    places: PicturePlaces,
    file_key: str,
    options: ShapeOptions,
) -> ReadFile:
    regions = regions_of(results)
    num_shapes = len(regions) + sum(row.shapes for row in findings)
    found = places.find(*names) if names else None
    key = places.key_beside(file_key, base_name(names[0]) if names else "")
    if found is None:
        return ReadFile(
            None, (*findings, Finding(key or file_key, "left out", "image not found", shapes=len(regions))), num_shapes
        )
    key = places.key_beside(file_key, found.name)
    if found.parent not in places.folders:
        key = places.trees.below(found) or key  # its folder may be named after a split
    try:
        picture, frame, noticed = look(found, key, size_of(regions))
    except InputError as error:
        row = Finding(key, "left out", error.why(), shapes=len(regions))
        return ReadFile(None, (*findings, row), num_shapes)
    rows = [*findings, *noticed, *places.outside(found, names[0], key)]
    instances = _instances(regions, key, frame.drawn, rows, options)
    image = AnnotatedImage(key, picture, *frame.drawn, instances, annotation_file=file_key)
    return ReadFile(scale_image(image, frame.size, key, rows), tuple(rows), num_shapes)


def _instances(
    regions: Sequence[Region], key: str, size: tuple[int, int], rows: list[Finding], options: ShapeOptions
) -> tuple[Instance, ...]:
    whole: list[Instance] = []
    entries: list[dict[str, Any]] = []
    numbers: list[int] = []
    for number, region in enumerate(regions):
        label = region.labels[0] if region.labels else ""
        try:
            if not label:
                raise ValueError("no label")
            if region.raw.get("image_rotation"):
                raise ValueError("the image was turned in Label Studio")
            if region.kind == "brush":
                whole.append(replace(brush_instance(region, label, *size), number=number))
            elif region.kind == "rectangle" and not is_turned(region):
                whole.append(replace(box_instance(region, label, *size), number=number))
            else:
                entries.append(entry_of(region, label, *size))
                numbers.append(number)
        except ValueError as error:
            rows.append(Finding(key, "left out", str(error), number, label or None, region.kind))
            continue
        if len(region.labels) > 1:
            why = f"{len(region.labels)} labels: the first counts"
            rows.append(Finding(key, "changed", why, number, label, shapes=0))
    shapes = read_shapes(entries, key, rows, numbers)
    return in_order((*join_instances(shapes, key, *size, options, rows), *whole))
