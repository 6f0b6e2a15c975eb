"""PASCAL VOC's segmentation folders: a PNG of class ids and a PNG of object ids for each image.

``JPEGImages/a.jpg``, ``SegmentationClass/a.png``, ``SegmentationObject/a.png``, and what labelme2voc writes
(``SegmentationClassPNG``, ``SegmentationObjectPNG``, ``class_names.txt``). 255 is void in both PNGs.
Format: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from segkit.data.masks import rle_area, rle_bbox
from segkit.data.pictures import PICTURE_SUFFIXES
from segkit.data.records import Finding, Instance, ReadFile
from segkit.errors import InputError
from segkit.formats.label_images.idmask import region_of
from segkit.formats.label_images.pairs import ImageAndMask, read_ids, read_pair

VOID = 255
BACKGROUND = "_background_"
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


def open_voc(root: Path, images_dir: Path | None) -> tuple[list[VocImage], tuple[str, ...]]:
    """All images that have masks or an XML file, and the names of the classes by id.

    Raises:
        InputError: There are none.
    """
    units: list[VocImage] = []
    labels: tuple[str, ...] = ()
    for folder in _voc_folders(root):
        folders = [folder / name for name in (*_OBJECTS, "Annotations") if (folder / name).is_dir()]
        if not folders:
            continue
        labels = labels or _class_names(folder)
        stems = sorted(
            {path.stem for folder in folders for path in folder.iterdir() if path.suffix in (".png", ".xml")}
        )
        prefix = folder.relative_to(root).as_posix()
        splits = _splits(folder)
        for stem in stems:
            key = stem if prefix == "." else f"{prefix}/{stem}"
            units.append(
                VocImage(
                    _picture(folder, images_dir, stem),
                    _first(folder, _OBJECTS, stem, ".png"),
                    _first(folder, _CLASSES, stem, ".png"),
                    _first(folder, ("Annotations",), stem, ".xml"),
                    key,
                    splits.get(stem),
                )
            )
    if not units:
        raise InputError(f"{root}: no VOC folders", "expected JPEGImages, SegmentationClass and SegmentationObject")
    return units, labels or _VOC_NAMES


def _first(folder: Path, folders: tuple[str, ...], stem: str, suffix: str) -> Path | None:
    return next((p for name in folders if (p := folder / name / f"{stem}{suffix}").is_file()), None)


def _picture(folder: Path, images_dir: Path | None, stem: str) -> Path | None:
    folders = [folder / name for name in _PICTURES] + ([images_dir] if images_dir is not None else [])
    suffixes = [case for suffix in sorted(PICTURE_SUFFIXES) for case in (suffix, suffix.upper())]
    return next((p for f in folders for suffix in suffixes if (p := f / f"{stem}{suffix}").is_file()), None)


def names_classes(root: Path) -> bool:
    """Whether a folder has a list of class names."""
    return any((folder / "class_names.txt").is_file() for folder in _voc_folders(root))


def _class_names(folder: Path) -> tuple[str, ...]:
    path = folder / "class_names.txt"
    if not path.is_file():
        return ()
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    names = [name for line in lines if (name := line.strip())]
    return tuple(names[1:] if names[:1] == ["__ignore__"] else names)  # LabelMe numbers it -1


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


def read(unit: VocImage, labels: tuple[str, ...]) -> ReadFile:
    """Read one image. Never raises for bad input: that becomes a finding."""
    boxes = _boxes(unit.annotation)
    findings: list[Finding] = []
    try:
        if unit.picture is None:
            raise InputError(f"image {unit.key} not found")
        if unit.objects is None:
            raise InputError("boxes without a segmentation")
        classes = read_ids(unit.classes) if unit.classes is not None else None

        def find(ids: npt.NDArray[Any]) -> tuple[Instance, ...]:
            if (ids == VOID).any():
                why = "void pixels (255) are read as background"
                findings.append(Finding(unit.key, "noted", why, shapes=0))
            numbers = [number for number in np.unique(ids).tolist() if number not in (0, VOID)]
            return tuple(_instance(ids == number, classes, number, labels, boxes) for number in numbers)

        folder = unit.key.rpartition("/")[0]
        image = read_pair(ImageAndMask(unit.picture, unit.objects, unit.key), find, folder)
    except (InputError, ValueError, IndexError) as error:
        why = error.message if isinstance(error, InputError) else "the masks of classes and objects differ in size"
        return ReadFile(None, (Finding(unit.key, "left out", why, shapes=len(boxes)),), len(boxes))
    return ReadFile(replace(image, split=unit.split), tuple(findings), len(image.instances))


def _boxes(path: Path | None) -> list[str]:
    """The names of the objects in an XML file, in its order."""
    if path is None:
        return []
    try:
        return [node.findtext("name") or "" for node in ElementTree.parse(path).getroot().iter("object")]
    except (ElementTree.ParseError, OSError, ValueError):
        return []


def _instance(
    inside: npt.NDArray[np.bool_],
    classes: npt.NDArray[Any] | None,
    number: int,
    labels: tuple[str, ...],
    boxes: list[str],
) -> Instance:
    name = None
    if classes is not None:
        values, counts = np.unique(classes[inside], return_counts=True)
        known = [(int(n), int(v)) for v, n in zip(values, counts, strict=True) if v not in (0, VOID)]
        if known:
            value = max(known)[1]
            name = labels[value] if value < len(labels) else f"class_{value}"
    if name is None and 0 < number <= len(boxes):
        name = boxes[number - 1] or None
    rle = region_of(inside)
    return Instance(name or "object", rle, rle_bbox(rle), rle_area(rle))
