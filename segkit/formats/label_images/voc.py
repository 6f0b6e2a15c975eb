"""PASCAL VOC's segmentation folders: a PNG of class ids and a PNG of object ids for each image.

``JPEGImages/a.jpg``, ``SegmentationClass/a.png``, ``SegmentationObject/a.png``, and what labelme2voc writes
(``SegmentationClassPNG``, ``SegmentationObjectPNG``, ``class_names.txt``). 255 is void in both PNGs.
Format: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from segkit.data.files import find_file
from segkit.data.pictures import picture_names, read_header
from segkit.data.polygons import REACH
from segkit.data.records import IGNORE, AnnotatedImage, Finding, Instance, Picture, ReadFile
from segkit.errors import InputError
from segkit.formats.label_images.pairs import ImageAndMask, read_ids, read_pair, to_instance
from segkit.formats.source import Source

VOID = 255
_OBJECTS = ("SegmentationObject", "SegmentationObjectPNG")
_CLASSES = ("SegmentationClass", "SegmentationClassPNG")
_PICTURES = ("JPEGImages", "images", "Images")
_VOC_NAMES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


class VocImage(NamedTuple):
    """The files of one image; ``objects`` or ``annotation`` may be missing, not both: then it has boxes alone."""

    picture: Path | None
    objects: Path | None
    classes: Path | None
    annotation: Path | None
    key: str
    split: str | None


def is_voc(root: Path) -> bool:
    """Whether a folder has the subfolders of VOC."""
    return any((folder / name).is_dir() for folder in _voc_folders(root) for name in (*_OBJECTS, "Annotations"))


def _voc_folders(root: Path) -> list[Path]:
    below = sorted(p for p in root.iterdir() if p.is_dir())
    return [root, *below, *sorted(p for folder in below for p in folder.iterdir() if p.is_dir())]


def open_voc(root: Path, images_dir: Path | None) -> Source:
    """All images that have masks or an XML file.

    Raises:
        InputError: There are none.
    """
    units: list[VocImage] = []
    listed: tuple[str, ...] = ()
    for folder in _voc_folders(root):
        folders = [folder / name for name in (*_OBJECTS, "Annotations") if (folder / name).is_dir()]
        if not folders:
            continue
        listed = listed or _class_names(folder)
        stems = {path.stem for folder in folders for path in folder.iterdir() if path.suffix in (".png", ".xml")}
        prefix = folder.relative_to(root).as_posix()
        splits = _splits(folder)
        pictures = [folder / name for name in _PICTURES] + ([images_dir] if images_dir is not None else [])
        units += [
            VocImage(
                find_file(pictures, picture_names(stem)),
                find_file([folder / name for name in _OBJECTS], [f"{stem}.png"]),
                find_file([folder / name for name in _CLASSES], [f"{stem}.png"]),
                find_file([folder / "Annotations"], [f"{stem}.xml"]),
                stem if prefix == "." else f"{prefix}/{stem}",
                splits.get(stem),
            )
            for stem in sorted(stems)
        ]
    if not units:
        raise InputError(f"{root}: no VOC folders", "expected JPEGImages, SegmentationClass and SegmentationObject")
    labels = tuple(name for name in listed[1:] if name != IGNORE)
    return Source("voc", units, partial(read, names=listed or _VOC_NAMES), len(units), labels=labels)


def _class_names(folder: Path) -> tuple[str, ...]:
    path = folder / "class_names.txt"
    if not path.is_file():
        return ()
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    names = [name for line in lines if (name := line.strip())]
    return tuple(names[1:] if names[:1] == [IGNORE] else names)  # LabelMe numbers it -1


def _splits(folder: Path) -> dict[str, str]:
    """The split of each image that a list in ``ImageSets`` names."""
    named: dict[str, str] = {}
    for kind in ("Main", "Segmentation"):
        for split in ("train", "val", "test"):
            path = folder / "ImageSets" / kind / f"{split}.txt"
            if path.is_file():
                named |= {
                    line.split()[0]: split for line in path.read_text(errors="replace").splitlines() if line.strip()
                }
    return named


def read(unit: VocImage, names: tuple[str, ...]) -> ReadFile:
    """Read one image. Never raises for bad input: that becomes a finding.

    Args:
        unit: Its files.
        names: Of the classes, by id.
    """
    listed = _objects(unit.annotation)
    if unit.picture is None:
        return ReadFile.left_out(unit.key, f"image {unit.key} not found", len(listed))
    if unit.objects is None:
        return _read_boxes(unit, unit.picture, listed)
    boxes = [each for each in listed if each.findtext("segmented") == "0"]
    objects = [each.findtext("name") or "" for each in listed if each not in boxes]
    findings: list[Finding] = []

    def find(ids: npt.NDArray[Any]) -> Iterator[Instance]:
        classes = np.zeros_like(ids) if unit.classes is None else read_ids(unit.classes)
        numbers = [number for number in np.unique(ids).tolist() if number not in (0, VOID)]
        if numbers and classes.shape != ids.shape:
            raise InputError("the masks of classes and objects differ in size")
        if (ids == VOID).any():
            findings.append(Finding(unit.key, "noted", "void pixels (255) are read as background", shapes=0))
        for number in numbers:
            inside = ids == number
            named = objects[number - 1] if 0 < number <= len(objects) else ""
            yield to_instance(_class_name(classes[inside], names) or named or "object", inside)

    pair = ImageAndMask(unit.picture, unit.objects, unit.key)
    outcome = read_pair(pair, find, unit.key.rpartition("/")[0], len(listed))
    if (image := outcome.image) is None:
        return outcome
    instances = (*image.instances, *_boxes(boxes, unit.key, image.height, image.width, findings))
    image = replace(image, split=unit.split, instances=instances)
    return ReadFile(image, tuple(findings), outcome.num_shapes + len(boxes))


def _read_boxes(unit: VocImage, path: Path, objects: list[ElementTree.Element]) -> ReadFile:
    """An image that has boxes alone."""
    try:
        header = read_header(path, path.name)
    except InputError as error:
        return ReadFile.left_out(unit.key, error.message, len(objects))
    findings: list[Finding] = []
    instances = tuple(_boxes(objects, unit.key, header.height, header.width, findings))
    picture = Picture(path.name, path, exif="drop" if header.orientation != 1 else "none")
    folder = unit.key.rpartition("/")[0]
    image = AnnotatedImage(unit.key, picture, header.height, header.width, instances, unit.split, folder=folder)
    return ReadFile(image, tuple(findings), len(objects))


def _boxes(
    objects: list[ElementTree.Element], key: str, height: int, width: int, findings: list[Finding]
) -> Iterator[Instance]:
    """The boxes of objects; VOC counts pixels from 1, and the last one is inside."""
    for number, node in enumerate(objects):
        name = node.findtext("name") or "object"
        try:
            sides = [float(node.findtext(f"bndbox/{side}") or "") for side in ("xmin", "ymin", "xmax", "ymax")]
            if not all(abs(side) < REACH for side in sides):
                raise ValueError("a box more than a million pixels away")
        except ValueError as error:
            why = "an object without a box of four numbers" if "float" in str(error) else str(error)
            findings.append(Finding(key, "left out", why, number, name))
            continue
        x, y = sides[0] - 1, sides[1] - 1
        own = {tag: True for tag in ("truncated", "difficult", "occluded") if node.findtext(tag) == "1"}
        try:
            yield Instance.of_box(name, (x, y, sides[2] - x, sides[3] - y), height, width, attributes=own)
        except ValueError as error:
            findings.append(Finding(key, "left out", str(error), number, name))


def _objects(path: Path | None) -> list[ElementTree.Element]:
    """The objects in an XML file, in its order."""
    if path is None:
        return []
    try:
        return list(ElementTree.parse(path).getroot().iter("object"))
    except (ElementTree.ParseError, OSError, ValueError):
        return []


def _class_name(ids: npt.NDArray[Any], names: tuple[str, ...]) -> str | None:
    """The most frequent class among the pixels of an object; None where all are background or void."""
    values, counts = np.unique(ids[(ids != 0) & (ids != VOID)], return_counts=True)
    if not values.size:
        return None
    _, value = max(zip(counts.tolist(), values.tolist(), strict=True))
    return names[value] if value < len(names) else f"class_{value}"
