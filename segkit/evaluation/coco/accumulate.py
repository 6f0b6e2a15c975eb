"""From the outcome of every detection to precision over recall: COCOeval's sums, vectorised.

For results that arrive image by image (``segkit.evaluation.coco.streaming``) and for parts of the images
(``segkit.evaluation.analysis.pools``). Source of every step: ``COCOeval.accumulate`` and ``summarize`` of pycocotools
2.0, whose bits the unweighted sums reproduce: the same order of detections, the same array layout under ``mean``.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from segkit.evaluation.coco.engine import PrecisionRecall
from segkit.evaluation.coco.outcomes import IGNORED, TRUE_POSITIVE, Outcomes

Floats = npt.NDArray[np.float64]
THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
_ALL, _SMALL, _MEDIUM, _LARGE = range(4)


def accumulate(
    found: Outcomes, category_ids: Sequence[int], max_dets: Sequence[int], curves_from: int = 0
) -> PrecisionRecall:
    """COCO's arrays and numbers.

    Args:
        found: The detections of all images, by category, image, falling score.
        category_ids: The sorted categories.
        max_dets: Limits on the detections of a category in an image, rising.
        curves_from: Index of the first limit whose curves are computed; for those before it only recall over all areas.
    """
    num_areas, num_categories = found.positives.shape
    shape = (len(RECALLS), num_categories, num_areas, len(max_dets))
    precision = -np.ones((len(THRESHOLDS), *shape))
    scores = -np.ones((len(THRESHOLDS), *shape))
    recall = -np.ones((len(THRESHOLDS), *shape[1:]))
    borders = np.searchsorted(found.slot, np.arange(num_categories + 1))
    for k, (begin, end) in enumerate(pairwise(borders)):
        order = begin + np.argsort(-found.score[begin:end], kind="mergesort")
        ranks, sorted_scores = found.rank[order], found.score[order]
        for a in np.flatnonzero(found.positives[:, k]):
            outcome = np.ascontiguousarray(found.outcome[a, order].T)  # [thresholds, D]
            for m, limit in enumerate(max_dets):
                if m < curves_from and a != _ALL:
                    continue
                kept = ranks < limit
                limited, score = (outcome, sorted_scores) if kept.all() else (outcome[:, kept], sorted_scores[kept])
                recall[:, k, a, m] = np.count_nonzero(limited == TRUE_POSITIVE, axis=1) / found.positives[a, k]
                if m >= curves_from:
                    curves = _curves(limited, score, int(found.positives[a, k]))
                    precision[:, :, k, a, m], scores[:, :, k, a, m] = curves
    return PrecisionRecall(precision, recall, scores, summarize(precision, recall, list(max_dets)), list(category_ids))


def _curves(outcome: npt.NDArray[np.uint8], score: Floats, positives: int) -> tuple[Floats, Floats]:
    """Precision and score at the recalls of one category, area and limit, [thresholds, recalls].

    Recall rises at true positives only: a recall is reached at the first true positive whose number, divided by
    ``positives``, is no less. Recalls that are not reached have 0.

    Args:
        outcome: [thresholds, D], by falling score.
        score: [D].
        positives: Annotations that are not ignored.
    """
    precision = np.zeros((len(THRESHOLDS), len(RECALLS)))
    if not len(score):
        return precision, precision
    rows, columns = np.nonzero(outcome == TRUE_POSITIVE)
    before = np.searchsorted(rows, np.arange(len(THRESHOLDS) + 1))  # true positives of earlier thresholds
    tp = np.diff(before)
    nth = np.arange(len(rows)) - before[rows]  # of its threshold, from 0
    counted = np.cumsum(outcome != IGNORED, axis=1, dtype=np.int32)[rows, columns]
    envelope, at = np.zeros((len(tp), tp.max() + 1)), np.zeros((len(tp), tp.max() + 1), np.int64)
    envelope[rows, nth], at[rows, nth] = (nth + 1) / (counted + np.spacing(1)), columns
    envelope = precision_envelope(envelope)
    number = np.searchsorted(np.arange(positives + 1) / positives, RECALLS, side="left")  # of the true positive, from 1
    reached = number <= tp[:, None]
    place = np.minimum(np.maximum(number - 1, 0), tp.max())
    at = np.where(number == 0, 0, at[:, place])  # recall 0 is reached before any true positive
    return np.where(reached, envelope[:, place], 0.0), np.where(reached, score[at], 0.0)


def precision_envelope(precision: Floats) -> Floats:
    """The highest precision at this recall or a higher one, along the last axis."""
    return np.maximum.accumulate(precision[..., ::-1], axis=-1)[..., ::-1]


def summarize(precision: Floats, recall: Floats, max_dets: list[int]) -> list[float]:
    """The twelve numbers; -1 where there is nothing to average over."""
    ap = [_mean(precision, area, max_dets, 100, threshold) for area, threshold in (
        (_ALL, None), (_ALL, 0), (_ALL, 5), (_SMALL, None), (_MEDIUM, None), (_LARGE, None),
    )]  # fmt: skip
    ar = [_mean(recall, area, max_dets, limit, None) for area, limit in (
        (_ALL, 1), (_ALL, 10), (_ALL, 100), (_SMALL, 100), (_MEDIUM, 100), (_LARGE, 100),
    )]  # fmt: skip
    return ap + ar


def _mean(values: Floats, area: int, max_dets: list[int], limit: int, threshold: int | None) -> float:
    of_threshold = values if threshold is None else values[[threshold]]
    picked = of_threshold[..., [area], [max_dets.index(limit)]]  # as COCOeval indexes: the sum has the same order
    return mean_of_known(picked)


def mean_of_known(values: Floats) -> float:
    """The mean of the values other than COCO's -1; -1 if there are none."""
    known = values[values > -1]
    return float(np.mean(known)) if known.size else -1.0
