"""Formats that give every pixel one id: VOC, instance ids, class ids. Later instances are over earlier ones."""

import csv
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
from PIL import Image

from segkit.convert.output import OutputDataset, flat_names
from segkit.convert.spool import ImageEntry
from segkit.data.masks import rle_bbox, rle_to_mask, to_rle
from segkit.data.records import Instance
from segkit.errors import InputError
from segkit.formats.label_images.idmask import LIST
from segkit.formats.label_images.semantic import IGNORED_ID
from segkit.formats.labelme.instances import BACKGROUND, IGNORE

Numbers = npt.NDArray[Any]  # [H, W]
_VOID = 255


def write_idmask_dataset(output: OutputDataset) -> None:
    """Write ``images/`` and ``masks/`` (16-bit instance ids), in a folder for each split if there are several."""
    several = len(output.splits) > 1
    bases = [f"{split}/" if several else "" for split in output.split_of]
    output.move_pictures([f"{base}images/{name}" for base, name in zip(bases, output.names, strict=True)])
    with (output.root / LIST).open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("file", "instance", "category"))
        for entry, base, name in zip(output.entries, bases, output.names, strict=True):
            output.progress.advance()
            instances = [each for each in output.instances(entry) if each.label != IGNORE]
            numbers, kept = _paint(output, entry, instances, 65535)
            mask = f"{base}masks/{PurePosixPath(name).with_suffix('.png')}"
            _save(Image.fromarray(numbers.astype(np.uint16)), output.root / mask)
            rows.writerows((mask, number, instance.label) for number, instance in kept)


def write_semantic_dataset(output: OutputDataset) -> None:
    """Write images in ``<split>/``, class ids in ``<split>annot/``, and ``classes.txt``.

    Where pixels under no instance are background, that is class 0 and called ``_background_``; where they are
    unlabelled, they are 255. Regions to ignore are 255 too.
    """
    first = 0 if output.uncovered == "ignore" else 1
    ids = {category.name: category.id - 1 + first for category in output.categories} | {IGNORE: IGNORED_ID}
    if len(output.categories) + first > IGNORED_ID:
        raise InputError(f"{len(output.categories)} categories are too many for class-id PNGs", "use fewer: --map")
    output.move_pictures([f"{split}/{name}" for split, name in zip(output.split_of, output.names, strict=True)])
    for entry, split, name in zip(output.entries, output.split_of, output.names, strict=True):
        output.progress.advance()
        background = 0 if first else IGNORED_ID
        classes = np.full((entry.height, entry.width), background, np.uint8)
        for instance in output.instances(entry):
            _fill(classes, instance, ids[instance.label])
        _save(Image.fromarray(classes), output.root / f"{split}annot" / PurePosixPath(name).with_suffix(".png"))
    names = [f"0 {BACKGROUND}"] * first + [f"{ids[c.name]} {c.name}" for c in output.categories]
    text = "".join(f"{name}\n" for name in [*names, f"{IGNORED_ID} {IGNORE}"])
    (output.root / "classes.txt").write_text(text, encoding="utf-8")


def write_voc_dataset(output: OutputDataset) -> None:
    """Write VOC's folders; they have no subfolders."""
    names = flat_names(output.names)
    stems = flat_names([str(PurePosixPath(name).with_suffix(".png")) for name in names])
    suffixes = [PurePosixPath(name).suffix for name in names]
    pictures = [f"{PurePosixPath(stem).stem}{suffix}" for stem, suffix in zip(stems, suffixes, strict=True)]
    output.move_pictures([f"JPEGImages/{name}" for name in pictures])
    numbers = {category.name: category.id for category in output.categories} | {IGNORE: _VOID}
    if len(output.categories) >= _VOID:
        raise InputError(f"{len(output.categories)} categories are too many for VOC's PNGs", "use fewer: --map")
    for entry, stem, picture in zip(output.entries, stems, pictures, strict=True):
        output.progress.advance()
        instances = list(output.instances(entry))
        regular = [each for each in instances if each.label != IGNORE]
        objects, kept = _paint(output, entry, regular, _VOID - 1)
        classes = np.zeros_like(objects)
        for number, instance in kept:
            classes[objects == number] = numbers[instance.label]
        for instance in instances:
            if instance.label == IGNORE:
                _fill(objects, instance, _VOID)
                _fill(classes, instance, _VOID)
        _save(_palette(objects), output.root / "SegmentationObject" / stem)
        _save(_palette(classes), output.root / "SegmentationClass" / stem)
        xml = output.root / "Annotations" / PurePosixPath(stem).with_suffix(".xml")
        xml.parent.mkdir(exist_ok=True)
        xml.write_bytes(_annotation(entry, picture, [instance for _, instance in kept]))
    lists = output.root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for split in output.splits:
        members = [PurePosixPath(s).stem for s, own in zip(stems, output.split_of, strict=True) if own == split]
        (lists / f"{split}.txt").write_text("".join(f"{stem}\n" for stem in members), encoding="utf-8")
    listed = [BACKGROUND, *(category.name for category in output.categories)]
    (output.root / "class_names.txt").write_text("".join(f"{name}\n" for name in listed), encoding="utf-8")


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


def _annotation(entry: ImageEntry, picture: str, instances: Iterable[Instance]) -> bytes:
    """The XML file; boxes are in whole pixels from 1, both ends inclusive."""
    top = ElementTree.Element("annotation")
    ElementTree.SubElement(top, "filename").text = picture
    size = ElementTree.SubElement(top, "size")
    for name, value in (("width", entry.width), ("height", entry.height), ("depth", 3)):
        ElementTree.SubElement(size, name).text = str(value)
    ElementTree.SubElement(top, "segmented").text = "1"
    for instance in instances:
        node = ElementTree.SubElement(top, "object")
        ElementTree.SubElement(node, "name").text = _printable(instance.label)
        for name in ("truncated", "difficult", "occluded"):
            ElementTree.SubElement(node, name).text = str(int(bool(instance.attributes.get(name))))
        box = ElementTree.SubElement(node, "bndbox")
        x, y, w, h = (int(side) for side in instance.bbox)
        for name, value in (("xmin", x + 1), ("ymin", y + 1), ("xmax", x + w), ("ymax", y + h)):
            ElementTree.SubElement(box, name).text = str(value)
    ElementTree.indent(top)
    return bytes(ElementTree.tostring(top, encoding="utf-8")) + b"\n"


def _printable(text: str) -> str:
    """Text without control characters, which XML cannot hold."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)
