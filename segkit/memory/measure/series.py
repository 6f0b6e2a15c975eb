"""The measurements of all steps of a session."""

from segkit.memory.measure import cuda as device
from segkit.memory.measure import host
from segkit.memory.measure import torch_private as private
from segkit.memory.measure.phases import PhaseClock, PhasePeaks, StepMeasurement
from segkit.memory.measure.step_hooks import StepHooks
from segkit.memory.measure.tracker import LiveTensors

_DRIVER_EVERY = 10  # measurements
_MOST = 4_000  # measurements; of longer runs every second one is dropped, again and again


class StepSeries:
    """A measurement for every step that was followed, or for every ``stride`` of them in a long run.

    Attributes:
        measurements: From the first to the last.
        stride: Followed steps from one to the next.
        count: All steps.
        profiled: Steps in which PyTorch's own profiler was on.
    """

    def __init__(self, tensors: LiveTensors, clock: PhaseClock, hooks: StepHooks) -> None:
        self.measurements: list[StepMeasurement] = []
        self.stride, self.count, self.profiled = 1, 0, 0
        self._seen = 0  # of those steps, the ones that were measured
        self._tensors, self._clock, self._hooks = tensors, clock, hooks
        self._driver: int | None = None

    def restart(self) -> None:
        """Forget what was measured until now."""
        self.measurements.clear()
        self.stride, self.count, self._seen = 1, 0, 0

    def add(self, seconds: float, phases: dict[str, PhasePeaks], name: str | None) -> None:
        """Measure at the end of a step.

        Args:
            seconds: Its duration.
            phases: Its phases.
            name: What it was given, where the caller names it.
        """
        self.profiled += private.profiler_is_on()
        if self._seen % self.stride == 0:
            self.measurements.append(self._measure(seconds, phases, name))
        if len(self.measurements) > _MOST:
            del self.measurements[1::2]
            self.stride *= 2
        self._seen += 1
        self.count += 1

    def pass_over(self) -> None:
        """Count a step that was not followed, and whose peak nobody knows."""
        self.profiled += private.profiler_is_on()
        self.count += 1

    def _measure(self, seconds: float, phases: dict[str, PhasePeaks], name: str | None) -> StepMeasurement:
        on_cuda, given = private.on_cuda(), self._hooks.input
        if on_cuda and len(self.measurements) % _DRIVER_EVERY == 0:
            self._driver = device.driver_used()
        others = () if self._hooks.kind in ("forward", "batch") else ("eval", "save")
        peaks = [each.allocated for phase, each in phases.items() if phase not in others]
        return StepMeasurement(
            seconds=seconds, allocated=self._clock.allocated, peak=max(peaks, default=0),
            reserved=max((each.reserved for each in phases.values()), default=0) if on_cuda else None,
            driver=self._driver, pinned=device.pinned(),
            tensors=self._tensors.on_host + self._tensors.unseen, rss=host.resident(),
            malloc=host.malloc_in_use(), retained=host.malloc_retained(), elements=given.elements,
            instances=given.instances, phases=phases, step=self.count + 1, name=name or ", ".join(given.names) or None,
        )  # fmt: skip
