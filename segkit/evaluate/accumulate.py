"""From what became of every detection to precision over recall: COCOeval's own sums, vectorised.

For results that arrive picture by picture (``segkit.evaluate.stream``) and for resampled pictures
(``segkit.evaluate.resample``). Source of every step: ``COCOeval.accumulate`` and ``summarize`` of pycocotools 2.0,
whose bits the unweighted sums reproduce: the same order of detections, the same array layout under ``mean``.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from segkit.evaluate.engine import HIT, IGNORED, Evaluation, Outcomes

THRESHOLDS = np.linspace(0.5, 0.95, int(np.round((0.95 - 0.5) / 0.05)) + 1, endpoint=True)
RECALLS = np.linspace(0.0, 1.0, int(np.round((1.0 - 0.0) / 0.01)) + 1, endpoint=True)
_ALL, _SMALL, _MEDIUM, _LARGE = range(4)


def accumulate(found: Outcomes, category_ids: Sequence[int], caps: Sequence[int], curves_from: int = 0) -> Evaluation:
    """COCO's arrays and numbers.

    Args:
        found: The detections of all pictures, by category, image, falling score.
        category_ids: The sorted categories.
        caps: Detections counted in an image and category, rising.
        curves_from: The first cap for which precision is wanted; of the ones before it only recall is.
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
            fate = found.outcome[a, order].T  # [thresholds, D]
            positives = found.positives[a, k]
            for m, cap in enumerate(caps):
                counted = ranks < cap
                recall[:, k, a, m] = ((fate == HIT) & counted).sum(axis=1) / positives
                if m >= curves_from:
                    at_cap, score = fate[:, counted], sorted_scores[counted]
                    precision[:, :, k, a, m], scores[:, :, k, a, m] = _curves(at_cap, score, positives)
    return Evaluation(precision, recall, scores, summarize(precision, recall, list(caps)), list(category_ids))


def _curves(
    fate: npt.NDArray[np.uint8], score: npt.NDArray[np.float64], positives: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Precision and score at the recalls of one category, area and cap, [thresholds, recalls].

    Recall rises at hits only, so that precision needs to be known at those alone: the n-th hit is followed by the
    precision n over the detections that count so far. What no hit reaches is 0.

    Args:
        fate: [thresholds, D], by falling score.
        score: [D].
        positives: Annotations that can be found.
    """
    precision = np.zeros((len(THRESHOLDS), len(RECALLS)))
    scores = np.zeros_like(precision)
    if not len(score):
        return precision, scores
    so_far = np.cumsum(fate != IGNORED, axis=1)
    for t, line in enumerate(fate):
        hits = np.flatnonzero(line == HIT)
        number = np.arange(1.0, len(hits) + 1)
        envelope = falling(number / (so_far[t, hits] + np.spacing(1)))
        at = np.searchsorted(number / positives, RECALLS, side="left")
        reached = int(np.searchsorted(at, len(hits)))
        precision[t, :reached] = envelope[at[:reached]]
        scores[t, :reached] = score[hits[at[:reached]]]
    scores[:, 0] = score[0]  # recall 0 is reached before any hit
    return precision, scores


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
