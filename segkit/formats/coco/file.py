"""COCO JSON files, read: datasets and results.

Format: https://cocodataset.org/#format-data and #format-results. segkit adds one key to ``info``: ``uncovered``
(see ``segkit.data.records.Dataset``).
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from segkit.data.masks import Box, rle_area, rle_bbox, to_rle
from segkit.data.records import Annotation, Category, Dataset, Image, Polygons, Result, Uncovered, replace_surrogates
from segkit.errors import InputError
from segkit.formats.coco.repairs import Repairs
from segkit.formats.coco.segmentation import read_segmentation
from segkit.formats.coco.values import AnnotationValues, box, identity, read_annotation, read_record, required
from segkit.formats.json_file import read_json
from segkit.formats.pictures.find import base_name


def is_coco(top: Any) -> bool:
    """Whether a JSON document has the three lists of a COCO annotation file."""
    lists = ("images", "annotations", "categories")
    return isinstance(top, dict) and all(isinstance(top.get(name), list) for name in lists)


def images_and_categories(path: Path, top: dict[str, Any]) -> tuple[tuple[Image, ...], tuple[Category, ...]]:
    """The image and category records of a COCO document.

    Raises:
        InputError: They are invalid, or ids are used twice.
    """
    try:
        images = tuple(_image(raw) for raw in top["images"])
        categories = tuple(
            Category(identity(c, "id"), replace_surrogates(str(c["name"])) or "unnamed") for c in top["categories"]
        )
        image_ids, category_ids = {image.id for image in images}, {category.id for category in categories}
    except (KeyError, TypeError, IndexError, ValueError, AttributeError) as error:
        what = f"key {error} is missing" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path}: not a COCO annotation file: {what}") from error
    for what, found, distinct in (("image", len(images), image_ids), ("category", len(categories), category_ids)):
        if len(distinct) != found:
            raise InputError(f"{path}: {found - len(distinct)} {what} ids are used twice", "give every one its own id")
    return images, categories


def _image(raw: dict[str, Any]) -> Image:
    """An image's record; height and width are 0 where the file does not have them, or they are no sizes."""
    name = raw.get("file_name") or base_name(_url(raw)) or str(raw["id"])
    if not isinstance(name, str):
        raise ValueError(f"image {raw['id']!r} has no file name")
    height, width = _side(raw.get("height")), _side(raw.get("width"))
    if height * width == 0 or height * width >= 1 << 32:  # more than COCO's run lengths can count
        height = width = 0
    flags = raw.get("flags")
    flags = [flag for flag in flags if isinstance(flag, str)] if isinstance(flags, list) else []
    return Image(identity(raw, "id"), name, height, width, tuple(flags))


def _side(value: Any) -> int:
    if isinstance(value, str) and len(value) < 12 and value.strip().isdecimal():
        value = int(value)
    whole = type(value) is int or (type(value) is float and value.is_integer())
    return int(value) if whole and 0 < value < 1 << 31 else 0


def _url(raw: dict[str, Any]) -> str:
    return next((url for key in ("coco_url", "flickr_url") if isinstance(url := raw.get(key), str) and url), "")


def image_urls(images: Sequence[Any]) -> dict[Any, str]:
    """The ends of URLs (folder and file) by image id, of the records that have one: LVIS has nothing else."""
    found = ((raw.get("id"), _url(raw)) for raw in images)
    return {number: "/".join(url.partition("?")[0].split("/")[-2:]) for number, url in found if url}


def read_coco(path: Path) -> Dataset:
    """Read a COCO annotation file; absent ``area``, ``iscrowd`` and ``bbox`` are computed from the rest.

    Invalid values that are not needed are repaired; ``warnings`` of the dataset report them.

    Raises:
        InputError: It is no COCO annotation file, contradicts itself, or an annotation cannot be used.
    """
    top = read_json(path)
    if not is_coco(top):
        raise InputError(
            f"{path}: not a COCO annotation file: it needs the lists images, annotations and categories",
            "make one with: segkit convert LABELME-DIR",
        )
    images, categories = images_and_categories(path, top)
    sizes = {image.id: (image.height, image.width) for image in images}
    category_ids = {category.id for category in categories}
    repairs = Repairs(path)

    def read(raw: dict[str, Any]) -> Annotation:
        annotation_id, values = identity(raw, "id"), read_annotation(raw, sizes, category_ids)
        repairs.add(f"annotation {annotation_id}", values.repairs)
        return _annotation(annotation_id, values, sizes[values.image_id])

    try:
        annotations = tuple(
            read_record(raw, f"annotation {raw.get('id', n) if isinstance(raw, dict) else n}", read)
            for n, raw in enumerate(top["annotations"])
        )
    except ValueError as error:
        raise InputError(f"{path}: {error}", f"leave such annotations out with: segkit convert {path}") from error
    if twice := len(annotations) - len({annotation.id for annotation in annotations}):
        raise InputError(f"{path}: {twice} annotation ids are used twice", "give every one its own id")
    return Dataset(
        images, annotations, categories, find_images_dir(path, images), uncovered_pixels(top), repairs.warnings()
    )


def uncovered_pixels(top: dict[str, Any]) -> Uncovered:
    """What pixels under no annotation are, as ``info`` of a document has it."""
    info = top.get("info")
    return "ignore" if isinstance(info, dict) and info.get("uncovered") == "ignore" else "background"


def _annotation(annotation_id: Any, values: AnnotationValues, size: tuple[int, int]) -> Annotation:
    mask, bbox, area = values.segmentation, values.bbox, values.area
    if mask is not None and (bbox is None or area is None):
        rle = to_rle(mask, *size)
        area = rle_area(rle) if area is None else area
        bbox = bbox or (_bbox_of(mask) if isinstance(mask, list) and mask else rle_bbox(rle))
    assert bbox is not None  # read_annotation has seen to that
    return Annotation(
        id=annotation_id,
        image_id=values.image_id,
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


def find_images_dir(path: Path, images: tuple[Image, ...]) -> Path:
    """The folder that ``file_name`` is relative to: the first of the usual ones with the first image."""
    folder = path.absolute().parent
    below = [folder / "images", folder, folder / path.stem]
    for candidate in [*below, folder.parent / "images", folder.parent / path.stem, folder.parent]:
        if images and (candidate / images[0].file_name).is_file():
            return candidate
    return below[0] if below[0].is_dir() else folder


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
        raise InputError(f"{path}: not a COCO results file: it must be a list of results")
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


def _result(raw: dict[str, Any], repairs: list[str]) -> Result:
    image_id, category_id, score = identity(raw, "image_id"), identity(raw, "category_id"), required(raw, "score")
    if type(score) not in (int, float) or not abs(score) < 1e300:
        raise ValueError(f"its score is {str(score)[:20]}, not a finite number")
    bbox = box(raw["bbox"]) if raw.get("bbox") else None
    mask = read_segmentation(raw.get("segmentation"), None, repairs)
    return Result(image_id, category_id, float(score), bbox, mask)
