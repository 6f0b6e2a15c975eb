"""Whether memory that is held at the end of steps rises all the time: a suspicion, from counters alone.

A curve cannot prove a leak (``docs/decisions``), so this only says which command can.
"""

import itertools
from collections.abc import Sequence

_BLOCKS = 8
_STEPS = 25  # to a block, at least
_PER_STEP = 4096  # bytes
_STEADY = 0.6


def rise(held: Sequence[int]) -> float | None:
    """Bytes a step by which the floor of a series rises, where every part of it is higher than the one before.

    Args:
        held: Bytes held at the end of every step.

    Returns:
        None where it does not rise steadily, or has too few steps to say (200).
    """
    size = len(held) // _BLOCKS
    if size < _STEPS:
        return None
    floors = [min(held[len(held) - (_BLOCKS - index) * size :][:size]) for index in range(_BLOCKS)]
    rises = [later - earlier for earlier, later in itertools.pairwise(floors)]
    half = len(rises) // 2
    early, late = sum(rises[:half]) / half, sum(rises[half:]) / (len(rises) - half)
    per_step = (floors[-1] - floors[0]) / ((_BLOCKS - 1) * size)
    if min(rises) <= 0 or late < _STEADY * early or per_step < _PER_STEP:
        return None
    return per_step
