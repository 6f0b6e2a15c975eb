"""The annotations of an image in COCO files -> instances; images that several files annotate are joined."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from segkit.data.masks import Box, measure, to_rle
from segkit.data.records import Finding, Image, Instance, ReadFile
from segkit.formats.coco.segmentation import NO_POLYGON
from segkit.formats.coco.values import AnnotationValues, identity, read_annotation
from segkit.formats.pictures.find import PicturePlaces, base_name
from segkit.formats.splits import split_of_name
from segkit.units import counted


class CocoFile(NamedTuple):
    """What the images of a file have in common."""

    key: str
    folder: str  # before the names of pictures: where files of several folders may have pictures of one name
    names: dict[Any, str]  # of categories, by id
    unusable: dict[tuple[str, Any], str]  # why, by kind and id
    urls: dict[Any, str]  # of images, by id
    places: PicturePlaces
    needs_pictures: bool


class RawAnnotation(NamedTuple):
    """An annotation, with its file and its index there."""

    file: CocoFile
    number: int
    record: dict[str, Any]


class Unit(NamedTuple):
    """An image, with its annotations."""

    file: CocoFile
    image: Image
    raw: list[RawAnnotation]


def join_units(units: Sequence[list[Unit]], rows: list[ReadFile]) -> list[Unit]:
    """The images of several files; one that several files of a split have is one, with the annotations of all.

    Args:
        units: The images by file.
        rows: Takes a note for each file whose images are joined to those of another.
    """
    files_with = Counter(kind for own in units for kind in {_kind(unit) for unit in own})
    first: dict[Any, int] = {}
    joined: list[Unit] = []
    counts: Counter[tuple[str, str]] = Counter()
    for own in units:
        split = _split(own[0].file.key) if own else None
        for unit in own:
            if files_with[_kind(unit)] > 1:
                path = unit.file.places.find(unit.image.file_name, unit.file.urls.get(unit.image.id, ""))
                where = path or (unit.file.places.base, unit.image.file_name)
                at = first.setdefault((split, where), len(joined))
                if at < len(joined) and joined[at].file is not unit.file:
                    joined[at].raw.extend(unit.raw)
                    counts[unit.file.key, joined[at].file.key] += 1
                    continue
            joined.append(unit)
    for (key, other), count in counts.items():
        why = f"{counted(count, 'image is', 'images are')} also in {other}: one image with the annotations of both"
        rows.append(ReadFile(None, (Finding(key, "noted", why, shapes=0),)))
    return joined


def _kind(unit: Unit) -> Any:
    """What images that may be the same have in common, before they are looked for."""
    return (base_name(unit.image.file_name), unit.image.height, unit.image.width)


def _split(key: str) -> str | None:
    """The split that a file is named after, else its innermost folder that is."""
    *folders, name = key.split("/")
    named = (split_of_name(part) for part in (name.rpartition(".")[0], *reversed(folders)))
    return next((each.split for each in named if each is not None), None)


def read_instances(
    annotations: Sequence[RawAnnotation], key: str, height: int, width: int, findings: list[Finding]
) -> tuple[Instance, ...]:
    """The instances of an image; one that several files have is one instance.

    Args:
        annotations: Of the image.
        key: Names the image in findings.
        height: Of the frame of the annotations.
        width: Likewise.
        findings: Takes what is left out or repaired.
    """
    by_file: dict[str, list[Instance]] = {}
    for raw in annotations:
        instances = by_file.setdefault(raw.file.key, [])
        if (instance := _instance(raw, height, width, findings)) is not None:
            instances.append(instance)
    kept: list[Instance] = []
    for file, instances in by_file.items():
        seen = Counter((each.label, each.bbox, each.area, each.iscrowd) for each in instances)
        if twice := sum(number - 1 for number in seen.values()):
            some = counted(twice, "annotation has", "annotations have")
            why = f"duplicate: {some} category, box and area of an earlier one"
            findings.append(Finding(key if len(by_file) == 1 else file, "noted", why, shapes=0))
        kept = _joined(kept, instances) if kept else instances
    if again := sum(map(len, by_file.values())) - len(kept):
        some = counted(again, "annotation is", "annotations are")
        findings.append(Finding(key, "noted", f"{some} in another file, too: joined", shapes=0))
    return tuple(kept)


def _joined(kept: list[Instance], more: list[Instance]) -> list[Instance]:
    """The instances of two files: one of the second that equals one of the first adds its attributes to it."""
    free: dict[Any, list[int]] = defaultdict(list)
    for index, instance in enumerate(kept):
        free[instance.label, instance.bbox, instance.area, instance.iscrowd].append(index)
    out = list(kept)
    for instance in more:
        alike = free[instance.label, instance.bbox, instance.area, instance.iscrowd]
        same = [at for at in alike if kept[at].segmentation == instance.segmentation]
        if not same:
            out.append(instance)
            continue
        index = same[0]
        alike.remove(index)
        attributes = out[index].attributes | instance.attributes
        num_shapes = out[index].num_shapes + instance.num_shapes
        out[index] = replace(out[index], attributes=attributes, num_shapes=num_shapes)
    return out


def _instance(raw: RawAnnotation, height: int, width: int, findings: list[Finding]) -> Instance | None:
    file, number, record = raw
    name = None
    try:
        category = identity(record, "category_id")
        if (name := file.names.get(category)) is None and (why := file.unusable.get(("category", category))):
            raise ValueError(why)
        values = read_annotation(record, (height, width), file.names)
        instance = _of_values(file.names[values.category_id], values, height, width)
        if type(own_id := record.get("id")) is int:
            instance = replace(instance, number=own_id)
    except (ValueError, OverflowError, TypeError, RecursionError) as error:
        findings.append(Finding(file.key, "left out", str(error), number, name))
        return None
    if instance.is_box and _reads_as_corners(instance.bbox, height, width):
        why = "a box leaves the image: as x1, y1, x2, y2 it would fit"
        findings.append(Finding(file.key, "noted", why, number, name, shapes=0))
    findings += [Finding(file.key, "repaired", repair, number, name, shapes=0) for repair in values.repairs]
    return instance


def _reads_as_corners(bbox: Box, height: int, width: int) -> bool:
    """Whether a box xywh leaves the image, and would not if it were corners, x1, y1, x2, y2."""
    x, y, w, h = bbox
    return (x + w > width + 1 or y + h > height + 1) and 0 <= x < w <= width and 0 <= y < h <= height


def _of_values(name: str, values: AnnotationValues, height: int, width: int) -> Instance:
    """The instance of an annotation's values.

    Raises:
        ValueError: It covers nothing of the image.
    """
    segmentation = values.segmentation
    if segmentation is None:
        assert values.bbox is not None  # read_annotation has seen to that
        return Instance.of_box(name, values.bbox, height, width, values.iscrowd, values.attributes)
    if not segmentation:
        raise ValueError(NO_POLYGON)
    area, bbox = measure(segmentation, height, width)
    if area == 0:
        raise ValueError("covers no pixel of the image")
    kept = segmentation if isinstance(segmentation, list) else to_rle(segmentation, height, width)
    return Instance(name, kept, bbox, area, values.iscrowd, values.attributes)
