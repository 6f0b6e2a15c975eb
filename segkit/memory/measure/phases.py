"""The phases of a step: how long each takes, and the most memory that it needs."""

import time
from dataclasses import dataclass

from segkit.memory.measure.allocation import Allocation
from segkit.memory.measure.cuda import DeviceFigures, Reader, driver_used
from segkit.memory.measure.tracker import LiveTensors

PHASES = ("load", "transfer", "forward", "teacher", "loss", "backward", "step", "eval", "save")


@dataclass(slots=True)
class PhasePeaks:
    """One phase: its seconds in this step, and its highest figures in bytes.

    ``driver``, what the driver counts as in use on the device, is read in some steps only.
    """

    seconds: float = 0.0
    allocated: int = 0
    reserved: int = 0
    fragmented: int = 0
    driver: int = 0

    def raise_to(self, other: "PhasePeaks") -> None:
        """Take over the figures that are higher in another record."""
        self.allocated = max(self.allocated, other.allocated)
        self.reserved = max(self.reserved, other.reserved)
        self.fragmented = max(self.fragmented, other.fragmented)
        self.driver = max(self.driver, other.driver)


class PhaseClock:
    """Measures the duration and the peak of every phase.

    Attributes:
        current: The phases of the current step.
        highs: The highest figures of each phase over all steps.
        highest: The highest peak of live tensors, as the tracker counts them.
        allocated: Bytes in use when a phase last ended.
        peak_allocations: What was alive at the highest peak so far, where the tracker keeps peaks.
        at_highest: The device's figures at that peak.
        explicit: Whether the training names its phases itself.
    """

    def __init__(self, tensors: LiveTensors) -> None:
        self.tensors = tensors
        self.current: dict[str, PhasePeaks] = {}
        self.highs: dict[str, PhasePeaks] = {}
        self.highest = self.allocated = 0
        self.at_highest: DeviceFigures | None = None
        self.peak_allocations: list[Allocation] = []
        self.explicit = False
        self._device = Reader()
        self._since = time.perf_counter()

    def enter(self, phase: str) -> None:
        """End the current phase, and begin ``phase``."""
        tensors = self.tensors
        if phase == tensors.phase:
            return
        self.close()
        if phase == "backward" and tensors.keep_peak:
            for allocation in tensors.cohorts.get(tensors.step, {}).values():
                allocation.saved = allocation.phase in ("forward", "loss")
        tensors.phase = phase

    def close(self) -> None:
        """Add what the current phase has needed until now to its record."""
        now, tensors = time.perf_counter(), self.tensors
        record = self.current.get(tensors.phase)
        if record is None:
            record = self.current[tensors.phase] = PhasePeaks()
        record.seconds += now - self._since
        self._since = now
        figures = self._device.read()
        if figures is None:
            seen = PhasePeaks(0.0, tensors.peak)
            self.allocated = tensors.allocated
        else:
            self.allocated = figures.allocated
            driver = (driver_used() or 0) if tensors.keep_peak else 0
            seen = PhasePeaks(0.0, figures.peak, figures.reserved, figures.fragmented, driver)
        record.raise_to(seen)
        self.highs.setdefault(tensors.phase, PhasePeaks()).raise_to(seen)
        if tensors.keep_peak and tensors.peak > self.highest:
            self.highest = tensors.peak
            self.at_highest = figures
            self.peak_allocations = list(tensors.take_peak_allocations())
        tensors.reset_peak()

    @property
    def peaks(self) -> dict[str, int]:
        """The highest allocated bytes of each phase over all steps."""
        return {name: record.allocated for name, record in self.highs.items()}

    def take(self) -> dict[str, PhasePeaks]:
        """The phases of the step that ends; a new one begins."""
        self.close()
        out, self.current = self.current, {}
        return out


@dataclass(frozen=True, slots=True)
class StepMeasurement:
    """What was measured at the end of a step, in bytes; None where there is no such figure.

    Attributes:
        seconds: Duration of the step.
        allocated: In use at its end, on the device that is counted.
        peak: The highest ``allocated`` in the step.
        reserved: Taken from the device by PyTorch's allocator.
        driver: In use on the device as the driver counts it; read in some steps only.
        pinned: Pinned host memory that PyTorch holds.
        tensors: In tensors in the host's memory, with what steps that were not followed have added.
        rss: Resident set of the process.
        malloc: Allocated by malloc and not freed.
        retained: Freed, but not returned to the system.
        elements: Values that the model was given.
        instances: Instances in the targets.
        phases: The phases of the step.
        step: Its number, from 1.
        name: The images of the step, where they have names.
    """

    seconds: float
    allocated: int
    peak: int
    reserved: int | None
    driver: int | None
    pinned: int | None
    tensors: int
    rss: int
    malloc: int | None
    retained: int | None
    elements: int
    instances: int
    phases: dict[str, PhasePeaks]
    step: int = 0
    name: str | None = None
