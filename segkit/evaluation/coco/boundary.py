"""Boundary AP: AP by the overlap of contours as well as of masks, in which errors of large instances count.

Source: Cheng et al., Boundary IoU (CVPR 2021): the overlap is the smaller of mask IoU and the IoU of the bands inside
the contours; of crowds it is that of the masks.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from segkit.data.bands import band_distance, band_ious
from segkit.data.masks import mask_ious, to_rle
from segkit.data.records import Rle
from segkit.evaluation.coco.accumulate import THRESHOLDS, Floats, accumulate
from segkit.evaluation.coco.engine import EvaluationInputs, PrecisionRecall
from segkit.evaluation.coco.instance_metrics import COCO_MAX_DETS
from segkit.evaluation.coco.matching import Place, match_by_overlap


def evaluate_boundary(inputs: EvaluationInputs, max_dets: list[int], areas: Sequence[float] = ()) -> PrecisionRecall:
    """COCO's numbers with boundary IoU.

    Args:
        inputs: Annotations, with ids from 1, and results, with masks.
        max_dets: Limits on the detections of a category in an image, rising.
        areas: Edges of size classes, whose ranges follow COCO's four.
    """
    found = match_by_overlap(inputs, max_dets[-1], _overlaps, areas)
    return accumulate(found, sorted(inputs.names), max_dets, curves_from=len(COCO_MAX_DETS) - 1)


def _overlaps(places: Sequence[Place]) -> Iterator[Floats]:
    """The smaller of mask IoU and band IoU of every place, [D, G]; that of the masks where it is too low to match."""
    for place in places:
        found: list[Rle] = [to_rle(r["segmentation"], *place.size) for r in place.results]
        truth: list[Rle] = [to_rle(a["segmentation"], *place.size) for a in place.annotations]
        crowd = [bool(a["iscrowd"]) for a in place.annotations]
        overlap = mask_ious(found, truth, crowd)
        # The smaller of two is too low to match where one is: most pairs need no bands.
        rows, columns = np.nonzero((overlap >= THRESHOLDS[0]) & ~np.array(crowd, bool))
        pairs = list(zip(rows.tolist(), columns.tolist(), strict=True))
        bands = band_ious(found, truth, pairs, band_distance(*place.size))
        overlap[rows, columns] = np.minimum(overlap[rows, columns], bands)
        yield overlap
