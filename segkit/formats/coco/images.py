"""COCO files as the source of a conversion, image by image; every value is checked."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from segkit.data.masks import measure, to_rle
from segkit.data.records import AnnotatedImage, Finding, Image, Instance, Picture, ReadFile, Uncovered, id_order
from segkit.errors import InputError
from segkit.formats.coco.file import image_urls, images_and_categories, is_coco, uncovered_pixels
from segkit.formats.coco.frames import fit_in
from segkit.formats.coco.segmentation import NO_POLYGON
from segkit.formats.coco.values import AnnotationValues, read_annotation, read_record, reference
from segkit.formats.json_file import read_json
from segkit.formats.pictures.find import PicturePlaces, base_name, picture_places
from segkit.formats.pictures.look import Frame, look
from segkit.formats.pictures.scale import scale_image
from segkit.formats.source import Source, already_read


class _File(NamedTuple):
    """What the images of a file have in common."""

    key: str
    folder: str  # before the names of pictures: where files of several folders may have pictures of one name
    names: dict[Any, str]  # of categories, by id
    urls: dict[Any, str]  # of images, by id
    places: PicturePlaces
    needs_pictures: bool


def open_coco(files: Sequence[tuple[Path, str]], images_dir: Path | None, *, needs_pictures: bool) -> Source:
    """The images of COCO annotation files; each file is one split if it is named after one.

    Args:
        files: The files, each with its name in reports.
        images_dir: Where else to look for pictures.
        needs_pictures: Whether images without a picture are of no use.
    """
    parts: list[Iterable[ReadFile]] = []
    labels: dict[str, None] = {}
    prefixes = _prefixes([key for _, key in files])
    total = 0
    uncovered: Uncovered = "background"
    for path, key in files:
        try:
            top = read_json(path)
            if not is_coco(top):
                raise InputError("not a COCO annotation file: it needs the lists images, annotations and categories")
            images, categories = images_and_categories(path, top)
        except InputError as error:
            parts.append([ReadFile.left_out(key, error.message)])
            continue
        names = {category.id: category.name for category in categories}
        urls, places = image_urls(top["images"]), picture_places(path, key, images_dir)
        file = _File(key, prefixes[key], names, urls, places, needs_pictures)
        parts.append(_images(file, images, top["annotations"]))
        labels |= {names[each]: None for each in sorted(names, key=id_order)}
        uncovered, total = uncovered_pixels(top), total + len(images)
    units = chain.from_iterable(parts)
    return Source("coco", units, already_read, total, len(files), False, tuple(labels), uncovered)


def _prefixes(keys: Sequence[str]) -> dict[str, str]:
    """The folder that the pictures of a file belong to, where files are in several: ``valid`` of ``valid/a.json``."""
    folders = {key: key.rpartition("/")[0] for key in keys}
    if len(set(folders.values())) < 2:
        return dict.fromkeys(keys, "")
    return {
        key: "/".join(part for part in folder.split("/") if part != "annotations") for key, folder in folders.items()
    }


def _images(file: _File, images: Sequence[Image], annotations: list[Any]) -> Iterator[ReadFile]:
    """The images of a file, and before them the annotations that belong to none."""
    by_image: dict[Any, list[tuple[int, Any]]] = {image.id: [] for image in images}
    strays: list[Finding] = []
    for number, raw in enumerate(annotations):
        try:
            image_id = read_record(raw, "annotation", lambda raw: reference(raw, "image_id", by_image))
        except ValueError as error:
            strays.append(Finding(file.key, "left out", str(error), number))
        else:
            by_image[image_id].append((number, raw))
    if strays:
        yield ReadFile(None, tuple(strays), len(strays))
    for image in images:
        yield _image(file, image, by_image.pop(image.id))


def _image(file: _File, image: Image, raw: list[tuple[int, Any]]) -> ReadFile:
    """Read an image with its annotations, which come with their index in the file."""
    findings: list[Finding] = []
    name = PurePosixPath(image.file_name.replace("\\", "/"))
    inside = "/".join(part for part in name.parts if part not in ("..", "/", "."))
    key = f"{file.folder}/{inside}" if file.folder and not inside.startswith(f"{file.folder}/") else inside
    try:
        picture, frame = _picture(file, image, key, [annotation for _, annotation in raw], findings)
    except InputError as error:
        return ReadFile.left_out(key, error.message, len(raw))
    drawn = replace(image, height=frame.drawn[0], width=frame.drawn[1])
    read = [_instance(file, drawn, annotation, number, findings) for number, annotation in raw]
    instances = tuple(instance for instance in read if instance is not None)
    annotated = AnnotatedImage(key, picture, *frame.drawn, instances, flags=image.flags, annotation_file=file.key)
    annotated = scale_image(annotated, frame.size, key, findings)
    return ReadFile(annotated, tuple(findings), len(raw))


def _picture(file: _File, image: Image, key: str, raw: list[Any], findings: list[Finding]) -> tuple[Picture, Frame]:
    """The picture of an image, and the frame of its annotations.

    Args:
        file: Where it is named.
        image: Its record.
        key: Names it in findings.
        raw: Its annotations.
        findings: Takes what is noticed.

    Raises:
        InputError: There is none that can be used.
    """
    declared = (image.height, image.width) if image.height else None
    path = file.places.find(image.file_name, file.urls.get(image.id, ""))
    if path is None:
        if file.needs_pictures:
            raise InputError("image not found")
        if declared is None:
            raise InputError("image not found, and its size is not in the file")
        return Picture(base_name(image.file_name) or "image"), Frame(declared, declared)
    seen = look(path, key, declared, lambda size: fit_in(raw, size))
    findings += [*seen.findings, *file.places.outside(path, image.file_name, key)]
    return seen.picture, seen.frame


def _instance(file: _File, image: Image, raw: dict[str, Any], number: int, findings: list[Finding]) -> Instance | None:
    category = raw.get("category_id")
    name = file.names.get(category) if isinstance(category, int | str) else None
    try:
        values = read_annotation(raw, {image.id: (image.height, image.width)}, file.names)
        instance = _of_values(file.names[values.category_id], values, image)
    except ValueError as error:
        findings.append(Finding(file.key, "left out", str(error), number, name))
        return None
    findings += [Finding(file.key, "repaired", repair, number, name, shapes=0) for repair in values.repairs]
    return instance


def _of_values(name: str, values: AnnotationValues, image: Image) -> Instance:
    """The instance of an annotation's values.

    Raises:
        ValueError: It covers nothing of the image.
    """
    segmentation, height, width = values.segmentation, image.height, image.width
    if segmentation is None:
        assert values.bbox is not None  # read_annotation has seen to that
        return Instance.of_box(name, values.bbox, height, width, values.iscrowd, values.attributes)
    if not segmentation:
        raise ValueError(NO_POLYGON)
    area, bbox = measure(segmentation, height, width)
    if area == 0:
        raise ValueError("covers no pixel of the image")
    kept = segmentation if isinstance(segmentation, list) else to_rle(segmentation, height, width)
    return Instance(name, kept, bbox, area, values.iscrowd, values.attributes)
