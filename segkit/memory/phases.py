"""What a step is doing, for how long, and the most memory that each phase needed."""

import time
from dataclasses import dataclass

import torch

from segkit.memory.private import on_cuda
from segkit.memory.tracker import Birth, LiveTensors

PHASES = ("load", "transfer", "forward", "loss", "backward", "step", "eval", "save")


@dataclass(slots=True)
class PhaseRecord:
    """One phase: seconds in this step, and the highest figures of allocated and reserved bytes."""

    seconds: float = 0.0
    allocated: int = 0
    reserved: int = 0


class PhaseClock:
    """Turns moments at which something begins into phases with a duration and a peak.

    Attributes:
        current: The phases of the step that goes on.
        peaks: The highest allocated bytes of each phase over all steps.
        crest: Births alive at the highest peak so far, where the tracker was asked to keep them.
        explicit: Whether phases are named by the trainer itself.
    """

    def __init__(self, tensors: LiveTensors) -> None:
        self.tensors = tensors
        self.current: dict[str, PhaseRecord] = {}
        self.peaks: dict[str, int] = {}
        self.reserved: dict[str, int] = {}
        self.highest = 0
        self.crest: list[Birth] = []
        self.crest_phase = ""
        self.explicit = False
        self._since = time.perf_counter()

    def enter(self, phase: str) -> None:
        """What went on until now is over, and ``phase`` begins."""
        tensors = self.tensors
        if phase == tensors.phase:
            return
        self.close()
        if phase == "backward" and tensors.keep_crest:
            for birth in tensors.cohorts.get(tensors.step, {}).values():
                birth.saved = birth.phase in ("forward", "loss")
        tensors.phase = phase

    def close(self) -> None:
        """Write down what the phase that goes on came to so far."""
        now, tensors = time.perf_counter(), self.tensors
        record = self.current.get(tensors.phase)
        if record is None:
            record = self.current[tensors.phase] = PhaseRecord()
        record.seconds += now - self._since
        self._since = now
        peak, reserved = tensors.peak, 0
        if on_cuda():
            peak, reserved = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
            torch.cuda.reset_peak_memory_stats()
        record.allocated = max(record.allocated, peak)
        record.reserved = max(record.reserved, reserved)
        self.peaks[tensors.phase] = max(self.peaks.get(tensors.phase, 0), peak)
        self.reserved[tensors.phase] = max(self.reserved.get(tensors.phase, 0), reserved)
        if tensors.keep_crest and tensors.peak > self.highest:
            self.highest, self.crest_phase = tensors.peak, tensors.phase
            self.crest = list(tensors.peak_composition())
        tensors.reset_peak()

    def take(self) -> dict[str, PhaseRecord]:
        """The phases of the step that ended; a new one begins."""
        self.close()
        out, self.current = self.current, {}
        return out
