"""COCO files as the source of a conversion, image by image; every value is checked."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from segkit.data.files import find_file
from segkit.data.masks import measure, to_rle
from segkit.data.records import AnnotatedImage, Finding, Image, Instance, Picture, ReadFile, Uncovered, id_order
from segkit.errors import InputError
from segkit.formats.coco.file import find_images_dir, images_and_categories, is_coco, uncovered_pixels
from segkit.formats.coco.segmentation import NO_POLYGON
from segkit.formats.coco.values import AnnotationValues, read_annotation, read_record, reference
from segkit.formats.json_file import read_json
from segkit.formats.source import Source, already_read, split_of_file


class _File(NamedTuple):
    """What the images of a file have in common."""

    key: str
    split: str | None
    names: dict[Any, str]  # of categories, by id
    folders: list[Path]  # where pictures are looked for
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
        folders = [find_images_dir(path, images), *([images_dir] if images_dir else [])]
        parts.append(
            _images(_File(key, split_of_file(path.stem), names, folders, needs_pictures), images, top["annotations"])
        )
        labels |= {names[each]: None for each in sorted(names, key=id_order)}
        uncovered, total = uncovered_pixels(top), total + len(images)
    units = chain.from_iterable(parts)
    return Source("coco", units, already_read, total, len(files), False, tuple(labels), uncovered)


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
    file_name = image.file_name.replace("\\", "/")
    base = PurePosixPath(file_name).name  # it may have the folders of another machine
    path = find_file(file.folders, [file_name]) or find_file(file.folders, [base])
    if path is None and file.needs_pictures:
        return ReadFile.left_out(file.key, f"image {file_name} not found", len(raw))
    findings: list[Finding] = []
    read = [_instance(file, image, annotation, number, findings) for number, annotation in raw]
    instances = tuple(instance for instance in read if instance is not None)
    safe = "/".join(part for part in PurePosixPath(file_name).parts if part not in ("..", "/", "."))
    picture = Picture(base or "image" if path is None else path.name, path)
    annotated = AnnotatedImage(safe, picture, image.height, image.width, instances, file.split, image.flags)
    return ReadFile(annotated, tuple(findings), len(raw))


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
