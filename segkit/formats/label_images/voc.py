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
from segkit.data.pictures import picture_names
from segkit.data.records import IGNORE, Finding, Instance, ReadFile
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
    """The files of one image; ``objects`` or ``annotation`` may be missing, not both."""

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
    objects = _object_names(unit.annotation)
    if unit.picture is None:
        return ReadFile.left_out(unit.key, f"image {unit.key} not found", len(objects))
    if unit.objects is None:
        return ReadFile.left_out(unit.key, "boxes without a segmentation", len(objects))
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
            listed = objects[number - 1] if 0 < number <= len(objects) else ""
            yield to_instance(_class_name(classes[inside], names) or listed or "object", inside)

    pair = ImageAndMask(unit.picture, unit.objects, unit.key)
    outcome = read_pair(pair, find, unit.key.rpartition("/")[0], len(objects))
    if outcome.image is None:
        return outcome
    return replace(outcome, image=replace(outcome.image, split=unit.split), findings=tuple(findings))


def _object_names(path: Path | None) -> list[str]:
    """The names of the objects in an XML file, in its order."""
    if path is None:
        return []
    try:
        return [node.findtext("name") or "" for node in ElementTree.parse(path).getroot().iter("object")]
    except (ElementTree.ParseError, OSError, ValueError):
        return []


def _class_name(ids: npt.NDArray[Any], names: tuple[str, ...]) -> str | None:
    """The most frequent class among the pixels of an object; None where all are background or void."""
    values, counts = np.unique(ids[(ids != 0) & (ids != VOID)], return_counts=True)
    if not values.size:
        return None
    _, value = max(zip(counts.tolist(), values.tolist(), strict=True))
    return names[value] if value < len(names) else f"class_{value}"
