"""From what became of every detection to precision over recall: COCOeval's own sums, vectorised.

For results that arrive picture by picture (``segkit.evaluate.stream``) and for resampled pictures
(``segkit.evaluate.resample``). Source of every step: ``COCOeval.accumulate`` and ``summarize`` of pycocotools 2.0,
whose bits the unweighted sums reproduce: the same order of detections, the same array layout under ``mean``.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from segkit.evaluate.engine import HIT, MISS, Evaluation, Outcomes

THRESHOLDS = np.linspace(0.5, 0.95, int(np.round((0.95 - 0.5) / 0.05)) + 1, endpoint=True)
RECALLS = np.linspace(0.0, 1.0, int(np.round((1.0 - 0.0) / 0.01)) + 1, endpoint=True)
_ALL, _SMALL, _MEDIUM, _LARGE = range(4)


def accumulate(found: Outcomes, category_ids: Sequence[int], caps: Sequence[int]) -> Evaluation:
    """COCO's arrays and numbers.

    Args:
        found: The detections of all pictures, by category, image, falling score.
        category_ids: The sorted categories.
        caps: Detections counted in an image and category, rising.
    """
    num_areas, num_categories = found.positives.shape
    shape = (len(RECALLS), num_categories, num_areas, len(caps))
    precision = -np.ones((len(THRESHOLDS), *shape))
    scores = -np.ones((len(THRESHOLDS), *shape))
    recall = -np.ones((len(THRESHOLDS), *shape[1:]))
    borders = np.searchsorted(found.slot, np.arange(num_categories + 1))
    for k, (begin, end) in enumerate(pairwise(borders)):
        order = begin + np.argsort(-found.score[begin:end], kind="mergesort")
        for m, cap in enumerate(caps):
            kept = order[found.rank[order] < cap]
            score = found.score[kept]
            for a in range(num_areas):
                if not found.positives[a, k]:
                    continue
                fate = found.outcome[a, kept].T  # [thresholds, D]
                hits = np.cumsum(fate == HIT, axis=1).astype(float)
                misses = np.cumsum(fate == MISS, axis=1).astype(float)
                rising = hits / found.positives[a, k]
                recall[:, k, a, m] = rising[:, -1] if rising.shape[1] else 0
                envelope = falling(hits / (misses + hits + np.spacing(1)))
                for t in range(len(THRESHOLDS)):
                    at = np.searchsorted(rising[t], RECALLS, side="left")
                    reached = int(np.searchsorted(at, len(score)))  # beyond the last detection all is 0
                    precision[t, :, k, a, m] = 0
                    precision[t, :reached, k, a, m] = envelope[t, at[:reached]]
                    scores[t, :, k, a, m] = 0
                    scores[t, :reached, k, a, m] = score[at[:reached]]
    return Evaluation(precision, recall, scores, summarize(precision, recall, list(caps)), list(category_ids))


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
