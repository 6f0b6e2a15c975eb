"""Formats that give every pixel one id: VOC, instance ids, class ids. Later instances are over earlier ones."""

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
from PIL import Image

from segkit.convert.output import OutputDataset
from segkit.convert.spool import ImageEntry
from segkit.data.masks import rle_bbox, rle_to_mask, to_rle
from segkit.data.records import BACKGROUND, IGNORE, Instance
from segkit.errors import InputError
from segkit.formats.label_images.idmask import LIST
from segkit.formats.label_images.semantic import IGNORED_ID
from segkit.text import spreadsheet_cell

Numbers = npt.NDArray[Any]  # [H, W]
_VOID = 255


def write_idmask_dataset(output: OutputDataset) -> None:
    """Write ``images/`` and ``masks/`` (16-bit instance ids), in a folder for each split if there are several."""
    several = len(output.splits) > 1
    folders = {split: f"{split}/" if several else "" for split in output.splits}
    output.move_pictures([f"{folders[image.split]}images/{image.name}" for image in output.images])
    with (output.root / LIST).open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("file", "instance", "category"))
        for entry, name, split in output.images_to_write():
            instances = [each for each in _with_masks(output, entry) if each.label != IGNORE]
            numbers, kept = _paint(output, entry, instances, 65535)
            mask = f"{folders[split]}masks/{PurePosixPath(name).with_suffix('.png')}"
            _save(Image.fromarray(numbers.astype(np.uint16)), output.root / mask)
            rows.writerows(
                (spreadsheet_cell(mask), number, spreadsheet_cell(instance.label)) for number, instance in kept
            )


def write_semantic_dataset(output: OutputDataset) -> None:
    """Write images in ``<split>/``, class ids in ``<split>annot/``, and ``classes.txt``.

    Where pixels under no instance are background, that is class 0 and called ``_background_``; where they are
    unlabelled, they are 255. Regions to ignore are 255 too.
    """
    first = 0 if output.uncovered == "ignore" else 1
    ids = {category.name: category.id - 1 + first for category in output.categories} | {IGNORE: IGNORED_ID}
    if len(output.categories) + first > IGNORED_ID:
        raise InputError(f"{len(output.categories)} categories are too many for class-id PNGs", "use fewer: --map")
    output.move_pictures([f"{image.split}/{image.name}" for image in output.images])
    for entry, name, split in output.images_to_write():
        classes = np.full((entry.height, entry.width), 0 if first else IGNORED_ID, np.uint8)
        for instance in _with_masks(output, entry):
            _fill(classes, instance, ids[instance.label])
        _save(Image.fromarray(classes), output.root / f"{split}annot" / PurePosixPath(name).with_suffix(".png"))
    names = [f"0 {BACKGROUND}"] * first + [f"{ids[c.name]} {c.name}" for c in output.categories]
    output.write_lines("classes.txt", [*names, f"{IGNORED_ID} {IGNORE}"])


def write_voc_dataset(output: OutputDataset) -> None:
    """Write VOC's folders; they have no subfolders."""
    names = [PurePosixPath(name) for name in _flat_names([image.name for image in output.images])]
    masks = [PurePosixPath(name) for name in _flat_names([str(name.with_suffix(".png")) for name in names])]
    pictures = [str(mask.with_suffix(name.suffix)) for mask, name in zip(masks, names, strict=True)]
    output.move_pictures([f"JPEGImages/{name}" for name in pictures])
    numbers = {category.name: category.id for category in output.categories} | {IGNORE: _VOID}
    if len(output.categories) >= _VOID:
        raise InputError(f"{len(output.categories)} categories are too many for VOC's PNGs", "use fewer: --map")
    for (entry, _, _), mask, picture in zip(output.images_to_write(), masks, pictures, strict=True):
        boxes: list[Instance] = []
        instances = list(_with_masks(output, entry, boxes))
        regular = [each for each in instances if each.label != IGNORE]
        objects, kept = _paint(output, entry, regular, _VOID - 1)
        classes = np.zeros_like(objects)
        for number, instance in kept:
            classes[objects == number] = numbers[instance.label]
        for instance in instances:
            if instance.label == IGNORE:
                _fill(objects, instance, _VOID)
                _fill(classes, instance, _VOID)
        if instances or not boxes:
            _save(_palette(objects), output.root / "SegmentationObject" / mask)
            _save(_palette(classes), output.root / "SegmentationClass" / mask)
        xml = output.root / "Annotations" / mask.with_suffix(".xml")
        xml.parent.mkdir(exist_ok=True)
        xml.write_bytes(_annotation(entry, picture, [each for _, each in kept], _whole(output, entry, boxes)))
    (output.root / "ImageSets" / "Segmentation").mkdir(parents=True)
    for split in output.splits:
        stems = (mask.stem for image, mask in zip(output.images, masks, strict=True) if image.split == split)
        output.write_lines(f"ImageSets/Segmentation/{split}.txt", stems)
    output.write_lines("class_names.txt", [BACKGROUND, *(category.name for category in output.categories)])


def _with_masks(output: OutputDataset, entry: ImageEntry, boxes: list[Instance] | None = None) -> Iterator[Instance]:
    """The instances that have a mask. Boxes alone go to ``boxes``, where the format can hold them."""
    for instance in output.instances(entry):
        if not instance.is_box:
            yield instance
        elif boxes is None or instance.label == IGNORE:
            output.add_finding(entry, "left out", "a box without a mask, which the format cannot hold", instance)
        else:
            boxes.append(instance)


