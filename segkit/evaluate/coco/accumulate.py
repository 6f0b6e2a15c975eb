"""From what became of every detection to precision over recall: COCOeval's own sums, vectorised.

For results that arrive picture by picture (``segkit.evaluate.coco.streaming``) and for resampled pictures
(``segkit.evaluate.analysis.bootstrap``). Source of every step: ``COCOeval.accumulate`` and ``summarize`` of pycocotools
2.0, whose bits the unweighted sums reproduce: the same order of detections, the same array layout under ``mean``.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from segkit.evaluate.coco.engine import HIT, IGNORED, Evaluation, Outcomes

THRESHOLDS = np.linspace(0.5, 0.95, int(np.round((0.95 - 0.5) / 0.05)) + 1, endpoint=True)
RECALLS = np.linspace(0.0, 1.0, int(np.round((1.0 - 0.0) / 0.01)) + 1, endpoint=True)
_ALL, _SMALL, _MEDIUM, _LARGE = range(4)


def accumulate(found: Outcomes, category_ids: Sequence[int], caps: Sequence[int], curves_from: int = 0) -> Evaluation:
    """COCO's arrays and numbers.

    Args:
        found: The detections of all pictures, by category, image, falling score.
        category_ids: The sorted categories.
        caps: Detections counted in an image and category, rising.
        curves_from: The first cap of which everything is wanted; of those before it recall is, over all areas.
    """
    num_areas, num_categories = found.positives.shape
    shape = (len(RECALLS), num_categories, num_areas, len(caps))
    precision = -np.ones((len(THRESHOLDS), *shape))
    scores = -np.ones((len(THRESHOLDS), *shape))
    recall = -np.ones((len(THRESHOLDS), *shape[1:]))
    borders = np.searchsorted(found.slot, np.arange(num_categories + 1))
    for k, (begin, end) in enumerate(pairwise(borders)):
        order = begin + np.argsort(-found.score[begin:end], kind="mergesort")
        ranks, sorted_scores = found.rank[order], found.score[order]
        for a in np.flatnonzero(found.positives[:, k]):
            fate = np.ascontiguousarray(found.outcome[a, order].T)  # [thresholds, D]
            for m, cap in enumerate(caps):
                if m < curves_from and a != _ALL:
                    continue
                counted = ranks < cap
                at_cap, score = (fate, sorted_scores) if counted.all() else (fate[:, counted], sorted_scores[counted])
                recall[:, k, a, m] = np.count_nonzero(at_cap == HIT, axis=1) / found.positives[a, k]
                if m >= curves_from:
                    curves = _curves(at_cap, score, int(found.positives[a, k]))
                    precision[:, :, k, a, m], scores[:, :, k, a, m] = curves
    return Evaluation(precision, recall, scores, summarize(precision, recall, list(caps)), list(category_ids))


def _curves(
    fate: npt.NDArray[np.uint8], score: npt.NDArray[np.float64], positives: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Precision and score at the recalls of one category, area and cap, [thresholds, recalls].

    Recall rises at hits only: a recall is reached at the first hit whose number, over all that can be found, is no
    less. What no hit reaches is 0.

    Args:
        fate: [thresholds, D], by falling score.
        score: [D].
        positives: Annotations that can be found.
    """
    precision = np.zeros((len(THRESHOLDS), len(RECALLS)))
    if not len(score):
        return precision, precision
    rows, columns = np.nonzero(fate == HIT)
    before = np.searchsorted(rows, np.arange(len(THRESHOLDS) + 1))  # hits of earlier thresholds
    hits = np.diff(before)
    nth = np.arange(len(rows)) - before[rows]  # of its threshold, from 0
    counted = np.cumsum(fate != IGNORED, axis=1, dtype=np.int32)[rows, columns]
    envelope, at = np.zeros((len(hits), hits.max() + 1)), np.zeros((len(hits), hits.max() + 1), np.int64)
    envelope[rows, nth], at[rows, nth] = (nth + 1) / (counted + np.spacing(1)), columns
    envelope = falling(envelope)
    number = np.searchsorted(np.arange(positives + 1) / positives, RECALLS, side="left")  # of the hit, from 1
    reached = number <= hits[:, None]
    place = np.minimum(np.maximum(number - 1, 0), hits.max())
    at = np.where(number == 0, 0, at[:, place])  # recall 0 is reached before any hit
    return np.where(reached, envelope[:, place], 0.0), np.where(reached, score[at], 0.0)


def falling(precision: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The envelope along the last axis: the best precision at this recall or a higher one."""
    return np.maximum.accumulate(precision[..., ::-1], axis=-1)[..., ::-1]


def summarize(precision: npt.NDArray[np.float64], recall: npt.NDArray[np.float64], caps: list[int]) -> list[float]:
    """The twelve numbers; -1 where there is nothing to average over."""
    ap = [_mean(precision, area, caps, 100, threshold) for area, threshold in (
        (_ALL, None), (_ALL, 0), (_ALL, 5), (_SMALL, None), (_MEDIUM, None), (_LARGE, None),
    )]  # fmt: skip
    ar = [_mean(recall, area, caps, cap, None) for area, cap in (
        (_ALL, 1), (_ALL, 10), (_ALL, 100), (_SMALL, 100), (_MEDIUM, 100), (_LARGE, 100),
    )]  # fmt: skip
    return ap + ar


def _mean(values: npt.NDArray[np.float64], area: int, caps: list[int], cap: int, threshold: int | None) -> float:
    of_threshold = values if threshold is None else values[[threshold]]
    picked = of_threshold[..., [area], [caps.index(cap)]]  # as COCOeval indexes: the order of the sum is the same
    known = picked[picked > -1]
    return float(np.mean(known)) if known.size else -1.0
