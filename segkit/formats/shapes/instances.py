"""Shapes -> instances: grouping, unions and holes; every shape is in an instance or in a finding."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from segkit.data.masks import measure, rle_area, subtract, to_rle, union
from segkit.data.polygons import Box, measure_polygons
from segkit.data.records import BACKGROUND, IGNORE, Finding, Instance, Polygons, Segmentation
from segkit.formats.shapes.raster import draw_shape
from segkit.formats.shapes.regions import NoRegion, Shape, ShapeOptions, to_region

TINY = 16  # pixels; a smaller instance is hardly of use for training
BOX_ONLY = "box_only"  # a key of rectangles that segkit writes for boxes without a mask
CROWD_FLAGS = frozenset({"crowd", "iscrowd"})


@dataclass(frozen=True, slots=True)
class _Region:
    shape: Shape
    segmentation: Segmentation


def join_instances(
    shapes: Sequence[Shape], key: str, height: int, width: int, options: ShapeOptions, findings: list[Finding]
) -> tuple[Instance, ...]:
    """Join the shapes of one label and group into instances, in the order of their first shapes.

    LabelMe's rule: shapes of one image with the same label and ``group_id`` are one instance, their union; without
    a ``group_id`` a shape is its own instance.

    Args:
        shapes: Of one image.
        key: The name of the file in findings.
        height: Of the image.
        width: Likewise.
        options: How shapes become instances.
        findings: Takes what is left out or worth a look.
    """
    groups: dict[Any, list[_Region]] = {}
    holes: dict[Any, list[_Region]] = defaultdict(list)
    for shape in shapes:
        try:
            region = _region(shape, height, width, options)
        except NoRegion as why:
            findings.append(_left_out(key, shape, str(why)))
            continue
        if shape.label == options.hole_label:
            holes[shape.group_id].append(region)
        else:
            group = ("group", shape.group_id) if shape.group_id is not None else shape.number
            groups.setdefault((shape.label, group), []).append(region)
    cut: set[Any] = set()  # the numbers of the holes that are a part of an instance
    instances = tuple(_instances(groups, holes, key, height, width, findings, cut))
    group_ids = {parts[0].shape.group_id for parts in groups.values()} - {None}
    for group_id, regions in holes.items():
        why_not = "a hole needs the group_id of the instance that it is in"
        if group_id in group_ids:
            why_not = "a hole in an instance that covers no pixel"
        findings += [_left_out(key, hole.shape, why_not) for hole in regions if hole.shape.number not in cut]
    return instances


def in_order(instances: Iterable[Instance]) -> tuple[Instance, ...]:
    """Instances that were made apart, in the order in which they were drawn: later ones cover earlier ones."""
    return tuple(sorted(instances, key=lambda each: -1 if each.number is None else each.number))


def _instances(
    groups: dict[Any, list[_Region]],
    holes: dict[Any, list[_Region]],
    key: str,
    height: int,
    width: int,
    findings: list[Finding],
    cut: set[Any],
) -> Iterator[Instance]:
    measured = _measure_simple(groups, holes, height, width)
    seen: dict[Any, int] = {}
    for name, parts in groups.items():
        first = parts[0].shape
        own_holes = holes.get(first.group_id, []) if first.group_id is not None else []
        segmentation = _join(parts, own_holes, height, width)
        if not segmentation:
            try:
                yield _box(first, height, width)
            except ValueError as error:
                findings.append(_left_out(key, first, str(error)))
            continue
        area, bbox = measured.get(name) or measure(segmentation, height, width)
        if len(parts) > 1 and isinstance(segmentation, dict) and not own_holes:
            findings.append(_noted(key, first, "parts overlap or are masks: written as RLE"))
        if area == 0:
            findings.extend(_left_out(key, part.shape, _why_empty(part)) for part in parts)
            continue
        fresh = {hole.shape.number for hole in own_holes} - cut
        cut |= fresh
        yield _instance(parts, segmentation, bbox, area, len(parts) + len(fresh))
        if area < TINY:
            findings.append(_noted(key, first, f"tiny: fewer than {TINY} pixels"))
        if seen.setdefault((first.label, bbox, area), first.number) != first.number:
            why = "duplicate: label, box and area are those of an earlier shape"
            findings.append(_noted(key, first, why))


def _measure_simple(
    groups: dict[Any, list[_Region]], holes: dict[Any, list[_Region]], height: int, width: int
) -> dict[Any, tuple[int, Box]]:
    """Areas and boxes of the instances that are one polygon, all at once."""
    simple: list[Any] = []
    polygons: Polygons = []
    for name, parts in groups.items():
        segmentation = parts[0].segmentation
        if len(parts) == 1 and isinstance(segmentation, list) and len(segmentation) == 1:
            group_id = parts[0].shape.group_id
            if group_id is None or group_id not in holes:
                simple.append(name)
                polygons.append(segmentation[0])
    return dict(zip(simple, measure_polygons(polygons, height, width), strict=True))


def _region(shape: Shape, height: int, width: int, options: ShapeOptions) -> _Region:
    if shape.label == BACKGROUND:
        raise NoRegion("background is what no shape covers")
    if shape.shape_type == "rectangle" and (shape.attributes or {}).get(BOX_ONLY) is True and len(shape.flat) == 4:
        return _Region(shape, [])
    draw = draw_shape if options.as_labelme else to_region
    return _Region(shape, draw(shape, height, width, options))


def _instance(parts: list[_Region], segmentation: Segmentation, bbox: Box, area: int, num_shapes: int) -> Instance:
    first = parts[0].shape
    attributes = first.attributes or {}
    if len(parts) > 1:
        attributes = {name: value for part in parts for name, value in (part.shape.attributes or {}).items()}
    if first.group_id is not None:
        attributes = attributes | {"group_id": first.group_id}
    crowd = first.label == IGNORE or any(attributes.get(flag) is True for flag in CROWD_FLAGS)
    return Instance(first.label, segmentation, bbox, area, int(crowd), attributes, num_shapes, first.number)


def _box(shape: Shape, height: int, width: int) -> Instance:
    """The box of a rectangle without a mask."""
    (x1, y1), (x2, y2) = shape.points
    attributes = {name: value for name, value in (shape.attributes or {}).items() if name != BOX_ONLY}
    attributes |= {"group_id": shape.group_id} if shape.group_id is not None else {}
    crowd = int(any(attributes.get(flag) is True for flag in CROWD_FLAGS))
    bbox = (min(x1, x2), min(y1, y2), abs(x2 - x1), abs(y2 - y1))
    return replace(Instance.of_box(shape.label, bbox, height, width, crowd, attributes), number=shape.number)


def _join(parts: list[_Region], holes: list[_Region], height: int, width: int) -> Segmentation:
    """The union of parts without the holes: polygons where they are exact, else RLE."""
    if len(parts) == 1 and not holes:
        return parts[0].segmentation
    rles = [to_rle(part.segmentation, height, width) for part in parts]
    whole = union(rles)
    lists = [part.segmentation for part in parts if isinstance(part.segmentation, list)]
    apart = sum(rle_area(rle) for rle in rles) == rle_area(whole)  # no pixel is in two parts
    if apart and not holes and len(lists) == len(parts):
        return [polygon for polygons in lists for polygon in polygons]
    for hole in holes:
        whole = subtract(whole, to_rle(hole.segmentation, height, width))
    return whole


def _why_empty(part: _Region) -> str:
    distinct = len(set(part.shape.points))
    if distinct < 3 and isinstance(part.segmentation, list) and len(part.shape.points) > 2:
        return f"a polygon of {distinct} distinct points has no area"
    return "covers no pixel of the image"


def _left_out(key: str, shape: Shape, why: str) -> Finding:
    return Finding(key, "left out", why, shape.number, shape.label, shape.shape_type)


def _noted(key: str, shape: Shape, why: str) -> Finding:
    return Finding(key, "noted", why, shape.number, shape.label, shape.shape_type, shapes=0)
