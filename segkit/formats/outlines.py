"""The outlines of predicted instances for other programs: ImageJ's ROIs, and GeoJSON as QuPath reads it.

Outlines follow the edges of the pixels: filling one gives the mask again.
"""

import re
import uuid
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segkit.data.contours import Ring, trace
from segkit.data.masks import rle_crop, to_rle
from segkit.data.records import Result

Colours = dict[int, tuple[int, int, int]]
_MOVE, _LINE, _CLOSE = 0.0, 1.0, 4.0  # of a path, in Java's PathIterator
_SPACE = uuid.UUID("9b1b36d0-6f8a-4e0c-9d54-7f3f9c3f1d52")  # makes ids of features that are the same every time


def rings_of(result: Result, height: int, width: int) -> tuple[list[Ring], list[Ring]]:
    """The outer outlines and the holes of a result, in pixels of the image; of its box where it has no mask."""
    if result.segmentation is None:
        if result.bbox is None:
            return [], []
        x, y, w, h = (round(value) for value in result.bbox)
        return ([[(x, y), (x + w, y), (x + w, y + h), (x, y + h)]] if w > 0 and h > 0 else []), []
    crop = rle_crop(to_rle(result.segmentation, height, width))
    if crop is None:
        return [], []
    top, left, bitmap = crop
    outer, holes = ([[(x + left, y + top) for x, y in ring] for ring in rings] for rings in trace(bitmap > 0))
    return outer, holes


def write_imagej(path: Path, results: Sequence[Result], names: dict[int, str], height: int, width: int) -> None:
    """Write the instances of one image as ROIs for ImageJ's ROI manager, in a zip file.

    Args:
        path: The file.
        results: Of one image.
        names: Category names by id.
        height: Of the image.
        width: Likewise.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, result in enumerate(results, 1):
            outer, holes = rings_of(result, height, width)
            if outer:
                name = f"{number:04d}-{names[result.category_id]}"
                file = f"{number:04d}-{file_name(names[result.category_id])}.roi"
                archive.writestr(zipfile.ZipInfo(file), _roi([*outer, *holes], name))


def _roi(rings: Sequence[Ring], name: str) -> bytes:
    """An ROI: a polygon, or a composite one of several outlines, which ImageJ fills by the even-odd rule."""
    from roifile import ROI_TYPE, ImagejRoi  # noqa: PLC0415 -- an extra

    if len(rings) == 1:
        roi = ImagejRoi.frompoints(rings[0], name=name)
        roi.roitype = ROI_TYPE.POLYGON
        roi.right, roi.bottom = (max(point[axis] for point in rings[0]) for axis in (0, 1))  # corners, not pixels
        return bytes(roi.tobytes())
    path = [
        value
        for ring in rings
        for values in ((_MOVE, *ring[0]), *((_LINE, *point) for point in ring[1:]), (_CLOSE,))
        for value in values
    ]
    points = np.array([point for ring in rings for point in ring])
    roi = ImagejRoi(
        roitype=ROI_TYPE.RECT, left=int(points[:, 0].min()), top=int(points[:, 1].min()),
        right=int(points[:, 0].max()), bottom=int(points[:, 1].max()), shape_roi_size=len(path),
        multi_coordinates=np.array(path, np.float32), name=name,
    )  # fmt: skip
    return bytes(roi.tobytes())


def file_name(text: str) -> str:
    """A name as a part of a file's name, on any system."""
    return re.sub(r"[^\w.-]+", "_", text)[:60] or "_"


def qupath_document(
    results: Sequence[Result], names: dict[int, str], colours: Colours, key: str, height: int, width: int
) -> dict[str, Any]:
    """The instances of one image as GeoJSON: detections with a class, a colour, and the score as a measurement.

    Args:
        results: Of one image.
        names: Category names by id.
        colours: RGB by category id.
        key: Of the image; ids of features are made of it.
        height: Of the image.
        width: Likewise.
    """
    features = []
    for number, result in enumerate(results, 1):
        outer, holes = rings_of(result, height, width)
        if not outer:
            continue
        polygons = [[_closed(ring) for ring in part] for part in parts_of(outer, holes)]
        one = len(polygons) == 1
        geometry = {"type": "Polygon" if one else "MultiPolygon", "coordinates": polygons[0] if one else polygons}
        category = names[result.category_id]
        features.append({
            "type": "Feature",
            "id": str(uuid.uuid5(_SPACE, f"{key}/{number}")),
            "geometry": geometry,
            "properties": {
                "objectType": "detection",
                "name": f"{category} {number}",
                "classification": {"name": category, "color": list(colours[result.category_id])},
                "measurements": {"id": number, "score": round(result.score, 6)},
            },
        })  # fmt: skip
    return {"type": "FeatureCollection", "features": features}


def _closed(ring: Ring) -> list[list[int]]:
    return [list(point) for point in (*ring, ring[0])]


def parts_of(outer: Sequence[Ring], holes: Sequence[Ring]) -> list[list[Ring]]:
    """Each outer outline with its holes: those for which it is the smallest one around them.

    Outlines that pass a corner twice, as where two pixels meet at it, are cut there: polygons of programs for maps and
    slides must not touch themselves (OGC 06-103r4, 6.1.11).
    """
    simple = [ring for each in (*outer, *holes) for ring in _simple(each)]
    outer = [ring for ring in simple if _signed_area(ring) > 0]
    holes = [ring for ring in simple if _signed_area(ring) < 0]
    if len(outer) == 1:
        return [[outer[0], *holes]]
    parts = [[ring] for ring in sorted(outer, key=_area)]
    for hole in holes:
        next(part for part in parts if _inside(hole, part[0])).append(hole)
    return parts


def _simple(ring: Ring) -> list[Ring]:
    """The loops of an outline, none of which passes a corner twice."""
    loops: list[Ring] = []
    path: Ring = []
    places: dict[tuple[int, int], int] = {}
    for corner in ring:
        if corner in places:
            start = places[corner]
            loops.append(path[start:])
            for passed in path[start:]:
                del places[passed]
            del path[start:]
        places[corner] = len(path)
        path.append(corner)
    return [*loops, path]


def _area(ring: Ring) -> float:
    return abs(_signed_area(ring))


def _signed_area(ring: Ring) -> float:
    """Positive for outer outlines, which run clockwise (y points down)."""
    return sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(ring, [*ring[1:], ring[0]], strict=True)) / 2


def _inside(hole: Ring, ring: Ring) -> bool:
    """Whether a hole is inside an outline: whether the pixel beside the hole's first edge is, by the even-odd rule."""
    (x1, y1), (x2, y2) = hole[0], hole[1]
    dx, dy = np.sign(x2 - x1), np.sign(y2 - y1)
    # Outlines have their mask on the right (y points down), a hole, too.
    x, y = x1 + dx / 2 - dy / 2, y1 + dy / 2 + dx / 2
    crossings = 0
    for (ax, ay), (_, by) in zip(ring, [*ring[1:], ring[0]], strict=True):
        if ax > x and min(ay, by) < y < max(ay, by):  # edges are upright or level
            crossings += 1
    return crossings % 2 == 1
