"""PASCAL VOC's folders: PNGs of class ids and of object ids, and XML files with boxes."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from segkit.conversion.names import flat_names
from segkit.conversion.output import OutputDataset
from segkit.conversion.spool import ImageEntry
from segkit.conversion.writers.painting import Numbers, paint, save, with_masks
from segkit.data.label_maps import IGNORED as _VOID
from segkit.data.records import BACKGROUND, IGNORE, Instance
from segkit.errors import InputError
from segkit.formats.label_images.voc_names import voc_palette


def write_voc_dataset(output: OutputDataset) -> None:
    """Write VOC's folders; they have no subfolders."""
    if len(output.categories) >= _VOID:
        raise InputError(f"{len(output.categories)} categories are too many for VOC's PNGs", "use fewer: --map")
    names = flat_names(output.images)
    output.move_pictures([f"JPEGImages/{name}" for name in names])
    for (entry, _, _), name in zip(output.images_to_write(), names, strict=True):
        _write_image(output, entry, name)
    (output.root / "ImageSets" / "Segmentation").mkdir(parents=True)
    for split in output.splits:
        stems = (
            PurePosixPath(name).stem for image, name in zip(output.images, names, strict=True) if image.split == split
        )
        output.write_lines(f"ImageSets/Segmentation/{split}.txt", sorted(stems))
    output.write_lines("class_names.txt", [BACKGROUND, *(category.name for category in output.categories)])


def _write_image(output: OutputDataset, entry: ImageEntry, name: str) -> None:
    """Write the masks and the XML file of one image."""
    class_ids = {category.name: category.id for category in output.categories} | {IGNORE: _VOID}
    boxes: list[Instance] = []
    instances = list(with_masks(output, entry, boxes))
    numbers, shown = paint(output, entry, instances, _VOID - 1)
    regular = [each for each in shown if each.label != IGNORE]
    object_ids = iter(range(1, _VOID))
    objects = np.array([0, *(_VOID if each.label == IGNORE else next(object_ids) for each in shown)], np.uint8)
    classes = np.array([0, *(class_ids[each.label] for each in shown)], np.uint8)
    if instances or not boxes:
        mask = PurePosixPath(name).with_suffix(".png")
        save(_in_colours(objects[numbers]), output.root / "SegmentationObject" / mask)
        save(_in_colours(classes[numbers]), output.root / "SegmentationClass" / mask)
    xml = output.root / "Annotations" / PurePosixPath(name).with_suffix(".xml")
    xml.parent.mkdir(exist_ok=True)
    xml.write_bytes(_annotation(entry, name, regular, _whole(output, entry, boxes)))


def _in_colours(numbers: Numbers) -> Image.Image:
    picture = Image.fromarray(numbers.astype(np.uint8)).convert("P")
    picture.putpalette([value for colour in voc_palette() for value in colour])
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
