"""PASCAL VOC's segmentation folders: a PNG of class ids and a PNG of object ids for each image.

``JPEGImages/a.jpg``, ``SegmentationClass/a.png``, ``SegmentationObject/a.png``, and what labelme2voc writes
(``SegmentationClassPNG``, ``SegmentationObjectPNG``, ``class_names.txt``), CVAT and datumaro (``labelmap.txt``,
colours). 255 is void in both PNGs. Format: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from segkit.data.files import find_file
from segkit.data.label_maps import IGNORED as VOID
from segkit.data.pictures import PICTURE_SUFFIXES
from segkit.data.records import IGNORE, Finding, Instance, ReadFile
from segkit.errors import InputError
from segkit.formats.label_images.image_sets import read_image_sets
from segkit.formats.label_images.pairs import ImageAndMask
from segkit.formats.label_images.read import Ids, read_pair, to_instance, values_in
from segkit.formats.label_images.semantic import find_classes
from segkit.formats.label_images.voc_names import VocClasses, read_objects, voc_classes
from segkit.formats.label_images.voc_objects import VocObjects, boxes_of, read_boxes, read_objects_file
from segkit.formats.pictures.find import find_by_stem
from segkit.formats.pictures.trees import folded
from segkit.formats.source import Source
from segkit.formats.xml_file import begins_with

OBJECTS = ("SegmentationObject", "SegmentationObjectPNG")
CLASSES = ("SegmentationClass", "SegmentationClassPNG")
_PICTURES = ("JPEGImages", "images", "Images", "image", "img", "imgs")
_XML = ("Annotations", "annotations", "Annotation", "annotation", "xmls", "xml")


class VocImage(NamedTuple):
    """The files of one image; some may be missing: without masks it has boxes alone."""

    picture: Path | None
    objects: Path | None
    classes: Path | None
    annotation: Path | None
    key: str
    split: str | None
    split_from: str | None


def is_voc(root: Path, skip: Path | None = None) -> bool:
    """Whether a folder, or one up to two levels below it, has the subfolders of VOC; ``skip`` is left out."""
    folders = _voc_folders(root, skip)
    if any((folder / name).is_dir() for folder in folders for name in (*OBJECTS, *CLASSES)):
        return True
    return any(_annotation_folders(folder, root) for folder in folders)


def is_voc_file(path: Path) -> bool:
    """Whether an XML file begins as one of VOC: also as labelImg, Roboflow and makesense write them."""
    return begins_with(path, "annotation")


def _annotation_folders(folder: Path, root: Path) -> list[Path]:
    """Where the XML files of a folder are: in ``Annotations``, or beside the pictures."""
    places = [folder / name for name in _XML if (folder / name).is_dir()]
    if folder == root or folder.name not in _XML:
        places.append(folder)
    return [place for place in places if any(map(is_voc_file, islice(place.glob("*.[xX][mM][lL]"), 3)))]


def _voc_folders(root: Path, skip: Path | None) -> list[Path]:
    skipped = skip.resolve() if skip is not None else None
    below = sorted(p for p in root.iterdir() if p.is_dir() and p.resolve() != skipped)
    return [root, *below, *sorted(p for f in below for p in f.iterdir() if p.is_dir() and p.resolve() != skipped)]


def open_voc(
    root: Path,
    images_dir: Path | None,
    skip: Path | None = None,
    listed: Path | None = None,
    colours: Path | None = None,
) -> Source:
    """All images that have masks or an XML file.

    Args:
        root: The folder.
        images_dir: Another folder to look for images in.
        skip: A folder to leave out: what is written must not be read back.
        listed: A file of the user with the names of the classes, used where the folder has none.
        colours: A file of the user with names and colours of the classes.

    Raises:
        InputError: There are none.
    """
    units: list[VocImage] = []
    homes: list[Path] = []
    rows: list[Finding] = []
    for folder in _voc_folders(root, skip):
        masks_in = [path for name in (*OBJECTS, *CLASSES) if (path := folder / name).is_dir()]
        xml_in = _annotation_folders(folder, root)
        if not (masks_in or xml_in):
            continue
        homes.append(folder)
        stems = {path.stem for sub in masks_in for path in sub.iterdir() if path.suffix.lower() == ".png"}
        stems |= {path.stem for sub in xml_in for path in sub.iterdir() if path.suffix.lower() == ".xml"}
        prefix = folder.relative_to(root).as_posix()
        splits, more = read_image_sets(folder, sorted(stems))
        rows += [*more, *_without_annotations(folder, prefix, stems)]
        homes_of_pictures = [folder, *([folder.parent] if folder != root else [])]
        pictures = [home / name for home in homes_of_pictures for name in _PICTURES]
        pictures += [folder] if folder in xml_in else []
        pictures += [images_dir] if images_dir is not None else []
        units += [
            VocImage(
                find_by_stem(stem, pictures),
                find_file([folder / name for name in OBJECTS], [f"{stem}.png", f"{stem}.PNG"]),
                find_file([folder / name for name in CLASSES], [f"{stem}.png", f"{stem}.PNG"]),
                find_file(xml_in, [f"{stem}.xml", f"{stem}.XML"]),
                stem if prefix == "." else f"{prefix}/{stem}",
                *splits.get(stem, (None, None)),
            )
            for stem in sorted(stems)
        ]
    if not units:
        raise InputError(f"{root}: no VOC folders", "expected JPEGImages, SegmentationClass and SegmentationObject")
    annotations = [unit.annotation for unit in units if unit.annotation is not None]
    masks = [unit.classes for unit in units if unit.classes is not None]
    classes, findings = voc_classes([*homes, root], listed, colours, annotations, masks)
    read_unit = partial(read, classes=classes)
    return Source("voc", units, read_unit, len(units), labels=classes.labels, findings=(*rows, *findings))


def _without_annotations(folder: Path, prefix: str, stems: set[str]) -> list[Finding]:
    """A note on the images of a folder that have neither an XML file nor a mask: they may hold objects."""
    key = _PICTURES[0] if prefix == "." else f"{prefix}/{_PICTURES[0]}"
    used = {folded(stem) for stem in stems}
    there = (path for path in (folder / _PICTURES[0]).glob("*") if path.suffix.lower() in PICTURE_SUFFIXES)
    names = sorted(path.name for path in there if folded(path.stem) not in used)
    if not names:
        return []
    why = f"images with neither an XML file nor a mask are not read: {len(names)}, such as {names[0]}"
    return [Finding(key, "noted", why, shapes=0)]


def read(unit: VocImage, classes: VocClasses) -> ReadFile:
    """Read one image. Never raises for bad input: that becomes a finding.

    Args:
        unit: Its files.
        classes: The classes, by id and by colour.
    """
    objects = read_objects_file(unit.annotation)
    if (
        objects.broken and unit.objects is None and unit.classes is None
    ):  # what it shows is not known, and no background
        return ReadFile.left_out(unit.key, objects.broken)
    rows = [Finding(unit.key, "noted", objects.broken, shapes=0)] if objects.broken else []
    if unit.picture is None and unit.objects is None and unit.classes is None:
        return _with(rows, ReadFile.left_out(unit.key, f"image {unit.key} not found", len(objects.nodes)))
    if unit.objects is None and (unit.classes is None or objects.nodes):
        return _with(rows, _boxes_alone(unit, objects))

    def find(ids: Ids, findings: list[Finding]) -> Iterator[Instance]:
        if unit.objects is None:
            why = "no SegmentationObject: each class is one region, whose instances are not told apart"
            findings.append(Finding(unit.key, "noted", why, shapes=0))
            yield from find_classes(ids, classes.as_regions(), unit.key, findings)
            return
        yield from _objects(unit, ids, classes, objects.names)
        yield from boxes_of(objects.boxes, unit.key, ids.shape[0], ids.shape[1], findings)

    outcome = read_pair(
        ImageAndMask(unit.picture, unit.objects or unit.classes, unit.key),
        find,
        read=classes.read_ids if unit.objects is None else read_objects,
        folder=unit.key.rpartition("/")[0],
        num_shapes=len(objects.nodes),
    )
    return _with(rows, _in_split(unit, outcome))


def _boxes_alone(unit: VocImage, objects: VocObjects) -> ReadFile:
    if unit.picture is None:
        return ReadFile.left_out(unit.key, f"image {unit.key} not found", len(objects.nodes))
    outcome = _in_split(unit, read_boxes(unit.picture, unit.key, objects))
    if unit.classes is None:
        return outcome
    why = "SegmentationClass is not read: without SegmentationObject the boxes of the XML file are the instances"
    return _with([Finding(unit.key, "noted", why, shapes=0)], outcome)


def _in_split(unit: VocImage, outcome: ReadFile) -> ReadFile:
    if outcome.image is None:
        return outcome
    return replace(outcome, image=replace(outcome.image, split=unit.split, split_from=unit.split_from))


def _with(rows: list[Finding], outcome: ReadFile) -> ReadFile:
    return replace(outcome, findings=(*rows, *outcome.findings)) if rows else outcome


def _objects(unit: VocImage, ids: Ids, classes: VocClasses, listed: list[str]) -> Iterator[Instance]:
    """An instance for each object, and one for the void pixels."""
    class_ids = classes.read_ids(unit.classes) if unit.classes is not None else None
    if class_ids is not None and class_ids.shape != ids.shape:
        raise InputError("the masks of classes and objects differ in size")
    for number in values_in(ids):
        if number == 0:
            continue
        inside = ids == number
        if number == VOID:
            yield to_instance(IGNORE, inside, num_shapes=0)
            continue
        own = listed[number - 1] if 0 < number <= len(listed) else ""
        found = classes.name_of(class_ids[inside], own) if class_ids is not None else own
        yield to_instance(found or "object", inside)