def _flat_names(names: Sequence[str]) -> list[str]:
    """Names without folders, made unique."""
    taken: set[str] = set()
    out = []
    for name in names:
        path = PurePosixPath(name)
        flat = path.name if path.name.casefold() not in taken else name.replace("/", "_")
        stem, suffix, number = PurePosixPath(flat).stem, path.suffix, 1
        while flat.casefold() in taken:
            number += 1
            flat = f"{stem}_{number}{suffix}"
        taken.add(flat.casefold())
        out.append(flat)
    return out


def _paint(
    output: OutputDataset, entry: ImageEntry, instances: Iterable[Instance], most: int
) -> tuple[Numbers, list[tuple[int, Instance]]]:
    """The id of every pixel, from 1, and the instance of each id; instances that are left out are reported."""
    numbers = np.zeros((entry.height, entry.width), np.int32)
    kept: list[tuple[int, Instance]] = []
    for instance in instances:
        if len(kept) == most:
            output.add_finding(entry, "left out", f"more than {most} instances in one image", instance)
            continue
        if instance.iscrowd:
            output.add_finding(entry, "changed", "the format has no crowds: written as an instance", instance)
        kept.append((len(kept) + 1, instance))
        _fill(numbers, instance, len(kept))
    visible = np.bincount(numbers.ravel(), minlength=len(kept) + 1)
    shown = []
    for number, instance in kept:
        seen = int(visible[number])
        if seen == 0:
            output.add_finding(entry, "left out", "wholly hidden under later instances", instance)
        else:
            shown.append((number, instance))
            if seen < instance.area:
                why = "partly hidden under later instances: a pixel has one number"
                output.add_finding(entry, "changed", why, instance)
    renumber = np.zeros(len(kept) + 1, np.int32)
    renumber[[number for number, _ in shown]] = np.arange(1, len(shown) + 1)
    return renumber[numbers], [(at, instance) for at, (_, instance) in enumerate(shown, 1)]


def _fill(numbers: Numbers, instance: Instance, value: int) -> None:
    rle = to_rle(instance.segmentation, *numbers.shape)
    x, y, w, h = (int(side) for side in rle_bbox(rle))
    numbers[y : y + h, x : x + w][rle_to_mask(rle)[y : y + h, x : x + w] != 0] = value


def _save(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def _palette(numbers: Numbers) -> Image.Image:
    """VOC's palette: the bits of an id are spread over red, green and blue, the lowest three first."""
    values = np.arange(256)
    colours = np.zeros((256, 3), np.int64)
    for bit in range(8):
        colours[:, bit % 3] |= ((values >> bit) & 1) << (7 - bit // 3)
    picture = Image.fromarray(numbers.astype(np.uint8)).convert("P")
    picture.putpalette(colours.astype(np.uint8).ravel().tolist())
    return picture


def _whole(output: OutputDataset, entry: ImageEntry, boxes: Iterable[Instance]) -> list[Instance]:
    """Boxes in whole pixels, as VOC has them; those that change are reported."""
    whole = []
    for instance in boxes:
        x, y, w, h = instance.bbox
        left, top = math.floor(x + 0.5), math.floor(y + 0.5)
        right, bottom = max(math.floor(x + w + 0.5), left + 1), max(math.floor(y + h + 0.5), top + 1)
        bbox = (left, top, right - left, bottom - top)
        if bbox != tuple(instance.bbox):
            output.add_finding(entry, "changed", "a box is rounded to whole pixels", instance)
        if instance.iscrowd:
            output.add_finding(entry, "changed", "the format has no crowds: written as an instance", instance)
        whole.append(replace(instance, bbox=bbox))
    return whole


def _annotation(entry: ImageEntry, picture: str, masks: Sequence[Instance], boxes: Sequence[Instance]) -> bytes:
    """The XML file; boxes are in whole pixels from 1, both ends inclusive.

    Objects with a mask come first, in the order of their numbers. ``segmented`` of an object is 0 where it is a box.

    Args:
        entry: The image.
        picture: The name of its file.
        masks: Instances in ``SegmentationObject``.
        boxes: Instances that are boxes alone.
    """
    top = ElementTree.Element("annotation")
    ElementTree.SubElement(top, "filename").text = picture
    size = ElementTree.SubElement(top, "size")
    for name, value in (("width", entry.width), ("height", entry.height), ("depth", 3)):
        ElementTree.SubElement(size, name).text = str(value)
    ElementTree.SubElement(top, "segmented").text = str(int(bool(masks) or not boxes))
    for instance in (*masks, *boxes):
        node = ElementTree.SubElement(top, "object")
        ElementTree.SubElement(node, "name").text = _printable(instance.label)
        for name in ("truncated", "difficult", "occluded"):
            ElementTree.SubElement(node, name).text = str(int(bool(instance.attributes.get(name))))
        if instance.is_box:
            ElementTree.SubElement(node, "segmented").text = "0"
        box = ElementTree.SubElement(node, "bndbox")
        x, y, w, h = (int(side) for side in instance.bbox)
        for name, value in (("xmin", x + 1), ("ymin", y + 1), ("xmax", x + w), ("ymax", y + h)):
            ElementTree.SubElement(box, name).text = str(value)
    ElementTree.indent(top)
    return bytes(ElementTree.tostring(top, encoding="utf-8")) + b"\n"


def _printable(text: str) -> str:
    """Text without control characters, which XML cannot hold."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)
