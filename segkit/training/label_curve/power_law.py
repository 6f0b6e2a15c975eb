"""A power law through scores at several numbers of labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

_CONFIDENCE = 0.95
_USUAL = 0.5
_EXPONENTS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, _USUAL, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9, 1.0, 1.2, 1.5)
_LEAST_SIZES, _LEAST_SCORES = 4, 8  # from so many on, the exponent is fitted, too


@dataclass(frozen=True, slots=True)
class _Line:
    """The least squares of a line through scores over size ** -exponent.

    Attributes:
        exponent: Of the sizes.
        limit: The score that it tends to.
        slope: By how much it is below that at size 1.
        squares: The sum of squared residuals.
        mean: Of the powers of sizes.
        spread: The sum of their squared distances from the mean.
        count: How many scores.
    """

    exponent: float
    limit: float
    slope: float
    squares: float
    mean: float
    spread: float
    count: int

    @staticmethod
    def through(sizes: npt.NDArray[np.float64], scores: npt.NDArray[np.float64], exponent: float) -> "_Line":
        powers = sizes**-exponent
        spread = float(((powers - powers.mean()) ** 2).sum())
        rise = float(((powers - powers.mean()) * (scores - scores.mean())).sum() / spread)
        limit = float(scores.mean() - rise * powers.mean())
        squares = float(((scores - limit - rise * powers) ** 2).sum())
        return _Line(exponent, limit, -rise, squares, float(powers.mean()), spread, len(sizes))

    def at(self, size: float) -> float:
        return float(self.limit - self.slope * size**-self.exponent)

    def variance(self, size: float) -> float:
        """Of the line at a size, for residuals of variance 1."""
        return float(1 / self.count + (size**-self.exponent - self.mean) ** 2 / self.spread)


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """score(n) = limit - slope / n ** exponent, fitted by least squares.

    After Hoiem et al. 2021, https://arxiv.org/abs/2010.11029. The exponent is 1/2, as there: of scores at four sizes,
    one that is fitted is mostly noise. It is another one only where there are scores enough (8 at 4 sizes) and they
    contradict 1/2; its confidence interval is part of that of the law in any case then. With fewer scores, intervals
    hold if 1/2 is right.

    Attributes:
        limit: What the score tends to.
        slope: How far it is from that with one label.
        exponent: As above.
        exponents: The ends of its confidence interval, among those that are tried, from 0.1 to 1.5; None: it was fixed.
        sizes: The numbers of labels of all scores.
        lines: The fits that scores do not contradict; the first is the law itself.
        allowed: The most sum of squares that is not contradicted; None where there are too few scores to tell.
    """

    limit: float
    slope: float
    exponent: float
    exponents: tuple[float, float] | None
    sizes: tuple[float, ...]
    lines: tuple[_Line, ...]
    allowed: float | None

    @staticmethod
    def through(sizes: Sequence[float], scores: Sequence[float]) -> "PowerLaw | None":
        """The law through scores; None where they are not of at least two sizes.

        Args:
            sizes: Numbers of labels, one for each score.
            scores: From 0 to 1.
        """
        if len(set(sizes)) < 2:
            return None
        x, y = np.asarray(sizes, float), np.asarray(scores, float)
        fits = len(set(sizes)) >= _LEAST_SIZES and len(sizes) >= _LEAST_SCORES
        lines = [_Line.through(x, y, exponent) for exponent in (_EXPONENTS if fits else (_USUAL,))]
        best, free = min(lines, key=lambda line: line.squares), len(y) - (3 if fits else 2)
        allowed = None
        if free > 0:
            # The profile likelihood: what a fit may lose by the value of one number (Bates and Watts 1988, chapter 6).
            allowed = best.squares * (1 + float(stats.f.ppf(_CONFIDENCE, 1, free)) / free)
            lines = [line for line in lines if line.squares <= allowed]
        own = next((line for line in lines if line.exponent == _USUAL), best)
        lines.sort(key=lambda line: line is not own)
        powers = sorted(line.exponent for line in lines)
        ends = (powers[0], powers[-1]) if fits else None
        return PowerLaw(own.limit, own.slope, own.exponent, ends, tuple(map(float, sizes)), tuple(lines), allowed)

    def at(self, size: float) -> float:
        """The score to expect with so many labels, within 0 and 1."""
        return float(np.clip(self.lines[0].at(size), 0.0, 1.0))

    def interval(self, size: float) -> tuple[float, float] | None:
        """The 95 % interval of the law at a number of labels, within 0 and 1; None where there are too few scores."""
        if self.allowed is None:
            return None
        ends = []
        for line in self.lines:
            around = float(np.sqrt(max(self.allowed - line.squares, 0.0) * line.variance(size)))
            ends += [line.at(size) - around, line.at(size) + around]
        low, high = np.clip([min(ends), max(ends)], 0.0, 1.0).tolist()
        return float(low), float(high)

    def plus_minus(self, size: float) -> float | None:
        """The larger part of the interval, below or above ``at``; None where there are too few scores."""
        ends = self.interval(size)
        return None if ends is None else max(self.at(size) - ends[0], ends[1] - self.at(size))
