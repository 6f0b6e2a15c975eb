"""YOLO's segmentation folders: ``images/``, ``labels/`` and ``data.yaml``.

A line holds a box (centre, width, height) or one polygon: holes are filled, parts are joined by lines (as Ultralytics'
own converter does), RLE becomes the outline of its pixels. Each of these is reported.
"""

import math
from pathlib import PurePosixPath

from segkit.conversion.names import names_in_splits
from segkit.conversion.output import OutputDataset
from segkit.conversion.split import SPLITS
from segkit.conversion.spool import ImageEntry
from segkit.data.contours import trace
from segkit.data.masks import rle_crop
from segkit.data.records import IGNORE, Instance, Polygons


def write_yolo_dataset(output: OutputDataset) -> None:
    """Write images and labels of every split, and ``data.yaml``."""
    names = names_in_splits(output.images, folders_name_splits=False)
    output.move_pictures([f"images/{name}" for name in names])
    numbers = {category.name: number for number, category in enumerate(output.categories)}
    for (entry, _, _), name in zip(output.images_to_write(), names, strict=True):
        path = output.root / "labels" / PurePosixPath(name).with_suffix(".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8") as file:
            for instance in output.instances(entry):
                if instance.label != IGNORE:
                    read = _box if instance.is_box else _polygon
                    values = read(output, entry, instance)
                    shares = (_share(v, entry.height if i % 2 else entry.width) for i, v in enumerate(values))
                    line = " ".join(map(repr, shares))
                    file.write(f"{numbers[instance.label]} {line}\n")
    _write_data_yaml(output)


def _write_data_yaml(output: OutputDataset) -> None:
    """Write the splits and names. Without ``path``, Ultralytics looks in the folder of the file.

    It wants both ``train`` and ``val``; one that is not there is empty.
    """
    import yaml  # noqa: PLC0415 -- few conversions need it

    wanted = [split for split in SPLITS if split in output.splits or split != "test"]
    splits = {split: f"images/{split}" if split in output.splits else None for split in wanted}
    names = dict(enumerate(category.name for category in output.categories))
    text = yaml.safe_dump(splits | {"names": names}, allow_unicode=True, sort_keys=False)
    (output.root / "data.yaml").write_text(text, encoding="utf-8")


def _share(value: float, side: int) -> float:
    """The share of a side that gives the same value again, to the bit where there is one."""
    share = min(max(value / side, 0.0), 1.0)
    if share * side != value and 0.0 < share < 1.0:
        near = (math.nextafter(share, 0.0), math.nextafter(share, 1.0))
        return next((other for other in near if other * side == value), share)
    return share


def _box(output: OutputDataset, entry: ImageEntry, instance: Instance) -> list[float]:
    """Centre and size of a box, in pixels; only the part in the image."""
    if instance.iscrowd:
        output.add_finding(entry, "changed", "YOLO has no crowds: written as an instance", instance)
    x, y, w, h = instance.bbox
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + w, entry.width), min(y + h, entry.height)
    if (left, top, right, bottom) != (x, y, x + w, y + h):
        output.add_finding(entry, "changed", "a box that leaves the image is cut at its border", instance)
    return [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]


def _polygon(output: OutputDataset, entry: ImageEntry, instance: Instance) -> list[float]:
    if instance.iscrowd:
        output.add_finding(entry, "changed", "YOLO has no crowds: written as an instance", instance)
    if isinstance(instance.segmentation, list):
        rings = instance.segmentation
        if any(not _within(ring, entry) for ring in rings):
            output.add_finding(entry, "changed", "points outside the image are moved to its border", instance)
    else:
        crop = rle_crop(instance.segmentation)
        assert crop is not None  # readers leave out what is empty
        y, x, inside = crop
        outer, holes = trace(inside != 0)
        rings = [[float(v) for px, py in ring for v in (px + x, py + y)] for ring in outer]
        output.add_finding(entry, "changed", "RLE written as the outline of its pixels", instance)
        if holes:
            output.add_finding(entry, "changed", "YOLO has no holes: they are filled", instance)
    if len(rings) > 1:
        output.add_finding(entry, "changed", "YOLO has one polygon per instance: parts are joined by lines", instance)
    return _joined(rings)


def _within(ring: list[float], entry: ImageEntry) -> bool:
    return min(ring) >= 0 and max(ring[0::2]) <= entry.width and max(ring[1::2]) <= entry.height


def _joined(rings: Polygons) -> list[float]:
    """One ring through all: each further ring is joined at the pair of points that are nearest."""
    whole = [(x, y) for x, y in zip(rings[0][0::2], rings[0][1::2], strict=True)]
    for ring in rings[1:]:
        points = list(zip(ring[0::2], ring[1::2], strict=True))
        some = whole[:: max(1, len(whole) // 200)]
        others = points[:: max(1, len(points) // 200)]
        _, here, there = min((math.dist(a, b), a, b) for a in some for b in others)
        at, start = whole.index(here), points.index(there)
        turned = points[start:] + points[:start]
        whole = [*whole[: at + 1], *turned, there, *whole[at:]]
    return [value for point in whole for value in point]
