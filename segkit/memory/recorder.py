"""A meter that keeps everything: the counters of every step and phase, and the live tensors behind them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from segkit.memory.host import malloc_in_use
from segkit.memory.meter import CounterMeter, PhaseRecord, StepRecord
from segkit.memory.tracker import LiveTensors, Site

WARM_UP, GRACE = 3, 3  # steps: until optimiser state is there; until what a step made should be gone


@dataclass(frozen=True, slots=True)
class Sample:
    """One step of a profile."""

    record: StepRecord
    malloc: int | None


class Recorder:
    """See ``segkit.memory.meter.Meter``; on a CPU, allocated bytes are those of live tensors."""

    def __init__(self, device: torch.device, tensors: LiveTensors) -> None:
        self._counters = CounterMeter(device)
        self._counts_tensors = device.type != "cuda"
        self.tensors = tensors
        self.device = device
        self.samples: list[Sample] = []
        self.peaks: dict[str, int] = {}  # the highest allocated bytes of every phase, over all steps

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """See ``Meter``."""
        self.tensors.reset_peak()
        with self._counters.phase(name):
            yield
            if not self._counts_tensors:
                torch.cuda.synchronize(self.device)  # or the time would be that of launching kernels
        record = self._counters.current(name)
        if self._counts_tensors:
            record.allocated = max(record.allocated or 0, self.tensors.peak)
        self.peaks[name] = max(self.peaks.get(name, 0), record.allocated or 0)

    def step(self) -> StepRecord:
        """See ``Meter``."""
        record = self._counters.step()
        if self._counts_tensors:
            peaks = [phase.allocated or 0 for phase in record.phases.values()]
            record = StepRecord(
                record.seconds, self.tensors.allocated, None, max(peaks, default=0), record.rss, record.phases
            )
        self.samples.append(Sample(record, malloc_in_use()))
        self.tensors.step += 1
        return record

    def after_the_last_step(self) -> dict[str, PhaseRecord]:
        """Phases that no step has ended: the last evaluation and checkpoint."""
        return self._counters.pending()

    def survivors(self) -> dict[Site, dict[int, int]]:
        """Bytes that were born after the warm-up and have outlived the grace, by site and step of birth."""
        return self.tensors.survivors(WARM_UP, self.tensors.step - GRACE)
