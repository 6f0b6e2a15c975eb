"""COCO's panoptic segmentation: a JSON file with the segments of each image, and a folder of PNGs with their ids.

The id of a pixel is red + 256 * green + 65536 * blue; 0 is no segment. Categories with ``isthing`` 0 are stuff: one
segment for each category and image. Format: https://cocodataset.org/#format-data
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from segkit.data.files import find_file
from segkit.data.records import Finding, Image, Instance, ReadFile, Uncovered, id_order
from segkit.errors import InputError
from segkit.formats.coco.document import Document, read_document
from segkit.formats.coco.segmentation import shown
from segkit.formats.coco.values import identity, read_record, reference
from segkit.formats.label_images.pairs import ImageAndMask
from segkit.formats.label_images.read import Ids, read_colours, read_pair, to_instance, values_in
from segkit.formats.pictures.find import PicturePlaces, inner_path, is_plain, picture_places
from segkit.formats.source import Source


class Segments(NamedTuple):
    """The segments of an image."""

    picture: Path | None
    mask: Path | None
    mask_name: str
    key: str  # of the image, in reports
    file: str  # of the annotation file
    records: list[Any]
    names: dict[Any, str]  # of categories, by id
    unusable: str | None = None  # why there are none


def open_panoptic(files: Sequence[tuple[Path, str]], images_dir: Path | None) -> Source:
    """The images of panoptic annotation files; files of another kind become findings.

    Pixels without a segment are unlabelled where a category is stuff, else background.

    Args:
        files: The files, each with its name in reports.
        images_dir: Where else to look for pictures.
    """
    units: list[Segments] = []
    findings: list[Finding] = []
    labels: dict[str, None] = {}
    stuff: set[str] = set()
    uncovered: Uncovered = "background"
    for path, key in files:
        try:
            document = read_document(path, panoptic=True)
        except InputError as error:
            findings.append(Finding(key, "left out", error.message.removeprefix(f"{path}: "), shapes=0))
            continue
        findings += document.findings(key)
        names = {category.id: category.name for category in document.categories}
        places = picture_places(path, key, images_dir).for_names([image.file_name for image in document.images])
        masks = path.absolute().parent / path.stem
        places = replace(places, folders=tuple(folder for folder in places.folders if folder != masks))
        units += _units(path, key, document, names, places)
        labels |= {names[each]: None for each in sorted(names, key=id_order)}
        stuff |= {names[each] for each in document.stuff}
        uncovered = document.uncovered
    return Source(
        "panoptic",
        units,
        read,
        len(units),
        len(files),
        labels=tuple(labels),
        uncovered=uncovered,
        findings=tuple(findings),
        stuff=frozenset(stuff),
    )


def _units(
    path: Path, key: str, document: Document, names: dict[Any, str], places: PicturePlaces
) -> Iterator[Segments]:
    """The images of a file with their segments; records that belong to none come last."""
    images = {image.id: image for image in document.images}
    folders = [path.parent / path.stem, path.parent, *sorted(p for p in path.parent.iterdir() if p.is_dir())]
    for number, raw in enumerate(document.annotations):
        records = raw.get("segments_info") if isinstance(raw, dict) else None
        records = records if isinstance(records, list) else []
        try:
            image: Image = images.pop(read_record(raw, "", partial(reference, key="image_id", known=images)))
        except ValueError as error:
            yield Segments(None, None, "", key, key, records, names, f"record {number}: {error}")
            continue
        name = raw.get("file_name")
        mask_name = inner_path(name) if isinstance(name, str) else f"{Path(image.file_name).stem}.png"
        picture = places.find(image.file_name, document.urls.get(image.id, ""))
        if picture is not None and path.absolute().parent / path.stem in picture.absolute().parents:
            picture = None  # a PNG of segments
        mask = find_file(folders, [name, mask_name] if isinstance(name, str) and is_plain(name) else [mask_name])
        yield Segments(picture, mask, mask_name, places.inner_path(image.file_name), key, records, names)
    for image in images.values():
        yield Segments(None, None, "", image.file_name, key, [], names, "an image without a record of its segments")


def read(unit: Segments) -> ReadFile:
    """Read an image. Never raises for bad input: that becomes a finding."""
    why = unit.unusable
    if why is None and unit.picture is None:
        why = "image not found"
    if why is None and unit.mask is None:
        why = f"its PNG of segments {unit.mask_name!r} was not found"
    if why is not None:
        return ReadFile.left_out(unit.key, why, len(unit.records))
    pair = ImageAndMask(unit.picture, unit.mask, unit.key)
    outcome = read_pair(pair, partial(_instances, unit), read=read_colours, num_shapes=len(unit.records))
    if outcome.image is None:
        return outcome
    return replace(outcome, image=replace(outcome.image, annotation_file=unit.file))


def _instances(unit: Segments, colours: Ids, findings: list[Finding]) -> Iterable[Instance]:
    """The segments of an image; each of its records becomes an instance or a finding."""
    there = set(values_in(colours)) - {0}
    seen: set[int] = set()
    for number, raw in enumerate(unit.records):
        name = None
        try:
            segment, category, crowd = read_record(raw, "", partial(_segment, names=unit.names))
            name = unit.names[category]
            colour = segment % 256 << 16 | segment // 256 % 256 << 8 | segment // 65536
            if segment in seen:
                raise ValueError(f"segment {segment} is there twice")
            seen.add(segment)
            if colour not in there:
                raise ValueError(f"segment {segment} has no pixel in {unit.mask_name}")
        except ValueError as error:
            findings.append(Finding(unit.key, "left out", str(error), number, name))
            continue
        there.discard(colour)
        instance = to_instance(name, np.asarray(colours == colour))
        yield Instance(name, instance.segmentation, instance.bbox, instance.area, crowd)
    if there:
        why = f"{len(there)} ids in {unit.mask_name} are of no segment: their pixels belong to nothing"
        findings.append(Finding(unit.key, "noted", why, shapes=0))


def _segment(raw: dict[str, Any], names: dict[Any, str]) -> tuple[int, Any, int]:
    """Id, category and whether it is a crowd.

    Raises:
        ValueError: They are invalid.
    """
    segment = identity(raw, "id")
    if not isinstance(segment, int) or not 0 < segment < 1 << 24:
        raise ValueError(f"id is {shown(segment)}, not a number from 1 to {(1 << 24) - 1}")
    return segment, reference(raw, "category_id", names), int(raw.get("iscrowd") in (1, True, "1"))
