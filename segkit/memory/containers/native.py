"""Host memory that grows and that no Python object explains: native code that keeps what it is given.

This is read from the curve of what malloc has allocated, without the tensors. A curve proves little, so it must rise in
every part of the run at the same rate, without a new size of image (libraries keep kernels by size), and by more than
what was found to be kept.
"""

from segkit.memory.containers.host_suspect import SPAN_WATCH, HostSuspect
from segkit.memory.findings.suspect import Suspect
from segkit.memory.measure.series import StepSeries
from segkit.memory.measure.trend import NOISE, even_rise
from segkit.memory.measure.user_code import UNKNOWN

_STEPS, _SURE = 48, 90  # steps after the first quarter of the run: to report it; to call it a leak


def native_leak(series: StepSeries, explained: float) -> HostSuspect | None:
    """Growth of the host's memory that nothing else explains, if there is one.

    Args:
        series: The measurements of all steps.
        explained: Bytes a step that were found to be kept.
    """
    measurements, stride = series.measurements, series.stride
    steady = measurements[len(measurements) // 4 :]
    if len(steady) * stride < _STEPS or any(each.malloc is None for each in steady):
        return None
    known = {each.elements for each in measurements[: len(measurements) // 4]}
    if any(each.elements not in known for each in steady):
        return None
    per_step = even_rise([(each.malloc or 0) - each.tensors for each in steady])
    if per_step is None:
        return None
    rest = per_step / stride - explained
    if rest < max(NOISE, 0.5 * explained):
        return None
    kind = "profiler left on" if 2 * series.profiled > series.count else "native memory"
    steps = len(steady) * stride
    suspect = Suspect("native", kind, (), UNKNOWN, "malloc")
    return HostSuspect(suspect, rest, steps if steps >= _SURE else SPAN_WATCH, 0)
