"""Whether a size rises all the time: the size of one container, or of all memory that is held at the end of steps.

A curve of all memory cannot prove a leak (``docs/decisions``); it is a reason to run ``segkit memprofile``.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

NOISE = 16 * 1024  # bytes a step of a whole process; less comes from caches and fragments
_SLOWEST = 0.04  # a step: what is kept of every epoch is kept of every 25th step, or more often
_EVEN = 0.5  # the least rise of a part, as a share of the median rise
_PARTS, _MEASUREMENTS = 8, 6
_STEPS = 25  # the fewest steps of a part
_PER_STEP = 4096  # bytes
_STEADY = 0.6


@dataclass(slots=True, kw_only=True)
class Track:
    """The length of one object at some steps.

    Attributes:
        steps: The steps.
        lengths: The lengths.
    """

    steps: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)

    @property
    def per_step(self) -> float:
        """What is added in a step."""
        return (self.lengths[-1] - self.lengths[0]) / max(1, self.span)

    @property
    def span(self) -> int:
        """Steps from the first to the last."""
        return self.steps[-1] - self.steps[0]

    def is_steady(self) -> bool:
        """Whether it grows in the second half as it did in the first."""
        if len(self.steps) < 3 or self.lengths[-1] <= self.lengths[-2]:
            return False
        middle = (self.steps[0] + self.steps[-1]) / 2
        at = min(range(1, len(self.steps) - 1), key=lambda index: abs(self.steps[index] - middle))
        early = (self.lengths[at] - self.lengths[0]) / max(1, self.steps[at] - self.steps[0])
        late = (self.lengths[-1] - self.lengths[at]) / max(1, self.steps[-1] - self.steps[at])
        return self.per_step >= _SLOWEST and late >= _STEADY * early


def rise(held: Sequence[int]) -> float | None:
    """Bytes a step by which a series rises, if the minimum of every part is higher than that of the part before.

    Args:
        held: Bytes held at the end of every step.

    Returns:
        None where it does not rise steadily, or has fewer than 200 steps.
    """
    size, rises = _rises(held)
    if size < _STEPS:
        return None
    half = len(rises) // 2
    early, late = sum(rises[:half]) / half, sum(rises[half:]) / (len(rises) - half)
    per_step = sum(rises) / (len(rises) * size)
    if min(rises) <= 0 or late < _STEADY * early or per_step < _PER_STEP:
        return None
    return per_step


def even_rise(held: Sequence[int]) -> float | None:
    """The rise of a series from one entry to the next, if it is about the same in all parts; else None."""
    size, rises = _rises(held)
    middle = median(rises)
    if middle <= 0 or min(rises) < _EVEN * middle:
        return None
    return middle / size


def _rises(held: Sequence[int]) -> tuple[int, list[int]]:
    """The length of a part of a series, and how much the minimum of each part is above that of the part before."""
    size = len(held) // _PARTS
    floors = [min(held[len(held) - (_PARTS - part) * size :][:size], default=0) for part in range(_PARTS)]
    return size, [later - earlier for earlier, later in itertools.pairwise(floors)]


def worker_rise(rows: Sequence[Sequence[int]]) -> float | None:
    """Bytes a batch by which a loader worker grows by itself; None where it does not.

    Pages that it copies from the main process do not make it larger: resident and private memory must both rise.

    Args:
        rows: Batch, resident, proportional, private and shared bytes, at each measurement.
    """
    later = rows[len(rows) // 3 :]
    if len(later) < _MEASUREMENTS:
        return None
    rates = [
        min(following[1] - earlier[1], following[3] - earlier[3]) / max(1, following[0] - earlier[0])
        for earlier, following in itertools.pairwise(later)
    ]
    middle = median(rates)
    return middle if middle >= NOISE and min(rates) >= _EVEN * middle else None
