"""A power law through scores at several numbers of labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """score(n) = limit - slope / sqrt(n), fitted by least squares (Hoiem et al. 2021, https://arxiv.org/abs/2010.11029).

    The exponent is fixed, as there: with scores at four sizes, one that is fitted is mostly noise.

    Attributes:
        limit: What the score tends to.
        slope: How far it is from that with one label.
        error: Standard deviation of a score around the curve; None where there are too few to tell.
        sizes: The numbers of labels of all scores.
    """

    limit: float
    slope: float
    error: float | None
    sizes: tuple[float, ...]

    @staticmethod
    def through(sizes: Sequence[float], scores: Sequence[float]) -> "PowerLaw | None":
        """The law through scores; None where they are not of at least two sizes.

        Args:
            sizes: Numbers of labels, one for each score.
            scores: From 0 to 1.
        """
        if len(set(sizes)) < 2:
            return None
        x, y = np.asarray(sizes, float) ** -0.5, np.asarray(scores, float)
        slope, limit = np.polyfit(x, y, 1)
        free = len(y) - 2
        error = float(np.sqrt(((y - limit - slope * x) ** 2).sum() / free)) if free > 0 else None
        return PowerLaw(float(limit), float(-slope), error, tuple(map(float, sizes)))

    def at(self, size: float) -> float:
        """The score to expect with so many labels, within 0 and 1."""
        return float(np.clip(self.limit - self.slope * size**-0.5, 0.0, 1.0))

    def plus_minus(self, size: float) -> float | None:
        """Half of the 95 % interval of the curve at a number of labels; None where there are too few scores."""
        if self.error is None:
            return None
        x = np.asarray(self.sizes) ** -0.5
        spread = ((x - x.mean()) ** 2).sum()
        deviation = self.error * np.sqrt(1 / len(x) + (size**-0.5 - x.mean()) ** 2 / spread)
        return float(stats.t.ppf((1 + _CONFIDENCE) / 2, len(x) - 2) * deviation)
