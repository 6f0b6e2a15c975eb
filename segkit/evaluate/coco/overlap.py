"""What overlaps what in a picture: the ground on which every score beyond AP stands."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from segkit.data.masks import Box, box_ious, mask_ious, to_rle
from segkit.data.records import Rle
from segkit.evaluate.coco.band import band_distance, rle_band
from segkit.evaluate.coco.engine import IouType, Records
from segkit.evaluate.coco.inputs import Pair

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
_NEAREST_TO_ONE = 1 - 1e-10  # COCOeval's guard: masks that are equal match at any threshold


@dataclass(frozen=True, slots=True)
class Overlaps:
    """One picture: G annotations, D detections by falling score, and their overlap.

    ``iou`` is [D, G]; of crowds it is the share of the detection that lies inside.
    """

    image_id: int
    truth: Ints  # [G] category
    crowd: npt.NDArray[np.bool_]  # [G]
    found: Ints  # [D] category
    score: Floats  # [D]
    iou: Floats
    number: Ints  # [D]: which result of the pair
    annotation: Ints  # [G]: which annotation of the pair


def overlaps_of(pair: Pair, kind: IouType | str, cap: int) -> Iterator[Overlaps]:
    """Every picture of a pair, by image id.

    Args:
        pair: Annotations and results.
        kind: Overlap of masks (segm), boxes (bbox), or masks and their boundaries (boundary).
        cap: Detections counted in an image and category: the surest.
    """
    sizes = {image["id"]: (image["height"], image["width"]) for image in pair.truth["images"]}
    truth, found = _by_image(pair.truth["annotations"], sizes), _by_image(pair.results, sizes)
    for image_id in sorted(sizes):
        results = _surest([(n, pair.results[n]) for n in found[image_id]], cap)
        annotations = [(n, pair.truth["annotations"][n]) for n in truth[image_id]]
        crowd = np.array([bool(a["iscrowd"]) for _, a in annotations], bool)
        yield Overlaps(
            image_id,
            np.array([a["category_id"] for _, a in annotations], np.int64),
            crowd,
            np.array([r["category_id"] for _, r in results], np.int64),
            np.array([r["score"] for _, r in results], np.float64),
            ious([r for _, r in results], [a for _, a in annotations], crowd, kind, sizes[image_id]),
            np.array([n for n, _ in results], np.int64),
            np.array([n for n, _ in annotations], np.int64),
        )


def ious(
    results: Records, annotations: Records, crowd: npt.NDArray[np.bool_], kind: str, size: tuple[int, int]
) -> Floats:
    """Overlap of results and annotations of one picture [height, width], [D, G]."""
    if kind == "bbox":
        return box_ious([_box(r) for r in results], [_box(a) for a in annotations], crowd.tolist())
    found: list[Rle] = [to_rle(r["segmentation"], *size) for r in results]
    truth: list[Rle] = [to_rle(a["segmentation"], *size) for a in annotations]
    whole = mask_ious(found, truth, crowd.tolist())
    if kind == "segm" or not whole.size:
        return whole
    distance = band_distance(*size)
    found, truth = ([rle_band(rle, distance) for rle in rles] for rles in (found, truth))
    return np.where(crowd, whole, np.minimum(whole, mask_ious(found, truth, crowd.tolist())))


def matched(iou: Floats, crowd: npt.NDArray[np.bool_], threshold: float) -> Ints:
    """The annotation of each detection, [D]; -1 for none. COCOeval's greedy rule, for one category.

    The surest detection chooses first: the annotation that it overlaps most and that is still free; a crowd, which
    is never used up, only where no annotation will do.
    """
    chosen = np.full(iou.shape[0], -1, np.int64)
    free = ~crowd
    least = min(threshold, _NEAREST_TO_ONE)
    for d in range(iou.shape[0]):
        for candidates in (free, crowd):
            row = np.where(candidates, iou[d], -1.0)
            if row.size and (best := row.max()) >= least:
                chosen[d] = np.flatnonzero(row == best)[-1]  # of equals COCOeval keeps the last
                break
        if chosen[d] >= 0 and not crowd[chosen[d]]:
            free[chosen[d]] = False
    return chosen


def matched_in_category(picture: Overlaps, threshold: float, kept: npt.NDArray[np.bool_] | None = None) -> Ints:
    """The annotation of each detection of a picture among those of its own category, [D]; -1 for none.

    Args:
        picture: The picture.
        threshold: Overlap from which they match.
        kept: Which detections take part [D]; None: all.
    """
    chosen = np.full(len(picture.found), -1, np.int64)
    for category in np.unique(picture.found):
        own = picture.found == category
        rows = np.flatnonzero(own if kept is None else own & kept)
        columns = np.flatnonzero(picture.truth == category)
        if len(rows) and len(columns):
            inner = matched(picture.iou[np.ix_(rows, columns)], picture.crowd[columns], threshold)
            chosen[rows] = np.where(inner >= 0, columns[inner], -1)
    return chosen


def _by_image(records: Records, sizes: dict[int, Any]) -> dict[int, list[int]]:
    groups: dict[int, list[int]] = {image_id: [] for image_id in sizes}
    for number, record in enumerate(records):
        groups[record["image_id"]].append(number)
    return groups


def _surest(results: list[tuple[int, dict[str, Any]]], cap: int) -> list[tuple[int, dict[str, Any]]]:
    """By falling score, ties in the order of the file, at most ``cap`` of a category."""
    kept: list[tuple[int, dict[str, Any]]] = []
    seen: dict[int, int] = {}
    for number, result in sorted(results, key=lambda item: -item[1]["score"]):
        rank = seen[result["category_id"]] = seen.get(result["category_id"], 0) + 1
        if rank <= cap:
            kept.append((number, result))
    return kept


def _box(record: dict[str, Any]) -> Box:
    x, y, w, h = record["bbox"]
    return (x, y, w, h)
