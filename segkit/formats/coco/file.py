"""COCO JSON files, read: datasets and results.

Format: https://cocodataset.org/#format-data and #format-results. segkit adds one key to ``info``: ``uncovered``
(see ``segkit.data.records.Dataset``).
"""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from segkit.data.masks import Box, rle_area, rle_bbox, to_rle
from segkit.data.records import Annotation, Dataset, Polygons, Result
from segkit.errors import InputError
from segkit.formats.coco.document import read_document
from segkit.formats.coco.repairs import Repairs
from segkit.formats.coco.segmentation import read_segmentation, shown
from segkit.formats.coco.sizes import with_sizes
from segkit.formats.coco.values import (
    AnnotationValues,
    box,
    identity,
    is_finite,
    read_annotation,
    read_record,
    reference,
    required,
)
from segkit.formats.json_file import read_json
from segkit.formats.pictures.find import picture_places


def read_coco(path: Path) -> Dataset:
    """Read a COCO annotation file; absent ``area``, ``iscrowd`` and ``bbox`` are computed from the rest.

    Invalid values that are not needed are repaired; ``warnings`` of the dataset report them.

    Raises:
        InputError: It is no COCO annotation file, contradicts itself, or an annotation cannot be used.
    """
    document = read_document(path)
    if document.unusable:
        first = document.unusable[0]
        more = f" (and {len(document.unusable) - 1} more)" if len(document.unusable) > 1 else ""
        raise InputError(f"{path}: {first.why}{more}", f"leave such out with: segkit convert {path}")
    places = picture_places(path, path.name).for_names([image.file_name for image in document.images])
    images = with_sizes(path, document.images, places)
    sizes = {image.id: (image.height, image.width) for image in images}
    category_ids = {category.id for category in document.categories}
    repairs = Repairs(path)

    def read(raw: dict[str, Any]) -> Annotation:
        image_id = reference(raw, "image_id", sizes)
        values = read_annotation(raw, sizes[image_id], category_ids)
        if values.repairs:
            repairs.add(f"annotation {shown(raw.get('id'))}", values.repairs)
        return _annotation(_own_id(raw), image_id, values, sizes[image_id])

    try:
        annotations = tuple(
            read_record(raw, f"annotation {shown(raw.get('id', n)) if isinstance(raw, dict) else n}", read)
            for n, raw in enumerate(document.annotations)
        )
    except ValueError as error:
        raise InputError(f"{path}: {error}", f"leave such annotations out with: segkit convert {path}") from error
    warnings = [f"{path}: {repair}" for repair in document.repairs]
    ids = {annotation.id for annotation in annotations} - {None}
    if odd := len(annotations) - len(ids):
        annotations = tuple(replace(annotation, id=number) for number, annotation in enumerate(annotations, 1))
        warnings.append(f"{path}: {odd} annotation ids are missing or used twice: all are numbered anew")
    folder = places.folder_of([image.file_name for image in images])
    said = (*warnings, *repairs.warnings())
    return Dataset(images, annotations, document.categories, folder, document.uncovered, said, places.find)


def _own_id(raw: dict[str, Any]) -> Any:
    """The id of an annotation; None where it has none that can be used."""
    try:
        return identity(raw, "id")
    except ValueError:
        return None


def _annotation(annotation_id: Any, image_id: Any, values: AnnotationValues, size: tuple[int, int]) -> Annotation:
    mask, bbox, area = values.segmentation, values.bbox, values.area
    if mask is not None and (bbox is None or area is None):
        rle = to_rle(mask, *size)
        area = rle_area(rle) if area is None else area
        bbox = bbox or (_bbox_of(mask) if isinstance(mask, list) and mask else rle_bbox(rle))
    assert bbox is not None  # read_annotation has seen to that
    return Annotation(
        id=annotation_id,
        image_id=image_id,
        category_id=values.category_id,
        segmentation=mask,
        bbox=bbox,
        area=area if area is not None else bbox[2] * bbox[3],
        iscrowd=values.iscrowd,
        attributes=values.attributes,
    )


def _bbox_of(polygons: Polygons) -> Box:
    xs, ys = ([v for part in polygons for v in part[axis::2]] for axis in (0, 1))
    return (min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))


def read_results(path: Path, warnings: list[str] | None = None) -> list[Result]:
    """Read a COCO results file: a list of records with image, category, score, and a box or a segmentation.

    Args:
        path: The file.
        warnings: Takes a line for each kind of value that was repaired.

    Raises:
        InputError: It is something else.
    """
    top = read_json(path)
    if not isinstance(top, list):
        raise InputError(f"{path}: not a COCO results file: it must be a list of results", _hint_for(top, path))
    repairs = Repairs(path)
    results = []
    try:
        for number, raw in enumerate(top):
            found: list[str] = []
            results.append(read_record(raw, f"result {number}", partial(_result, repairs=found)))
            repairs.add(f"result {number}", found)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
    if warnings is not None:
        warnings += repairs.warnings()
    return results


def _hint_for(top: Any, path: Path) -> str | None:
    """What may be meant by a file that is no list of results."""
    if not isinstance(top, dict):
        return None
    if "images" in top and "categories" in top:
        return f"this has annotations, with which results are compared: segkit eval RESULTS.json --data {path}"
    if "shapes" in top:
        return "this is a LabelMe file: a folder of them is compared with others as segkit eval FOLDER --data OTHER"
    lists = [key for key, value in top.items() if isinstance(value, list) and value and isinstance(value[0], dict)]
    return f"save the list under {lists[0]!r} alone in a file" if lists else None


def _result(raw: dict[str, Any], repairs: list[str]) -> Result:
    image_id, category_id, score = identity(raw, "image_id"), identity(raw, "category_id"), required(raw, "score")
    if not is_finite(score):
        raise ValueError(f"its score is {shown(score)}, not a finite number")
    if abs(score) > sys.float_info.max:  # a whole number of more than 308 digits
        raise ValueError(f"its score is {shown(score)}, which is too large")
    bbox = box(raw["bbox"]) if raw.get("bbox") else None
    mask = read_segmentation(raw.get("segmentation"), None, repairs)
    return Result(image_id, category_id, float(score), bbox, mask)
