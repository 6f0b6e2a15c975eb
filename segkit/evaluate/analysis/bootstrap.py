"""How sure a score is: the same score of pictures drawn again and again.

The bootstrap draws as many pictures as there are, with replacement, and scores each draw: what the pictures at hand
say about pictures like them (Efron and Tibshirani, An Introduction to the Bootstrap, 1993; percentiles). Two results
of the same pictures are compared on the same draws, and by exchanging them in half of the pictures at random: if they
were equally good, such an exchange would change the difference as much as they differ.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segkit.evaluate.coco.accumulate import RECALLS, THRESHOLDS, falling
from segkit.evaluate.coco.engine import HIT, MISS, Outcomes

Weights = npt.NDArray[np.float32]  # [B, images]: how often each draw has each picture
Floats = npt.NDArray[np.float64]
LEVEL = 0.95
_BLOCK = 2_000_000  # weights of detections in memory at once


@dataclass(frozen=True, slots=True)
class Pool:
    """The detections of one category at all areas, by falling score: [D], and [D, thresholds] for their fates."""

    image: npt.NDArray[np.int64]  # position of the picture
    score: Floats
    outcome: npt.NDArray[np.uint8]
    positives: npt.NDArray[np.int64]  # [images]


def pools_of(found: Outcomes, images: Sequence[int], positives: npt.NDArray[np.int64], cap: int = 100) -> list[Pool]:
    """A pool per category.

    Args:
        found: Of all pictures.
        images: Their ids, sorted.
        positives: Annotations that can be found, [K, images].
        cap: Detections counted in an image and category.
    """
    position = np.searchsorted(np.asarray(images), found.image)
    pools = []
    for k, own in enumerate(positives):
        mine = np.flatnonzero((found.slot == k) & (found.rank < cap))
        mine = mine[np.argsort(-found.score[mine], kind="mergesort")]
        pools.append(Pool(position[mine], found.score[mine], found.outcome[0, mine], own))
    return pools


def draws(num_images: int, count: int, seed: int = 0) -> Weights:
    """Bootstrap weights, [count, num_images]; the first draw is the pictures as they are."""
    rng = np.random.default_rng(seed)
    weights = np.ones((1 + count, num_images), np.float32)
    for row in range(1, 1 + count if num_images else 0):
        weights[row] = rng.multinomial(num_images, np.full(num_images, 1 / num_images))
    return weights


def average_precisions(pools: Sequence[Pool], weights: Weights, truth_weights: Weights | None = None) -> Floats:
    """COCO's average precision of every draw, category and threshold, [B, K, thresholds]; NaN without annotations.

    Args:
        pools: One per category.
        weights: How often each draw has the detections of each picture.
        truth_weights: How often it has its annotations; None: as often.
    """
    scores = np.full((len(weights), len(pools), len(THRESHOLDS)), np.nan)
    for k, pool in enumerate(pools):
        positives = (weights if truth_weights is None else truth_weights) @ pool.positives.astype(np.float32)  # [B]
        for block in _blocks(len(weights), len(pool.image)):
            there = positives[block] > 0
            of_detection = weights[block][:, pool.image]  # [b, D]
            for t in range(len(THRESHOLDS)):
                precision = _one(of_detection, pool.outcome[:, t], np.where(there, positives[block], 1.0))
                scores[block, k, t] = np.where(there, precision, np.nan)
    return scores


def _one(weights: Weights, outcome: npt.NDArray[np.uint8], positives: npt.NDArray[np.floating]) -> Floats:
    """Average precision at one threshold, [b]: the envelope's height times the recalls that each hit reaches."""
    hits = np.flatnonzero(outcome == HIT)
    if not len(hits):
        return np.zeros(len(weights))
    misses = np.where(outcome == MISS, weights, np.float32(0))
    wrong = np.cumsum(misses, axis=1, dtype=np.float64)[:, hits]
    right = np.cumsum(weights[:, hits], axis=1, dtype=np.float64)
    envelope = falling(right / (right + wrong + np.spacing(1)))
    reached = np.searchsorted(RECALLS, right / positives[:, None], side="right")  # recalls up to each hit
    steps = np.diff(reached, axis=1, prepend=0)
    return np.asarray((envelope * steps).sum(axis=1) / len(RECALLS))


def _blocks(rows: int, columns: int) -> Iterator[slice]:
    size = max(1, _BLOCK // max(1, columns))
    for begin in range(0, rows, size):
        yield slice(begin, begin + size)


def mean_ap(scores: Floats, threshold: int | None = None) -> Floats:
    """AP of every draw, [B]: the mean over categories with annotations; NaN where there is none."""
    picked = scores if threshold is None else scores[:, :, [threshold]]
    known = ~np.isnan(picked)
    count = known.sum(axis=(1, 2))
    total = np.where(known, picked, 0).sum(axis=(1, 2))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def interval(samples: Floats) -> list[float] | None:
    """The middle 95 % of what the draws gave, without the first, which is the data itself; None of nothing."""
    known = samples[1:][~np.isnan(samples[1:])]
    if not len(known):
        return None
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return [float(low), float(high)]


@dataclass(frozen=True, slots=True)
class Difference:
    """How much more the first of two scores than the second, its 95 % interval, and how often chance does as much."""

    value: float
    interval: list[float] | None
    p: float


def compared(first: Sequence[Pool], second: Sequence[Pool], num_images: int, count: int, seed: int = 0) -> Difference:
    """The difference in AP of two results for the same pictures.

    Args:
        first: Its pools.
        second: Those of the other.
        num_images: How many pictures there are.
        count: How many draws, and how many exchanges.
        seed: Of both.
    """
    weights = draws(num_images, count, seed)
    between = mean_ap(average_precisions(first, weights)) - mean_ap(average_precisions(second, weights))
    both = [_joined(a, b, num_images) for a, b in zip(first, second, strict=True)]
    swapped = np.random.default_rng(seed + 1).integers(0, 2, (count, num_images)).astype(np.float32)
    whole = np.ones_like(swapped)
    mixed, rest = (
        mean_ap(average_precisions(both, np.concatenate(sides, axis=1), whole))
        for sides in ((1 - swapped, swapped), (swapped, 1 - swapped))
    )
    as_large = np.abs(mixed - rest) >= abs(between[0]) - 1e-12
    return Difference(float(between[0]), interval(between), float((as_large.sum() + 1) / (count + 1)))


def _joined(first: Pool, second: Pool, num_images: int) -> Pool:
    """The detections of both; those of the second are of pictures that come after the first's."""
    image = np.concatenate([first.image, second.image + num_images])
    score = np.concatenate([first.score, second.score])
    order = np.lexsort((image % num_images, -score))  # neither has its ties first
    outcome = np.concatenate([first.outcome, second.outcome])
    return Pool(image[order], score[order], outcome[order], first.positives)
