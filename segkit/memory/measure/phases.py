"""What a step is doing, for how long, and the most memory that each phase needed."""

import time
from dataclasses import dataclass

from segkit.memory.measure.allocation import Allocation
from segkit.memory.measure.cuda import DeviceFigures, Reader, driver_used
from segkit.memory.measure.tracker import LiveTensors

PHASES = ("load", "transfer", "forward", "loss", "backward", "step", "eval", "save")


@dataclass(slots=True)
class PhasePeaks:
    """One phase: seconds in this step, and the highest figures of allocated, reserved and fragmented bytes.

    ``driver``: in use on the device by the driver's account, asked for in some steps only.
    """

    seconds: float = 0.0
    allocated: int = 0
    reserved: int = 0
    fragmented: int = 0
    driver: int = 0

    def raise_to(self, other: "PhasePeaks") -> None:
        """Take over what is higher in another record."""
        self.allocated = max(self.allocated, other.allocated)
        self.reserved = max(self.reserved, other.reserved)
        self.fragmented = max(self.fragmented, other.fragmented)
        self.driver = max(self.driver, other.driver)


class PhaseClock:
    """Turns moments at which something begins into phases with a duration and a peak.

    Attributes:
        current: The phases of the step that goes on.
        highs: The highest figures of each phase over all steps.
        highest: The highest peak of live tensors, as the tracker counts them.
        allocated: Bytes in use when a phase last ended.
        peak_allocations: Allocations alive at the highest peak so far, where the tracker was asked to keep them.
        at_highest: The device's figures then.
        explicit: Whether phases are named by the trainer itself.
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
        """What went on until now is over, and ``phase`` begins."""
        tensors = self.tensors
        if phase == tensors.phase:
            return
        self.close()
        if phase == "backward" and tensors.keep_peak:
            for allocation in tensors.cohorts.get(tensors.step, {}).values():
                allocation.saved = allocation.phase in ("forward", "loss")
        tensors.phase = phase

    def close(self) -> None:
        """Write down what the phase that goes on came to so far."""
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
        """The phases of the step that ended; a new one begins."""
        self.close()
        out, self.current = self.current, {}
        return out


@dataclass(frozen=True, slots=True)
class StepMeasurement:
    """What was read at the end of a step; bytes, None where there is no such figure."""

    seconds: float
    allocated: int
    peak: int
    reserved: int | None
    driver: int | None  # in use on the device by the driver's account; asked now and then
    pinned: int | None
    tensors: int  # in the host's memory
    rss: int
    malloc: int | None
    retained: int | None
    elements: int
    instances: int
    phases: dict[str, PhasePeaks]
    name: str | None = None
