"""Confidence intervals for the score of all images that these images were drawn from.

Such a score is a mean over categories of something that is not linear in the images, and that is too high or too low on
few of them. Three things come together:

- Its standard error: the jackknife, which leaves out one image at a time (Efron and Tibshirani, An Introduction to the
  Bootstrap, 1993, chapter 11). A category that is in one image only goes with that image, so that the spread between
  categories stands for what one image cannot show.
- Its bias: scores of random halves of the images are compared with those of all, by category. A category with P
  instances is taken to have the bias c / (P + 1), with one c for all categories: so that categories with many
  instances say something of those with few. The estimate is subtracted, and its square is added to the variance.
- Quantiles of Student's t with as many degrees of freedom as the spread of the jackknife's values supports, on the
  logit scale, so that the interval stays between 0 and 1.

``benchmarks/coverage.py`` measures how often such an interval contains the score; docs/benchmarks.md has the table.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
CONFIDENCE_LEVEL = 0.95
FEW_IMAGES = 30  # below, intervals are rough
_GROUPS = 200  # left out one after another, where there are more images
_HALVES = 20  # pairs of them
_SEED = 0
_LEAST_DF = 3.0
_EDGE = 0.02  # nearer to 0 or 1 the logit of a score tells nothing


@dataclass(frozen=True, slots=True)
class Parts:
    """Parts of the images, as weights [1 + groups + halves, images]: all, all but each group, random halves."""

    weights: npt.NDArray[np.float32]
    groups: int

    @classmethod
    def of(cls, num_images: int) -> "Parts":
        """The parts of so many images; the same for the same number."""
        rng = np.random.default_rng(_SEED)
        groups = min(num_images, _GROUPS)
        group_of = rng.permutation(num_images) % max(groups, 1)
        left_out = (np.arange(groups)[:, None] != group_of).astype(np.float32)
        rows = [np.ones((1, num_images), np.float32), left_out]
        for _ in range(_HALVES):
            half = np.zeros(num_images, np.float32)
            half[rng.permutation(num_images)[: num_images // 2]] = 1
            rows += [half[None], 1 - half[None]]
        return cls(np.concatenate(rows), groups)


def mean_over_categories(scores: Floats) -> Floats:
    """The mean over the last axis of what is known; NaN where nothing is."""
    known = ~np.isnan(scores)
    count = known.sum(axis=-1)
    return np.where(count > 0, np.where(known, scores, 0).sum(axis=-1) / np.maximum(count, 1), np.nan)


def confidence_interval(
    scores: Floats, groups: int, instances: npt.NDArray[np.int64] | None = None
) -> list[float] | None:
    """The 95 % confidence interval of a mean over categories.

    Args:
        scores: Of each of ``Parts`` by category, [1 + groups + halves, K]; NaN where a category has no score.
        groups: How many of the parts leave out a group.
        instances: In how many places each category was scored, [K], for a bias that is less where there are more;
            None: the bias is that of halves against all.

    Returns:
        The interval; None where the images cannot tell: a single one, one without which there is no score, or all
        equal.
    """
    means = mean_over_categories(scores[: 1 + groups])
    value, left_out = means[0], means[1:]
    if groups < 2 or np.isnan(means).any():
        return None
    influence = left_out.mean() - left_out
    square = float((influence**2).sum())
    if square < 1e-18:
        return None
    bias = _bias(scores[0], scores[1 + groups :], instances)
    error = np.sqrt((groups - 1) / groups * square + bias**2)
    reach = error * _t_quantile(_degrees_of_freedom(influence, groups))
    low, high = _on_logit_scale(value - bias, reach)
    return [float(max(0.0, min(low, value))), float(min(1.0, max(high, value)))]


def _bias(whole: Floats, halves: Floats, instances: npt.NDArray[np.int64] | None) -> float:
    """How much higher the mean over categories is than it would be on very many images."""
    change = halves - whole  # [halves, K]
    known = ~np.isnan(change)
    if not known.any():
        return 0.0
    if instances is None:
        return float(np.where(known, change, 0).sum() / known.sum())
    shape = 1 / (instances + 1)
    steps = np.where(known, 1 / (instances / 2 + 1) - shape, 0)
    total = float((steps**2).sum())
    scored = ~np.isnan(whole)
    return float((np.where(known, change, 0) * steps).sum() / total * shape[scored].mean()) if total else 0.0


def _degrees_of_freedom(influence: Floats, groups: int) -> float:
    """Of a variance that is estimated from the squares of these values: by their fourth moment (Satterthwaite)."""
    square, fourth = (influence**2).sum(), (influence**4).sum()
    spread = max(fourth - square**2 / groups, 1e-12 * square**2)
    return float(np.clip(2 * square**2 / spread, min(_LEAST_DF, groups - 1), groups - 1))


def _t_quantile(degrees_of_freedom: float) -> float:
    from scipy.special import stdtrit  # noqa: PLC0415  a fifth of a second, and most evaluations do without

    return float(stdtrit(degrees_of_freedom, (1 + CONFIDENCE_LEVEL) / 2))


def _on_logit_scale(center: float, reach: float) -> tuple[float, float]:
    if not _EDGE < center < 1 - _EDGE:
        return center - reach, center + reach
    middle, half = np.log(center / (1 - center)), reach / (center * (1 - center))
    return float(1 / (1 + np.exp(half - middle))), float(1 / (1 + np.exp(-half - middle)))


@dataclass(frozen=True, slots=True)
class ScoreDifference:
    """The first score less the second, its 95 % interval, and the p-value by which that interval was found."""

    value: float
    interval: list[float] | None
    p: float
    smallest_p: float


def paired_difference(
    score: Callable[[npt.NDArray[np.float32]], Floats], num_images: int, num_samples: int
) -> ScoreDifference:
    """The difference of two scores of the same images, by random changes of sign (Fisher's randomisation test).

    Each image's share of the difference is the jackknife's. If both were equally good, a share could as well have the
    other sign: ``p`` is how often random signs give a difference at least as large. The interval holds the differences
    that the same signs would not reject at 0.05: it leaves out 0 where p is below 0.05, and only there.

    Args:
        score: From weights of the images [B, images] to both scores, [B, 2].
        num_images: How many images there are.
        num_samples: How many changes of sign.
    """
    parts = Parts.of(num_images)
    scores = score(parts.weights[: 1 + parts.groups])
    differences = scores[:, 0] - scores[:, 1]
    value, left_out = float(differences[0]), differences[1:]
    num = parts.groups
    if not num or np.isnan(left_out).any():
        return ScoreDifference(value, None, 1.0, 1.0)
    share = value + (num - 1) * (left_out.mean() - left_out)  # their mean is the value
    signs, own = _signs(num, num_samples)
    count, smallest = len(signs) + own, max(1 / (len(signs) + own), 2.0 ** (1 - num))
    total, flipped, balance = share.sum(), signs @ share, signs.sum(axis=1)
    tolerance = 1e-9 * max(float(np.abs(share).sum()), 1e-12)
    with np.errstate(divide="ignore", invalid="ignore"):
        # A difference m is as extreme under these signs where |flipped - m balance| >= |total - m num|.
        ends = np.stack([(total - flipped) / (num - balance), (total + flipped) / (num + balance)])
    ends[:, np.abs(balance) == num] = np.array([[-np.inf], [np.inf]])
    ends[np.abs(ends) < tolerance / num] = 0  # so that the interval ends where p passes 0.05, whatever the rounding
    low, high = np.sort(ends.min(axis=0)), np.sort(ends.max(axis=0))
    p = float((own + (np.abs(flipped) >= abs(total) - tolerance).sum()) / count)
    if np.ptp(share) < 1e-12 and not value:
        return ScoreDifference(value, [0.0, 0.0], 1.0, smallest)
    needed = int(np.ceil(round((1 - CONFIDENCE_LEVEL) * count, 9))) - own  # signs that must not reject
    if needed < 1:
        return ScoreDifference(value, None, p, smallest)
    interval = [float(low[needed - 1]), float(high[len(signs) - needed])]
    return ScoreDifference(value, interval if np.isfinite(interval).all() else None, p, smallest)


def _signs(num: int, num_samples: int) -> tuple[Floats, int]:
    """Signs, [samples, num]: all that there are, where they are no more than the samples, else random ones.

    Returns:
        The signs, and how many are to be added to their number: the data's own, which random ones may lack.
    """
    if num < 31 and 2**num <= num_samples:
        bits, own = np.arange(2**num)[:, None] >> np.arange(num) & 1, 0
    else:
        bits, own = np.random.default_rng(_SEED + 1).integers(0, 2, (num_samples, num)), 1
    return np.where(bits, 1.0, -1.0), own
