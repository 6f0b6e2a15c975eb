"""Polygon, RLE, bitmap: exact conversions by COCO's rules (sole user of ``pycocotools.mask``).

One rule says which pixels a polygon covers: COCO's rasteriser (``rleFrPoly`` in cocoapi), because it is what
scores are computed with. ``area`` and ``bbox`` are always those of the segmentation that is written.
"""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from segkit.data.polygons import Box as Box
from segkit.data.polygons import measure_polygons
from segkit.data.records import Polygons, Rle, Segmentation
from segkit.data.run_text import read_runs

Mask = npt.NDArray[np.uint8]  # [H, W], 0 or 1


def polygons_to_rle(polygons: Polygons, height: int, width: int) -> Rle:
    """The union of polygons, clipped to the image; parts of fewer than three points cover nothing."""
    parts = [part for part in polygons if len(part) >= 6]
    if not parts:
        return mask_to_rle(np.zeros((height, width), np.uint8))
    return _to_text(coco_mask.merge(coco_mask.frPyObjects(parts, height, width)))


def to_rle(segmentation: Segmentation, height: int, width: int) -> Rle:
    """Any COCO segmentation as compressed RLE."""
    if isinstance(segmentation, list):
        return polygons_to_rle(segmentation, height, width)
    if isinstance(segmentation["counts"], list):
        return _to_text(coco_mask.frPyObjects(segmentation, *segmentation["size"]))
    return _to_text(segmentation)


def mask_to_rle(mask: npt.NDArray[Any]) -> Rle:
    """Encode a bitmap [H, W]; pixels that are not zero are inside."""
    return _to_text(coco_mask.encode(np.asfortranarray(mask != 0, dtype=np.uint8)))


def rle_to_mask(rle: Rle) -> Mask:
    """Decode to a bitmap [H, W] of 0 and 1."""
    return cast(Mask, coco_mask.decode(rle))


def rle_crop(rle: Rle) -> tuple[int, int, Mask] | None:
    """The mask in its tight box: (top, left, bitmap [h, w]); None where it is empty.

    Time and memory depend on the box and not on the image.
    """
    left, top, width, height = (int(side) for side in coco_mask.toBbox(rle))
    if not width or not height:
        return None
    borders = np.cumsum(read_runs(rle["counts"]))
    begins = borders[0::2][: len(borders) // 2]
    lengths = borders[1::2] - begins
    begins, lengths = begins[lengths > 0], lengths[lengths > 0]
    # COCO counts down the columns; a run goes over a column's end only where the box is as high as the image.
    columns, rows = np.divmod(begins, rle["size"][0])
    places = (columns - left) * height + rows - top
    steps = np.zeros(width * height + 1, np.int8)
    np.add.at(steps, places, 1)
    np.subtract.at(steps, places + lengths, 1)
    return top, left, np.cumsum(steps[:-1], dtype=np.int8).reshape(width, height).T.view(np.uint8)


def rle_area(rle: Rle) -> int:
    """Number of pixels inside."""
    return int(coco_mask.area(rle))


def rle_bbox(rle: Rle) -> Box:
    """The tight box of the pixels inside, xywh; all zero where there are none."""
    x, y, w, h = (float(value) for value in coco_mask.toBbox(rle))
    return (x, y, w, h)


def measure(segmentation: Segmentation, height: int, width: int) -> tuple[int, Box]:
    """Area and tight box of a segmentation, clipped to the image."""
    if isinstance(segmentation, list) and len(segmentation) == 1 and len(segmentation[0]) >= 6:
        return measure_polygons(segmentation, height, width)[0]
    rle = to_rle(segmentation, height, width)
    return rle_area(rle), rle_bbox(rle)


def union(rles: Sequence[Rle]) -> Rle:
    """Pixels inside any of them."""
    return _to_text(coco_mask.merge(list(rles)))


def subtract(a: Rle, b: Rle) -> Rle:
    """Pixels inside ``a`` and not inside ``b``."""
    return mask_to_rle(rle_to_mask(a) & (1 - rle_to_mask(b)))


def mask_ious(found: Sequence[Rle], truth: Sequence[Rle], crowd: Sequence[bool]) -> npt.NDArray[np.float64]:
    """Intersection over union of every pair, [D, G]; over the area of the found mask where the truth is a crowd."""
    return _ious(list(found), list(truth), crowd)


def box_ious(found: Sequence[Box], truth: Sequence[Box], crowd: Sequence[bool]) -> npt.NDArray[np.float64]:
    """The same for xywh boxes."""
    return _ious(np.array(found, np.float64).reshape(-1, 4), np.array(truth, np.float64).reshape(-1, 4), crowd)


def _ious(found: Any, truth: Any, crowd: Sequence[bool]) -> npt.NDArray[np.float64]:
    if not len(found) or not len(truth):
        return np.zeros((len(found), len(truth)))
    return np.asarray(coco_mask.iou(found, truth, [int(each) for each in crowd]), np.float64)


def crop_to_rle(crop: npt.NDArray[Any], top: int, left: int, height: int, width: int) -> Rle:
    """Encode an image-sized mask of which only a crop [h, w] is not empty, without making the rest.

    Equal to ``mask_to_rle`` of the crop pasted into zeros at (``top``, ``left``); parts outside are cut off.
    Memory and time depend on the crop and not on the image.

    Args:
        crop: The bitmap.
        top: The row of its first row in the image.
        left: The column of its first column.
        height: Of the image.
        width: Likewise.
    """
    y0, x0 = max(top, 0), max(left, 0)
    inside = np.asarray(crop)[y0 - top : max(height - top, 0), x0 - left : max(width - left, 0)]
    rows, columns = inside.shape
    # COCO counts down the columns. A zero before the first and after each keeps their runs apart.
    pixels = np.zeros(1 + columns * (rows + 1), np.bool_)
    pixels[1:].reshape(columns, rows + 1)[:, :rows] = inside.T
    x, y = np.divmod(np.flatnonzero(pixels[1:] != pixels[:-1]), rows + 1)  # where runs begin and have ended, in turns
    places = (x + x0) * height + y + y0
    begins, ends = places[0::2], places[1::2]
    if len(begins) > 1:  # runs that touch over a column border are one run
        apart = begins[1:] != ends[:-1]
        begins = np.concatenate([begins[:1], begins[1:][apart]])
        ends = np.concatenate([ends[:-1][apart], ends[-1:]])
    borders = np.empty(2 * len(begins) + 2, np.int64)
    borders[0], borders[-1] = 0, height * width
    borders[1:-1:2], borders[2:-1:2] = begins, ends
    counts = np.diff(borders)
    if len(counts) > 1 and counts[-1] == 0:
        counts = counts[:-1]
    return _to_text(coco_mask.frPyObjects({"size": [height, width], "counts": counts.tolist()}, height, width))


def tight_crop(mask: npt.NDArray[Any]) -> tuple[int, int, npt.NDArray[Any]] | None:
    """A bitmap [H, W] without empty borders: (top, left, bitmap [h, w]); None where it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    top, left = int(rows[0]), int(columns[0])
    return top, left, np.ascontiguousarray(mask[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1])


def _to_text(rle: Any) -> Rle:
    counts = rle["counts"]
    text = counts.decode("ascii") if isinstance(counts, bytes) else counts
    return {"size": [int(side) for side in rle["size"]], "counts": text}
