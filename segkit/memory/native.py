"""Host memory that grows and that no Python object explains: native code that keeps what it is given.

What malloc has handed out, less the tensors, is looked at as a curve. A curve proves little, so much is asked of it: a
rise in every part of the run at one pace, with no new size of picture in it (libraries keep kernels by size), of more
than what was found to be kept explains.
"""

import itertools
from collections.abc import Sequence
from statistics import median

from segkit.memory.findings import Finding
from segkit.memory.hostleaks import HostLeak
from segkit.memory.lines import UNKNOWN
from segkit.memory.session import Sample

_PARTS, _STEPS = 8, 100  # of the run; steps of it that are asked for, after the first quarter
_PER_STEP = 16 * 1024  # bytes: less is noise of caches and fragments
_EVEN = 0.5  # every part's rise for that of the middle one
_WORKER_ROWS = 6


def native_leak(samples: Sequence[Sample], stride: int, explained: float) -> HostLeak | None:
    """Growth of the host's memory that nothing else explains, if there is one.

    Args:
        samples: Of all steps.
        stride: Steps to a sample.
        explained: Bytes a step that were found to be kept.
    """
    steady = samples[len(samples) // 4 :]
    if len(steady) * stride < _STEPS or any(sample.malloc is None for sample in steady):
        return None
    known = {sample.elements for sample in samples[: len(samples) // 4]}
    if any(sample.elements not in known for sample in steady):
        return None
    held = [(sample.malloc or 0) - sample.tensors for sample in steady]
    per_step = even_rise(held)
    if per_step is None:
        return None
    rest = per_step / stride - explained
    if rest < max(_PER_STEP, 0.5 * explained):
        return None
    finding = Finding("native", "host memory", (), UNKNOWN, "malloc", held_by=None)
    return HostLeak(finding, rest, len(steady) * stride, 0)


def even_rise(held: Sequence[int]) -> float | None:
    """What a series gains from one entry to the next, where all its parts gain alike; else None."""
    size = len(held) // _PARTS
    if size < 1:
        return None
    floors = [min(held[len(held) - (_PARTS - part) * size :][:size]) for part in range(_PARTS)]
    rises = [later - earlier for earlier, later in itertools.pairwise(floors)]
    middle = median(rises)
    if middle <= 0 or min(rises) < _EVEN * middle:
        return None
    return middle / size


def worker_leak(rows: Sequence[Sequence[int]]) -> float | None:
    """Bytes a batch by which a loader worker grows by itself; None where it does not.

    Pages that it copies from the trainer do not make it larger: what it has and what is its own must rise together.

    Args:
        rows: Batch, resident, proportional, private and shared bytes, at each look.
    """
    later = rows[len(rows) // 3 :]
    if len(later) < _WORKER_ROWS:
        return None
    rates = []
    for earlier, following in itertools.pairwise(later):
        batches = max(1, following[0] - earlier[0])
        rates.append(min(following[1] - earlier[1], following[3] - earlier[3]) / batches)
    middle = median(rates)
    return middle if middle >= _PER_STEP and min(rates) >= _EVEN * middle else None
