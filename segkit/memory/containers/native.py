"""Host memory that grows and that no Python object explains: native code that keeps what it is given.

What malloc has handed out, less the tensors, is looked at as a curve. A curve proves little, so much is asked of it: a
rise in every part of the run at one pace, with no new size of picture in it (libraries keep kernels by size), of more
than what was found to be kept explains.
"""

from collections.abc import Sequence

from segkit.memory.containers.host_leaks import SPAN_WATCH, HostLeak
from segkit.memory.findings.finding import Finding
from segkit.memory.measure.phases import Sample
from segkit.memory.measure.trend import NOISE, even_rise
from segkit.memory.measure.user_code import UNKNOWN

_STEPS, _SURE = 48, 90  # steps that are asked for, after the first quarter of the run; to call it a leak


def native_leak(samples: Sequence[Sample], stride: int, explained: float, profiled: bool = False) -> HostLeak | None:
    """Growth of the host's memory that nothing else explains, if there is one.

    Args:
        samples: Of all steps.
        stride: Steps to a sample.
        explained: Bytes a step that were found to be kept.
        profiled: Whether PyTorch's profiler was on all the time.
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
    if rest < max(NOISE, 0.5 * explained):
        return None
    kind = "profiler left on" if profiled else "native memory"
    finding = Finding("native", kind, (), UNKNOWN, "malloc", held_by=None)
    steps = len(steady) * stride
    return HostLeak(finding, rest, steps if steps >= _SURE else SPAN_WATCH, 0)
