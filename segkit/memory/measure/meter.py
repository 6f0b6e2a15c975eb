"""Memory per step and per phase, always on: a few counters, read where a phase begins and ends.

On CUDA the figures are the caching allocator's (``torch.cuda.memory_stats``); on a CPU, which has no such counters,
they are None, and there is only the resident set of the process. All figures are bytes.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from segkit.memory.measure.cuda import DeviceFigures, Reader
from segkit.memory.measure.host import malloc_in_use, resident
from segkit.memory.measure.trend import rise

_MOST = 20_000


@dataclass(slots=True)
class PhaseRecord:
    """One phase of one step: its duration in seconds, and its highest figures."""

    seconds: float = 0.0
    allocated: int | None = None
    reserved: int | None = None
    rss: int = 0


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step: what is allocated at its end, its peak, and its phases.

    An evaluation or a checkpoint after a step is in the phases of the next, but not in its ``seconds``.
    """

    seconds: float
    allocated: int | None
    reserved: int | None
    peak: int | None
    rss: int
    phases: dict[str, PhaseRecord]

    def line(self) -> dict[str, Any]:
        """The figures that ``metrics.jsonl`` holds."""
        return {"allocated": self.allocated, "reserved": self.reserved, "peak": self.peak, "rss": self.rss}


class Meter(Protocol):
    """What a training loop reports its phases and steps to."""

    def phase(self, name: str) -> Any:
        """A context around one phase; phases of the same name add up within a step."""

    def step(self, images: Sequence[str] = ()) -> StepRecord:
        """End a step; ``images``: the names of its images."""

    def rise(self) -> float | None:
        """Bytes by which the memory held at the end of a step rises with every step; None where it does not."""

    def peaks(self) -> dict[str, int]:
        """The highest bytes of tensors in each phase of all steps; empty where they are not counted."""


class CounterMeter:
    """Reads the allocator's counters at the end of every phase."""

    def __init__(self, device: torch.device) -> None:
        self._reader = Reader(device) if device.type == "cuda" else None
        self._phases: dict[str, PhaseRecord] = {}
        self._began = time.perf_counter()
        self._held: list[int] = []  # at the end of every step; from 20,000 steps on of every second one, and so on
        self._stride = 1
        self._peaks: dict[str, int] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """See ``Meter``."""
        self._read()  # forget peaks from before
        began = time.perf_counter()
        try:
            yield
        finally:
            record = self._phases.setdefault(name, PhaseRecord())
            record.seconds += time.perf_counter() - began
            record.rss = max(record.rss, resident())
            figures = self._read()
            if figures is not None:
                record.allocated = max(record.allocated or 0, figures.peak)
                self._peaks[name] = max(self._peaks.get(name, 0), figures.peak)
                record.reserved = max(record.reserved or 0, figures.reserved)

    def step(self, images: Sequence[str] = ()) -> StepRecord:
        """See ``Meter``; the names are not used here."""
        figures = self._read()
        between = sum(record.seconds for name, record in self._phases.items() if name in ("eval", "save"))
        now = time.perf_counter()
        peaks = [record.allocated for record in self._phases.values() if record.allocated is not None]
        record = StepRecord(
            seconds=now - self._began - between,
            allocated=figures.allocated if figures is not None else None,
            reserved=figures.reserved if figures is not None else None,
            peak=max(peaks, default=None),
            rss=resident(),
            phases=self._phases,
        )
        self._phases, self._began = {}, now
        self._held.append(figures.allocated if figures is not None else malloc_in_use() or 0)
        if len(self._held) >= _MOST:
            self._held = [min(pair) for pair in zip(self._held[::2], self._held[1::2], strict=True)]
            self._stride *= 2
        return record

    def rise(self) -> float | None:
        """See ``Meter``."""
        found = rise(self._held)
        return None if found is None else found / self._stride

    def peaks(self) -> dict[str, int]:
        """See ``Meter``."""
        return dict(self._peaks)

    def _read(self) -> DeviceFigures | None:
        return self._reader.read() if self._reader is not None else None
