"""The IoU of detections and annotations in each image, and COCOeval's matching at one threshold."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from segkit.data.masks import Box, box_ious, mask_ious, to_rle
from segkit.data.records import Rle
from segkit.evaluation.coco.engine import EvaluationInputs, IouType, Records

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
_NEAREST_TO_ONE = 1 - 1e-10  # COCOeval's own limit: equal masks match at any threshold


@dataclass(frozen=True, slots=True)
class ImageOverlaps:
    """One image: G annotations, D detections by falling score, and their overlap.

    ``iou`` is [D, G]; for a crowd it is the share of the detection that lies inside.
    """

    image_id: int
    true_category: Ints  # [G]
    crowd: Bools  # [G]
    category: Ints  # [D]
    score: Floats  # [D]
    iou: Floats
    result_index: Ints  # [D]: in the inputs' results
    annotation_index: Ints  # [G]: in the inputs' annotations


def overlaps_by_image(inputs: EvaluationInputs, iou_type: IouType) -> Iterator[ImageOverlaps]:
    """The overlaps of every image, by image id, with all of its detections: limits belong to AP.

    Args:
        inputs: Annotations and results.
        iou_type: Compare masks or boxes.
    """
    sizes = {image["id"]: (image["height"], image["width"]) for image in inputs.truth["images"]}
    truth, found = _by_image(inputs.truth["annotations"], sizes), _by_image(inputs.results, sizes)
    for image_id in sorted(sizes):
        result_index = sorted(found[image_id], key=lambda n: -inputs.results[n]["score"])  # ties as in the file
        results = [inputs.results[n] for n in result_index]
        annotations = [inputs.truth["annotations"][n] for n in truth[image_id]]
        crowd = np.array([bool(a["iscrowd"]) for a in annotations], bool)
        yield ImageOverlaps(
            image_id,
            np.array([a["category_id"] for a in annotations], np.int64),
            crowd,
            np.array([r["category_id"] for r in results], np.int64),
            np.array([r["score"] for r in results], np.float64),
            ious(results, annotations, crowd, iou_type, sizes[image_id]),
            np.array(result_index, np.int64),
            np.array(truth[image_id], np.int64),
        )


def ious(results: Records, annotations: Records, crowd: Bools, iou_type: str, size: tuple[int, int]) -> Floats:
    """Overlap of results and annotations of one image, [D, G].

    Args:
        results: D results.
        annotations: G annotations.
        crowd: Which annotations are crowds, [G].
        iou_type: segm or bbox.
        size: Height and width of the image.
    """
    if iou_type == "bbox":
        return box_ious([_box(r) for r in results], [_box(a) for a in annotations], crowd.tolist())
    found: list[Rle] = [to_rle(r["segmentation"], *size) for r in results]
    truth: list[Rle] = [to_rle(a["segmentation"], *size) for a in annotations]
    return mask_ious(found, truth, crowd.tolist())


def match_in_category(image: ImageOverlaps, threshold: float, kept: Bools | None = None) -> Ints:
    """The annotation of each detection among those of its own category, [D]; -1 for none.

    Args:
        image: The overlaps of an image.
        threshold: The lowest IoU of a match.
        kept: Which detections take part [D]; None: all.
    """
    matches = np.full(len(image.category), -1, np.int64)
    for category in np.unique(image.category):
        own = image.category == category
        rows = np.flatnonzero(own if kept is None else own & kept)
        columns = np.flatnonzero(image.true_category == category)
        if len(rows) and len(columns):
            inner = _match(image.iou[np.ix_(rows, columns)], image.crowd[columns], threshold)
            matches[rows] = np.where(inner >= 0, columns[inner], -1)
    return matches


def _match(iou: Floats, crowd: Bools, threshold: float) -> Ints:
    """The annotation of each detection, [D]; -1 for none. COCOeval's greedy rule, for one category.

    By falling score, each detection takes the free annotation that it overlaps most. Only if there is none it takes a
    crowd, which any number of detections may take.
    """
    matches = np.full(iou.shape[0], -1, np.int64)
    free = ~crowd
    least = min(threshold, _NEAREST_TO_ONE)
    for d in range(iou.shape[0]):
        for candidates in (free, crowd):
            row = np.where(candidates, iou[d], -1.0)
            if row.size and (best := row.max()) >= least:
                matches[d] = np.flatnonzero(row == best)[-1]  # of equals COCOeval keeps the last
                break
        if matches[d] >= 0 and not crowd[matches[d]]:
            free[matches[d]] = False
    return matches


def _by_image(records: Records, sizes: dict[int, Any]) -> dict[int, list[int]]:
    groups: dict[int, list[int]] = {image_id: [] for image_id in sizes}
    for number, record in enumerate(records):
        groups[record["image_id"]].append(number)
    return groups


def _box(record: dict[str, Any]) -> Box:
    x, y, w, h = record["bbox"]
    return (x, y, w, h)
