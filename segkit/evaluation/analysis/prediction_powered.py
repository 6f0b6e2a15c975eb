"""Prediction-powered intervals: the mean over many images, of which a few were annotated and all were predicted.

Source: Angelopoulos, Bates, Fannjiang, Jordan and Zrnic, Prediction-powered inference (Science 382, 2023); the weight
of the predictions is that of Angelopoulos, Duchi and Zrnic, PPI++ (arXiv:2311.01453), section 6. Predictions may be
wrong in any way: their error is measured on the annotated images, and corrected. Numbers equal those of
``ppi_py.ppi_mean_ci``, which needs numba, statsmodels, pandas and scikit-learn for them.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean, its confidence interval, and the weight of the predictions in it, from 0 (none) to 1.

    The ends are None where the annotated images say nothing of the error: all of them are wrong by the same amount.
    """

    mean: float
    low: float | None
    high: float | None
    weight: float


def powered_mean(true: Floats, predicted: Floats, others: Floats, level: float = 0.95) -> Estimate:
    """The mean over images like these.

    Args:
        true: A value of each annotated image, [n], n at least 2.
        predicted: What was predicted for the same images, [n].
        others: What was predicted for the other images, [N], N at least 1.
        level: Of confidence.
    """
    weight = _weight(true, predicted, others)
    error = true - weight * predicted
    mean = float((weight * others).mean() + error.mean())
    spread = np.sqrt((weight * others).var() / len(others) + error.var() / len(error))
    return _with_interval(mean, float(spread), float(error.std()), weight, level)


def plain_mean(true: Floats, level: float = 0.95) -> Estimate:
    """The mean over images like these, from the annotated ones alone, [n]."""
    spread = float(true.std())
    return _with_interval(float(true.mean()), spread / len(true) ** 0.5, spread, 0.0, level)


def _with_interval(mean: float, spread: float, error: float, weight: float, level: float) -> Estimate:
    from scipy.special import ndtri  # noqa: PLC0415  a fifth of a second, and few predictions need it

    if error == 0:
        return Estimate(mean, None, None, weight)
    reach = float(ndtri((1 + level) / 2)) * spread
    return Estimate(mean, mean - reach, mean + reach, weight)


def _weight(true: Floats, predicted: Floats, others: Floats) -> float:
    """The weight that makes the interval the shortest, from 0 to 1."""
    spread = float(np.concatenate([predicted, others]).var(ddof=1))
    if spread == 0:
        return 0.0
    covariance = float(((true - true.mean()) * (predicted - predicted.mean())).mean())
    return float(np.clip(covariance / ((1 + len(true) / len(others)) * spread), 0, 1))
