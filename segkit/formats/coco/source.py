"""COCO files as a source of a conversion: image by image, and nothing in them is trusted."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from segkit.data.masks import measure, to_rle
from segkit.data.pictures import is_file
from segkit.data.records import AnnotatedImage, Finding, Image, Instance, Picture, ReadFile, Segmentation, Uncovered
from segkit.errors import InputError
from segkit.formats.coco.file import find_images_dir, images_and_categories, is_coco, read_json

_KNOWN = {"id", "image_id", "category_id", "segmentation", "bbox", "area", "iscrowd", "attributes"}


@dataclass(frozen=True, slots=True)
class CocoSource:
    """One file: its images as they are asked for, and what holds for all of them."""

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
        image_id = raw.get("image_id") if isinstance(raw, dict) else None
        if isinstance(image_id, int | str) and image_id in known:
            by_image[image_id].append((number, raw))
        else:
            strays.append(Finding(key, "left out", f"an annotation of image {image_id!r}, which is not there", number))
    places = [find_images_dir(path, images), *([images_dir] if images_dir else [])]

    def each() -> Iterator[ReadFile]:
        if strays:
            yield ReadFile(None, tuple(strays), len(strays))
        for image in images:
            yield _image(image, by_image.pop(image.id, []), names, key, split, places, pictures)

    ordered = tuple(dict.fromkeys(name for _, name in sorted(names.items(), key=lambda item: _rank(item[0]))))
    info = top.get("info")
    ignores = isinstance(info, dict) and info.get("uncovered") == "ignore"
    return CocoSource(each(), len(images), ordered, "ignore" if ignores else "background")


def _rank(category_id: Any) -> tuple[bool, Any]:
    return isinstance(category_id, str), category_id


def _image(
    image: Image,
    raw: list[tuple[int, Any]],
    names: dict[Any, str],
    key: str,
    split: str | None,
    places: list[Path],
    pictures: bool,
) -> ReadFile:
    file_name = image.file_name.replace("\\", "/")
    base = PurePosixPath(file_name).name  # others keep the folders of their own machine
    path = next((place / name for name in (file_name, base) for place in places if is_file(place / name)), None)
    if path is None and pictures:
        why = f"picture {file_name} not found"
        return ReadFile(None, (Finding(key, "left out", why, shapes=len(raw)),), len(raw))
    findings: list[Finding] = []
    instances = []
    for number, annotation in raw:
        instance = _instance(annotation, number, names, key, image, findings)
        if instance is not None:
            instances.append(instance)
    safe = "/".join(part for part in PurePosixPath(file_name).parts if part not in ("..", "/", "."))
    picture = Picture(base or "image" if path is None else path.name, path)
    annotated = AnnotatedImage(safe, picture, image.height, image.width, tuple(instances), split, image.flags)
    return ReadFile(annotated, tuple(findings), len(raw))


def _instance(
    raw: Any, number: int, names: dict[Any, str], key: str, image: Image, findings: list[Finding]
) -> Instance | None:
    category = raw.get("category_id")
    name = names.get(category) if isinstance(category, int | str) else None

    def left_out(why: str) -> None:
        findings.append(Finding(key, "left out", why, number, name))

    if name is None:
        left_out(f"category {category!r} is not there")
        return None
    segmentation = _segmentation(raw.get("segmentation"), image)
    if segmentation is None:
        empty = not raw.get("segmentation")
        left_out("a box without a segmentation" if empty else "a segmentation that COCO does not know")
        return None
    area, bbox = measure(segmentation, image.height, image.width)
    if area == 0:
        left_out("covers no pixel of the image")
        return None
    own = raw.get("attributes")
    attributes = (own if isinstance(own, dict) else {}) | {k: v for k, v in raw.items() if k not in _KNOWN}
    kept = segmentation if isinstance(segmentation, list) else to_rle(segmentation, image.height, image.width)
    return Instance(name, kept, bbox, area, int(raw.get("iscrowd") in (1, True)), attributes)


def _segmentation(raw: Any, image: Image) -> Segmentation | None:
    """What COCO means by a segmentation, or None."""
    if isinstance(raw, list):
        parts = [part for part in raw if isinstance(part, list) and len(part) >= 6 and len(part) % 2 == 0]
        sound = all(type(v) in (int, float) and abs(v) < 1e6 for part in parts for v in part)
        return parts if parts and sound and len(parts) == len(raw) else None
    if not isinstance(raw, dict) or raw.get("size") != [image.height, image.width]:
        return None
    counts = raw.get("counts")
    if isinstance(counts, list):
        sound = all(type(v) is int and v >= 0 for v in counts) and sum(counts) == image.height * image.width
        return raw if sound else None  # type: ignore[return-value]
    return raw if isinstance(counts, str) and _sound_counts(counts, image.height * image.width) else None  # type: ignore[return-value]


def _sound_counts(counts: str, pixels: int) -> bool:
    """Whether compressed run lengths decode to the image's pixels: pycocotools would read past the end of others.

    The code is cocoapi's: six bits a character, five of them data, each count from the third on relative to the last
    but one (``rleFrString``).
    """
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        code = ord(character) - 48
        if not 0 <= code < 64:
            return False
        value |= (code & 0x1F) << shift
        shift += 5
        if not code & 0x20:
            if code & 0x10:
                value -= 1 << shift
            runs.append(value + runs[-2] if len(runs) > 2 else value)
            if runs[-1] < 0:
                return False
            value = shift = 0
    return shift == 0 and sum(runs) == pixels
