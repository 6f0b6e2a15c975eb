"""COCO files as the source of a conversion, image by image; every value is checked."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from segkit.data.files import is_file
from segkit.data.masks import measure, to_rle
from segkit.data.records import AnnotatedImage, Finding, Image, Instance, Picture, ReadFile, Uncovered, id_order
from segkit.errors import InputError
from segkit.formats.coco.file import find_images_dir, images_and_categories, is_coco, read_json, uncovered_pixels
from segkit.formats.coco.segmentation import NO_POLYGON
from segkit.formats.coco.values import read_annotation, read_record, reference


class _File(NamedTuple):
    """What the images of a file have in common."""

    key: str
    split: str | None
    names: dict[Any, str]  # of categories, by id
    folders: list[Path]  # where pictures are looked for
    needs_pictures: bool


@dataclass(frozen=True, slots=True)
class CocoSource:
    """One file: its images, read one at a time, and its categories."""

    images: Iterator[ReadFile]
    num_images: int
    labels: tuple[str, ...]
    uncovered: Uncovered


def open_coco(path: Path, key: str, split: str | None, images_dir: Path | None, *, pictures: bool = True) -> CocoSource:
    """Read a COCO annotation file.

    Args:
        path: The file.
        key: Its name in reports.
        split: Which split its images belong to, if it says so.
        images_dir: Where else to look for pictures.
        pictures: Whether images without a picture are of no use.

    Raises:
        InputError: It is no COCO annotation file.
    """
    top = read_json(path)
    if not is_coco(top):
        raise InputError("not a COCO annotation file: it needs the lists images, annotations and categories")
    images, categories = images_and_categories(path, top)
    names = {category.id: category.name for category in categories}
    by_image: dict[Any, list[tuple[int, Any]]] = defaultdict(list)
    strays: list[Finding] = []
    known = {image.id for image in images}
    for number, raw in enumerate(top["annotations"]):
        try:
            image_id = read_record(raw, "annotation", lambda raw: reference(raw, "image_id", known))
        except ValueError as error:
            strays.append(Finding(key, "left out", str(error), number))
        else:
            by_image[image_id].append((number, raw))
    folders = [find_images_dir(path, images), *([images_dir] if images_dir else [])]

    file = _File(key, split, names, folders, pictures)

    def each() -> Iterator[ReadFile]:
        if strays:
            yield ReadFile(None, tuple(strays), len(strays))
        for image in images:
            yield _image(file, image, by_image.pop(image.id, []))

    ordered = tuple(dict.fromkeys(name for _, name in sorted(names.items(), key=lambda item: id_order(item[0]))))
    return CocoSource(each(), len(images), ordered, uncovered_pixels(top))


def _image(file: _File, image: Image, raw: list[tuple[int, Any]]) -> ReadFile:
    """Read an image with its annotations, which come with their index in the file."""
    file_name = image.file_name.replace("\\", "/")
    base = PurePosixPath(file_name).name  # it may have the folders of another machine
    path = next(
        (folder / name for name in (file_name, base) for folder in file.folders if is_file(folder / name)), None
    )
    if path is None and file.needs_pictures:
        why = f"image {file_name} not found"
        return ReadFile(None, (Finding(file.key, "left out", why, shapes=len(raw)),), len(raw))
    findings: list[Finding] = []
    instances = []
    for number, annotation in raw:
        instance = _instance(file, image, annotation, number, findings)
        if instance is not None:
            instances.append(instance)
    safe = "/".join(part for part in PurePosixPath(file_name).parts if part not in ("..", "/", "."))
    picture = Picture(base or "image" if path is None else path.name, path)
    annotated = AnnotatedImage(safe, picture, image.height, image.width, tuple(instances), file.split, image.flags)
    return ReadFile(annotated, tuple(findings), len(raw))


def _instance(file: _File, image: Image, raw: dict[str, Any], number: int, findings: list[Finding]) -> Instance | None:
    category = raw.get("category_id")
    name = file.names.get(category) if isinstance(category, int | str) else None

    def left_out(why: str) -> None:
        findings.append(Finding(file.key, "left out", why, number, name))

    try:
        values = read_annotation(raw, {image.id: (image.height, image.width)}, file.names)
    except ValueError as error:
        left_out(str(error))
        return None
    segmentation = values.segmentation
    if not segmentation:
        left_out("a box without a segmentation" if segmentation is None else NO_POLYGON)
        return None
    area, bbox = measure(segmentation, image.height, image.width)
    if area == 0:
        left_out("covers no pixel of the image")
        return None
    findings += [Finding(file.key, "repaired", repair, number, name, shapes=0) for repair in values.repairs]
    kept = segmentation if isinstance(segmentation, list) else to_rle(segmentation, image.height, image.width)
    return Instance(file.names[values.category_id], kept, bbox, area, values.iscrowd, values.attributes)
