"""COCO files as the source of a conversion, image by image; every value is checked."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from segkit.data.records import AnnotatedImage, Finding, Image, Picture, ReadFile, Uncovered, id_order
from segkit.errors import InputError
from segkit.formats.coco.document import Document, read_document
from segkit.formats.coco.frames import fit_in
from segkit.formats.coco.instances import CocoFile, RawAnnotation, Unit, join_units, read_instances
from segkit.formats.coco.kinds import NoInstances
from segkit.formats.coco.segmentation import shown
from segkit.formats.coco.values import identity, read_record
from segkit.formats.pictures.find import base_name, picture_places
from segkit.formats.pictures.look import Frame, look
from segkit.formats.pictures.scale import scale_image
from segkit.formats.source import Source, already_read


def open_coco(files: Sequence[tuple[Path, str]], images_dir: Path | None, *, needs_pictures: bool) -> Source:
    """The images of COCO annotation files; each file is one split if it is named after one.

    An image that several files of a split annotate, as COCO's own instances and keypoints, is one image.

    Args:
        files: The files, each with its name in reports.
        images_dir: Where else to look for pictures.
        needs_pictures: Whether images without a picture are of no use.
    """
    rows: list[ReadFile] = []  # of files, and of annotations that belong to no image
    units: list[list[Unit]] = []
    labels: dict[str, None] = {}
    stuff: set[str] = set()
    prefixes = _prefixes([key for _, key in files])
    uncovered: Uncovered = "background"
    for path, key in files:
        try:
            document = read_document(path)
        except InputError as error:
            why = error.why(path) if isinstance(error, NoInstances) else error.message.removeprefix(f"{path}: ")
            rows.append(ReadFile.left_out(key, why))
            continue
        names = {category.id: category.name for category in document.categories}
        unusable = {(each.what, each.id): each.why for each in document.unusable}
        places = picture_places(path, key, images_dir).for_names([image.file_name for image in document.images])
        file = CocoFile(key, prefixes[key], names, unusable, document.urls, places, needs_pictures)
        rows.append(ReadFile(None, tuple(document.findings(key))))
        units.append(_units(file, document, rows))
        labels |= {names[each]: None for each in sorted(names, key=id_order)}
        uncovered = document.uncovered
        stuff |= {names[each] for each in document.stuff}
    joined = join_units(units, rows) if len(units) > 1 else chain.from_iterable(units)
    total = sum(map(len, units))
    parts = chain(iter(rows), (_image(unit) for unit in joined))
    return Source(
        "coco", parts, already_read, total, len(files), False, tuple(labels), uncovered, stuff=frozenset(stuff)
    )


def _prefixes(keys: Sequence[str]) -> dict[str, str]:
    """The folder that the pictures of a file belong to, where files are in several: ``valid`` of ``valid/a.json``."""
    folders = {key: key.rpartition("/")[0] for key in keys}
    if len(set(folders.values())) < 2:
        return dict.fromkeys(keys, "")
    return {
        key: "/".join(part for part in folder.split("/") if part != "annotations") for key, folder in folders.items()
    }


def _units(file: CocoFile, document: Document, rows: list[ReadFile]) -> list[Unit]:
    """The images of a file with their annotations; those that belong to none become findings."""
    by_image: dict[Any, list[RawAnnotation]] = {image.id: [] for image in document.images}
    strays: list[Finding] = []
    for number, record in enumerate(document.annotations):
        try:
            by_image[identity(record, "image_id")].append(RawAnnotation(file, number, record))
        except (KeyError, ValueError, TypeError, AttributeError):
            strays.append(Finding(file.key, "left out", _why_stray(file, record), number))
    if strays:
        rows.append(ReadFile(None, tuple(strays), len(strays)))
    return [Unit(file, image, by_image[image.id]) for image in document.images]


def _why_stray(file: CocoFile, record: Any) -> str:
    """Why an annotation belongs to no image."""
    try:
        number = read_record(record, "", lambda raw: identity(raw, "image_id"))
    except ValueError as error:
        return str(error)
    return file.unusable.get(("image", number)) or f"image_id is {shown(record['image_id'])}, which is not in the file"


def _image(unit: Unit) -> ReadFile:
    """Read an image with its annotations."""
    file, image, raw = unit
    findings: list[Finding] = []
    inside = file.places.inner_path(image.file_name) or str(image.id)
    key = f"{file.folder}/{inside}" if file.folder and not inside.startswith(f"{file.folder}/") else inside
    path = file.places.find(image.file_name, file.urls.get(image.id, ""))
    if path is not None and "/" not in inside and path.parent not in file.places.folders:
        key = file.places.trees.below(path) or key  # its folder may be named after a split
    try:
        picture, frame = _picture(file, image, path, key, [each.record for each in raw], findings)
    except InputError as error:
        return ReadFile.left_out(key, error.why(), len(raw))
    instances = read_instances(raw, key, *frame.drawn, findings)
    annotated = AnnotatedImage(key, picture, *frame.drawn, instances, flags=image.flags, annotation_file=file.key)
    annotated = scale_image(annotated, frame.size, key, findings)
    return ReadFile(annotated, tuple(findings), len(raw))


def _picture(
    file: CocoFile, image: Image, path: Path | None, key: str, raw: list[Any], findings: list[Finding]
) -> tuple[Picture, Frame]:
    """The picture of an image, and the frame of its annotations.

    Args:
        file: Where it is named.
        image: Its record.
        path: The picture; None: it was not found.
        key: Names it in findings.
        raw: Its annotations.
        findings: Takes what is noticed.

    Raises:
        InputError: There is none that can be used.
    """
    declared = (image.height, image.width) if image.height else None
    if path is None:
        if file.needs_pictures:
            raise InputError("image not found")
        if declared is None:
            raise InputError("image not found, and its size is not in the file")
        return Picture(base_name(image.file_name) or "image"), Frame(declared, declared)
    try:
        seen = look(path, key, declared, lambda size: fit_in(raw, size))
    except InputError as error:
        if file.needs_pictures or declared is None:
            raise
        findings.append(Finding(key, "noted", error.message, shapes=0))  # only annotations are converted
        return Picture(path.name), Frame(declared, declared)
    findings += [*seen.findings, *file.places.outside(path, image.file_name, key)]
    return seen.picture, seen.frame
