"""The detections of each category in all images, and AP of any part of the images: what intervals are made of."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segkit.choices import EngineName
from segkit.evaluation.coco.accumulate import RECALLS, THRESHOLDS, precision_envelope
from segkit.evaluation.coco.engine import EvaluationInputs, IouType
from segkit.evaluation.coco.instance_metrics import COCO_MAX_DETS
from segkit.evaluation.coco.outcomes import FALSE_POSITIVE, TRUE_POSITIVE, match_detections

Weights = npt.NDArray[np.float32]  # [B, images]: how often each sample of the images has each one
Floats = npt.NDArray[np.float64]
_BLOCK = 2_000_000  # weights of detections in memory at once


@dataclass(frozen=True, slots=True)
class Pool:
    """The detections of one category in all images, over all areas, by falling score.

    ``image`` and ``score`` are [D], ``outcome`` is [D, thresholds].
    """

    image: npt.NDArray[np.int64]  # its place in the sorted ids
    score: Floats
    outcome: npt.NDArray[np.uint8]
    positives: npt.NDArray[np.int64]  # [images]: annotations that are not ignored


def pools_of(inputs: EvaluationInputs, iou_type: IouType, engine: EngineName = "fast") -> list[Pool]:
    """A pool for each category, of at most 100 detections of a category in an image.

    Args:
        inputs: Annotations and results.
        iou_type: Compare masks or boxes.
        engine: What matches.
    """
    inputs = inputs.renumbered()
    images, categories = sorted(image["id"] for image in inputs.truth["images"]), sorted(inputs.names)
    positives = Counter((a["category_id"], a["image_id"]) for a in inputs.truth["annotations"] if not a["iscrowd"])
    found = match_detections(inputs, iou_type, COCO_MAX_DETS[-1], engine)
    places, pools = np.searchsorted(images, found.image), []
    for k, category in enumerate(categories):
        mine = np.flatnonzero(found.slot == k)
        mine = mine[np.argsort(-found.score[mine], kind="mergesort")]
        own = np.array([positives[category, image] for image in images], np.int64)
        pools.append(Pool(places[mine], found.score[mine], found.outcome[0, mine], own))
    return pools


def average_precisions(pools: Sequence[Pool], weights: Weights) -> Floats:
    """COCO's average precision of every sample, category and threshold, [B, K, thresholds]; NaN without annotations.

    Args:
        pools: One for each category.
        weights: How often each sample has each image.
    """
    scores = np.full((len(weights), len(pools), len(THRESHOLDS)), np.nan)
    for k, pool in enumerate(pools):
        positives = weights @ pool.positives.astype(np.float32)  # [B]
        for block in _blocks(len(weights), len(pool.image)):
            annotated = positives[block] > 0
            of_detection = weights[block][:, pool.image]  # [b, D]
            for t in range(len(THRESHOLDS)):
                ap = _average_precision(of_detection, pool.outcome[:, t], np.where(annotated, positives[block], 1.0))
                scores[block, k, t] = np.where(annotated, ap, np.nan)
    return scores


def _average_precision(weights: Weights, outcome: npt.NDArray[np.uint8], positives: npt.NDArray[np.floating]) -> Floats:
    """Average precision at one threshold, [b]: the envelope times the recalls that each true positive adds."""
    where = np.flatnonzero(outcome == TRUE_POSITIVE)
    if not len(where):
        return np.zeros(len(weights))
    fp = np.cumsum(np.where(outcome == FALSE_POSITIVE, weights, np.float32(0)), axis=1, dtype=np.float64)[:, where]
    tp = np.cumsum(weights[:, where], axis=1, dtype=np.float64)
    envelope = precision_envelope(tp / (tp + fp + np.spacing(1)))
    reached = np.searchsorted(RECALLS, tp / positives[:, None], side="right")  # recalls up to each true positive
    steps = np.diff(reached, axis=1, prepend=0)
    return np.asarray((envelope * steps).sum(axis=1) / len(RECALLS))


def _blocks(rows: int, columns: int) -> Iterator[slice]:
    size = max(1, _BLOCK // max(1, columns))
    for begin in range(0, rows, size):
        yield slice(begin, begin + size)


def mean_ap(scores: Floats, threshold: int | None = None) -> Floats:
    """AP of every sample, [B]: the mean over categories with annotations; NaN where there is none.

    Args:
        scores: [B, K, thresholds].
        threshold: Index of the one IoU threshold; None: the mean over all.
    """
    picked = scores if threshold is None else scores[:, :, [threshold]]
    known = ~np.isnan(picked)
    count = known.sum(axis=(1, 2))
    total = np.where(known, picked, 0).sum(axis=(1, 2))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
