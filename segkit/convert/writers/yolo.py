"""YOLO's segmentation folders: ``images/``, ``labels/`` and ``data.yaml``.

A line holds one polygon and nothing else: holes are filled, parts are joined by a line there and back (as Ultralytics'
own converter does), run lengths become the outline of their pixels; each is reported.
"""

import math
from pathlib import PurePosixPath

from segkit.convert.outgoing import Outgoing
from segkit.convert.spool import Entry
from segkit.data.contours import trace
from segkit.data.masks import rle_bbox, rle_to_mask
from segkit.data.records import Instance, Polygons
from segkit.formats.labelme.instances import IGNORE
from segkit.formats.yolo import document


def write_yolo_dataset(going: Outgoing) -> None:
    """Write pictures and labels of every split, and ``data.yaml``."""
    places = [f"{split}/{name}" for split, name in zip(going.split_of, going.names, strict=True)]
    going.place_pictures([f"images/{place}" for place in places])
    numbers = {category.name: number for number, category in enumerate(going.categories)}
    taken: set[str] = set()
    for entry, place in zip(going.entries, places, strict=True):
        going.progress.advance()
        path = going.root / "labels" / PurePosixPath(place).with_suffix(".txt")
        if path.as_posix().casefold() in taken:
            going.finding(entry, "changed", f"shares its labels with another picture of the name {path.stem}")
        taken.add(path.as_posix().casefold())
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            for instance in going.instances(entry):
                if instance.label != IGNORE:
                    values = _polygon(going, entry, instance)
                    shares = [v / (entry.height if i % 2 else entry.width) for i, v in enumerate(values)]
                    line = " ".join(repr(min(max(share, 0.0), 1.0)) for share in shares)
                    file.write(f"{numbers[instance.label]} {line}\n")
    import yaml  # noqa: PLC0415 -- few conversions need it

    top = document([category.name for category in going.categories], list(going.splits))
    text = yaml.safe_dump(top, allow_unicode=True, sort_keys=False)
    (going.root / "data.yaml").write_text(text, encoding="utf-8")


def _polygon(going: Outgoing, entry: Entry, instance: Instance) -> list[float]:
    if instance.iscrowd:
        going.finding(entry, "changed", "YOLO knows no crowds: it is an instance now", instance)
    if isinstance(instance.segmentation, list):
        rings = instance.segmentation
        if any(not _within(ring, entry) for ring in rings):
            going.finding(entry, "changed", "points outside the picture were moved to its edge", instance)
    else:
        x, y, w, h = (int(value) for value in rle_bbox(instance.segmentation))
        outer, holes = trace(rle_to_mask(instance.segmentation)[y : y + h, x : x + w] != 0)
        rings = [[float(v) for px, py in ring for v in (px + x, py + y)] for ring in outer]
        going.finding(entry, "changed", "run lengths became the outline of their pixels", instance)
        if holes:
            going.finding(entry, "changed", "YOLO knows no holes: they are filled", instance)
    if len(rings) > 1:
        going.finding(entry, "changed", "YOLO knows no parts: they are joined by a line there and back", instance)
    return _joined(rings)


def _within(ring: list[float], entry: Entry) -> bool:
    return min(ring) >= 0 and max(ring[0::2]) <= entry.width and max(ring[1::2]) <= entry.height


def _joined(rings: Polygons) -> list[float]:
    """One ring through all: each further one is entered and left at the pair of points that are nearest."""
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
