"""Confidence intervals by the bootstrap: the score of images sampled with replacement, many times.

Each bootstrap sample has as many images as the data, and is scored; intervals are percentiles of these scores (Efron
and Tibshirani, An Introduction to the Bootstrap, 1993). Two results for the same images are compared on the same
samples, and by a permutation test: the two results of half of the images, chosen at random, are exchanged, which would
change nothing but chance if both were equally good.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segkit.choices import EngineName
from segkit.evaluate.coco.accumulate import RECALLS, THRESHOLDS, precision_envelope
from segkit.evaluate.coco.engine import EvaluationInputs, IouType
from segkit.evaluate.coco.instance_metrics import COCO_MAX_DETS
from segkit.evaluate.coco.outcomes import FALSE_POSITIVE, TRUE_POSITIVE, match_detections

Weights = npt.NDArray[np.float32]  # [B, images]: how often each bootstrap sample has each image
Floats = npt.NDArray[np.float64]
CONFIDENCE_LEVEL = 0.95
_SEED = 0
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


def bootstrap_weights(num_images: int, num_samples: int) -> Weights:
    """How often each bootstrap sample has each image, [1 + num_samples, images]; the first row is the data itself."""
    rng = np.random.default_rng(_SEED)
    weights = np.ones((1 + num_samples, num_images), np.float32)
    for row in range(1, 1 + num_samples if num_images else 0):
        weights[row] = rng.multinomial(num_images, np.full(num_images, 1 / num_images))
    return weights


def average_precisions(pools: Sequence[Pool], weights: Weights, truth_weights: Weights | None = None) -> Floats:
    """COCO's average precision of every sample, category and threshold, [B, K, thresholds]; NaN without annotations.

    Args:
        pools: One for each category.
        weights: How often each sample has the detections of each image.
        truth_weights: How often it has the annotations; None: as often.
    """
    scores = np.full((len(weights), len(pools), len(THRESHOLDS)), np.nan)
    for k, pool in enumerate(pools):
        positives = (weights if truth_weights is None else truth_weights) @ pool.positives.astype(np.float32)  # [B]
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


def confidence_interval(scores: Floats) -> list[float] | None:
    """The middle 95 % of the scores of bootstrap samples, [B] without the first, the data; None if all are NaN."""
    known = scores[1:][~np.isnan(scores[1:])]
    if not len(known):
        return None
    low, high = np.quantile(known, [(1 - CONFIDENCE_LEVEL) / 2, (1 + CONFIDENCE_LEVEL) / 2])
    return [float(low), float(high)]


@dataclass(frozen=True, slots=True)
class ScoreDifference:
    """The first score less the second, its 95 % interval, and the p-value of the permutation test."""

    value: float
    interval: list[float] | None
    p: float


def compare_pools(first: Sequence[Pool], second: Sequence[Pool], num_images: int, num_samples: int) -> ScoreDifference:
    """The difference in AP of two results for the same images.

    Args:
        first: The pools of one result.
        second: Those of the other.
        num_images: How many images there are.
        num_samples: How many bootstrap samples, and how many permutations.
    """
    weights = bootstrap_weights(num_images, num_samples)
    difference = mean_ap(average_precisions(first, weights)) - mean_ap(average_precisions(second, weights))
    both = [_joined(a, b, num_images) for a, b in zip(first, second, strict=True)]
    swapped = np.random.default_rng(_SEED + 1).integers(0, 2, (num_samples, num_images)).astype(np.float32)
    whole = np.ones_like(swapped)
    mixed, rest = (
        mean_ap(average_precisions(both, np.concatenate(sides, axis=1), whole))
        for sides in ((1 - swapped, swapped), (swapped, 1 - swapped))
    )
    as_large = np.abs(mixed - rest) >= abs(difference[0]) - 1e-12
    p = float((as_large.sum() + 1) / (num_samples + 1))
    return ScoreDifference(float(difference[0]), confidence_interval(difference), p)


def _joined(first: Pool, second: Pool, num_images: int) -> Pool:
    """The detections of both; the images of the second are counted after those of the first."""
    image = np.concatenate([first.image, second.image + num_images])
    score = np.concatenate([first.score, second.score])
    order = np.lexsort((image % num_images, -score))  # of equal scores, neither result comes first
    outcome = np.concatenate([first.outcome, second.outcome])
    return Pool(image[order], score[order], outcome[order], first.positives)
