"""How sure a teacher has to be of a category, so that it finds as much of it as people have annotated.

A fixed threshold suits no category: a rare one is never reached, an easy one lets errors in. Here the threshold of a
category follows from how often it occurs in the annotated images (after Chen et al. 2022, label matching,
https://arxiv.org/abs/2206.06608).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from segkit.runtime.ranks import Ranks

# The lower edges of bins of confidence. Towards 1 they are narrow: most pixels of a frequent label are there, and those
# that are too many of it are the least sure among them.
_EDGES = np.concatenate([np.arange(45) / 50, 1 - 0.1 ** (1 + np.arange(31) / 10)])
_FIRST = 0.95  # the threshold while nothing is counted
_DECAY = 0.98  # of what was counted, by step


class Thresholds:
    """The least confidence for each label, from what the teacher found in recent steps."""

    def __init__(self, expected: Sequence[float], low: float, high: float) -> None:
        """Nothing is counted yet.

        Args:
            expected: How often each label occurs in an annotated image (or: in a pixel), from background on.
            low: The lower bound of thresholds.
            high: The upper bound.
        """
        self._expected, self._low, self._high = np.asarray(expected, np.float64), low, high
        self._counts = np.zeros((len(expected), len(_EDGES)))
        self._total = 0.0
        self.begin()

    def begin(self) -> None:
        """Begin a step, or begin it again: what was counted in it is forgotten."""
        self._new, self._seen = np.zeros(self._counts.shape, np.int64), 0

    def count(self, labels: npt.NDArray[Any], confidence: npt.NDArray[Any], among: int) -> None:
        """Count what a teacher found.

        Args:
            labels: Of each instance (or pixel), [N].
            confidence: From 0 to 1, [N].
            among: How many images (or pixels) it was found in.
        """
        bins = np.maximum(np.searchsorted(_EDGES, confidence, "right") - 1, 0)
        flat = np.bincount(labels.astype(np.int64) * len(_EDGES) + bins, minlength=self._new.size)
        self._new += flat.reshape(self._new.shape)
        self._seen += among

    def end(self, ranks: Ranks) -> None:
        """End a step: what all ranks have counted is added, and what was counted before fades."""
        *counts, seen = ranks.sum([*self._new.ravel().tolist(), self._seen])
        if seen:
            self._counts = _DECAY * self._counts + np.reshape(counts, self._counts.shape)
            self._total = _DECAY * self._total + seen
        self.begin()

    def of_labels(self) -> npt.NDArray[np.float64]:
        """The threshold of each label: the lowest from which on no more is found than is expected."""
        if not self._total:
            return np.full(len(self._expected), min(_FIRST, self._high))
        above = self._counts[:, ::-1].cumsum(1) / self._total  # found from the highest bin down
        bins = (above <= self._expected[:, None]).sum(1)
        edges = np.append(_EDGES, 1.0)
        least: npt.NDArray[np.float64] = np.clip(edges[len(_EDGES) - bins], self._low, self._high)
        return least

    def to_plain(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"counts": self._counts.tolist(), "total": self._total}

    def restore(self, plain: dict[str, Any]) -> None:
        """The inverse of ``to_plain``."""
        counts = np.asarray(plain["counts"], np.float64)
        if counts.shape == self._counts.shape:  # else an older run counted in other bins: it counts anew
            self._counts, self._total = counts, float(plain["total"])
