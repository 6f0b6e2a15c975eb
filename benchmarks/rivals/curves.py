"""Verdicts from a curve alone: rules for a series."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

SKIPPED = 0.25  # of a series: the start of a script is left out
FEWEST = 12


def kendall(values: Sequence[float]) -> float:
    """The Mann-Kendall statistic z of a series, corrected for ties."""
    v = np.asarray(values, float)
    n = len(v)
    s = np.sign(v[None, :] - v[:, None])[np.triu_indices(n, 1)].sum()
    ties = np.unique(v, return_counts=True)[1]
    variance = (n * (n - 1) * (2 * n + 5) - (ties * (ties - 1) * (2 * ties + 5)).sum()) / 18
    return 0.0 if variance <= 0 or s == 0 else float((s - np.sign(s)) / np.sqrt(variance))


def theil_sen(values: Sequence[float]) -> float:
    """The median slope over all pairs, a step."""
    v = np.asarray(values, float)
    first, second = np.triu_indices(len(v), 1)
    return float(np.median((v[second] - v[first]) / (second - first)))


def slope(values: Sequence[float], least: float) -> bool:
    """Mann-Kendall z > 3.3 and a Theil-Sen slope above ``least`` bytes a step, the first quarter left out."""
    rest = values[int(SKIPPED * len(values)) :]
    return len(values) >= FEWEST and kendall(rest) > 3.3 and theil_sen(rest) > least


def rises(values: Sequence[float], least: float) -> bool:
    """Rises by ``least`` bytes a step or more from each quarter of the series to the next."""
    n = len(values)
    if n < FEWEST:
        return False
    at = [n // 4, n // 2, 3 * n // 4, n - 1]
    return all(values[b] - values[a] >= least * (b - a) for a, b in pairwise(at))


def first_step(values: Sequence[float], rule: Callable[[Sequence[float]], bool]) -> int | None:
    """The first step at which the rule holds for the series until then."""
    return next((n for n in range(FEWEST, len(values) + 1) if rule(values[:n])), None)
