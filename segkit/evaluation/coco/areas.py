"""The ranges of areas that scores are averaged over: COCO's own, and size classes that a user names."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from segkit.data.records import Annotation

Range = tuple[float, float]
LARGEST = 1e10
COCO_AREAS: tuple[Range, ...] = ((0, LARGEST), (0, 32**2), (32**2, 96**2), (96**2, LARGEST))
"""All, small, medium, large, in pixels, as COCOeval has them: both ends belong to a range."""


def size_classes(edges: Sequence[float]) -> list[Range]:
    """The classes between edges; the last one has no upper limit.

    Args:
        edges: Rising areas in pixels.
    """
    return list(pairwise((*edges, LARGEST)))


def with_coco(edges: Sequence[float]) -> list[list[float]]:
    """``areaRng`` for COCOeval: COCO's ranges, and the classes between edges after them."""
    return [[float(low), float(high)] for low, high in (*COCO_AREAS, *size_classes(edges))]


def instances_in(edges: Sequence[float], annotations: Iterable[Annotation]) -> list[int]:
    """How many annotations are in each class; crowds are not counted, and one at an edge is in both classes."""
    areas = [annotation.area for annotation in annotations if not annotation.iscrowd]
    return [sum(low <= area <= high for area in areas) for low, high in size_classes(edges)]
