"""What the outlines of instances tell by themselves: slivers, crossings, parts outside of the picture, duplicates."""

from collections import defaultdict
from collections.abc import Iterator
from statistics import median

import numpy as np
import numpy.typing as npt

from segkit.conversion.contents import AnnotatedImage, Contents
from segkit.data.masks import box_ious, mask_ious, to_rle
from segkit.data.records import Instance, Polygons
from segkit.review.findings import CheckFinding, Fact

SAME = 0.95  # IoU from which on two instances are one
_SPARE = 1.0  # px that a point may lie outside of the picture
_THIN, _SMALL = 1.5, 9.0  # px of width, px of area: less is a slip of the hand ...
_THIN_SHARE, _SMALL_SHARE = 0.25, 0.1  # ... where it is also less than this share of what its category has
_MOST_POINTS = 4000  # of a polygon whose crossings are looked for: the work grows with their square
_AT_ONCE = 1 << 22  # pairs of edges
Floats = npt.NDArray[np.float64]


def outline_findings(contents: Contents) -> Iterator[CheckFinding]:
    """Findings on single instances, and on pairs in one picture.

    Args:
        contents: What was read.
    """
    typical = _typical_sizes(contents)
    for n, image in enumerate(contents.images):
        for index, instance in enumerate(image.instances):
            for kind, why in _of_instance(instance, image.size, *typical[instance.label]):
                yield _finding(kind, why, image, n, index)
        if not any(each.is_box for each in image.instances):
            yield from _duplicates(image, n)


def _finding(kind: Fact, why: str, image: AnnotatedImage, n: int, index: int) -> CheckFinding:
    instance = image.instances[index]
    number = index if instance.number is None else instance.number
    return CheckFinding(
        kind, why, image.name, number, instance.label, None, image.split, instance.bbox, place=(n, index)
    )


def _typical_sizes(contents: Contents) -> dict[str, tuple[float, float]]:
    """The median area and the median width of each category."""
    sizes: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for image in contents.images:
        for instance in image.instances:
            sizes[instance.label].append((instance.area, _width(instance)))
    return {label: (median(a for a, _ in some), median(w for _, w in some)) for label, some in sizes.items()}


def _polygons(instance: Instance) -> Polygons:
    return instance.segmentation if isinstance(instance.segmentation, list) else []


def _of_instance(
    instance: Instance, size: tuple[int, int], typical_area: float, typical_width: float
) -> Iterator[tuple[Fact, str]]:
    if (beyond := _beyond(instance, size)) > _SPARE:
        yield "outside", f"reaches {beyond:.0f} pixels out of the picture"
    for polygon in _polygons(instance):
        if (where := crossing(np.array(polygon, np.float64).reshape(-1, 2))) is not None:
            x, y = where
            yield "self-crossing", f"its outline crosses itself at x {x:.0f}, y {y:.0f}"
            break
    if not instance.is_box and not instance.iscrowd:
        width = _width(instance)
        if width < min(_THIN, _THIN_SHARE * typical_width):
            yield "sliver", f"{width:.1f} pixels wide; half of its category are {typical_width:.1f} or wider"
        elif instance.area < min(_SMALL, _SMALL_SHARE * typical_area):
            yield "sliver", f"{instance.area:g} pixels; half of its category have {typical_area:g} or more"


def _beyond(instance: Instance, size: tuple[int, int]) -> float:
    """How far an instance reaches out of its picture, in pixels."""
    (height, width), polygons = size, _polygons(instance)
    x, y, w, h = instance.bbox
    xs = [value for polygon in polygons for value in polygon[0::2]] or [x, x + w]
    ys = [value for polygon in polygons for value in polygon[1::2]] or [y, y + h]
    return max(-min(xs), -min(ys), max(xs) - width, max(ys) - height)


def _width(instance: Instance) -> float:
    """Twice the area over the perimeter: the width of what is long and thin."""
    around = 0.0
    for polygon in _polygons(instance):
        points = np.array(polygon, np.float64).reshape(-1, 2)
        around += float(np.hypot(*(points - np.roll(points, 1, axis=0)).T).sum())
    around = around or 2 * (instance.bbox[2] + instance.bbox[3])
    return 2 * instance.area / max(around, 1e-9)


def crossing(points: Floats) -> tuple[float, float] | None:
    """Where two edges of a closed polygon [N, 2] cross; None where they do not.

    Edges that only touch, or lie on each other (a cut to a hole, there and back), do not cross.
    """
    if not 4 <= len(points) <= _MOST_POINTS:
        return None
    starts, ends = points, np.roll(points, -1, axis=0)
    for begin in range(0, len(points), max(1, _AT_ONCE // len(points))):
        rows = slice(begin, begin + max(1, _AT_ONCE // len(points)))
        a, b = starts[rows, None], ends[rows, None]
        one = _side(a, b, starts[None]) * _side(a, b, ends[None]) < 0
        other = _side(starts[None], ends[None], a) * _side(starts[None], ends[None], b) < 0
        found = np.argwhere(one & other)
        if len(found):
            i, j = int(found[0][0]) + begin, int(found[0][1])
            return _meeting(starts[i], ends[i], starts[j], ends[j])
    return None


def _side(a: Floats, b: Floats, c: Floats) -> Floats:
    """On which side of the line from a to b a point c lies: the sign of the cross product."""
    ab, ac = b - a, c - a
    return np.sign(ab[..., 0] * ac[..., 1] - ab[..., 1] * ac[..., 0])


def _meeting(a: Floats, b: Floats, c: Floats, d: Floats) -> tuple[float, float]:
    """Where two lines through two points each meet."""
    ab, cd = b - a, d - c
    share = float(((c - a)[0] * cd[1] - (c - a)[1] * cd[0]) / (ab[0] * cd[1] - ab[1] * cd[0]))
    x, y = (a + share * ab).tolist()
    return x, y


def _duplicates(image: AnnotatedImage, n: int) -> Iterator[CheckFinding]:
    """Instances that cover what an earlier one of the picture covers."""
    kept = [index for index, each in enumerate(image.instances) if not each.iscrowd]
    if len(kept) < 2:
        return
    boxes = [image.instances[index].bbox for index in kept]
    near = np.argwhere(np.triu(box_ious(boxes, boxes, [False] * len(boxes)) > SAME**2, 1))
    rles = {at: to_rle(image.instances[kept[at]].segmentation, *image.size) for at in set(near.ravel().tolist())}
    said: set[int] = set()
    for first, second in near.tolist():
        iou = float(mask_ious([rles[second]], [rles[first]], [False])[0, 0])
        if iou > SAME and second not in said:
            said.add(second)
            earlier = image.instances[kept[first]]
            number = kept[first] if earlier.number is None else earlier.number
            other = "" if earlier.label == image.instances[kept[second]].label else f", a {earlier.label!r}"
            why = f"covers what annotation {number}{other} covers (IoU {iou:.2f})"
            yield _finding("duplicate", why, image, n, kept[second])
