"""Growth that is no leak: what it is called, what it is, how much, and where it ends."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from statistics import StatisticsError, correlation, mean, median
from typing import Any

from segkit.memory.findings.bounds import Bound
from segkit.memory.findings.records import Growth, MemoryLimit
from segkit.memory.findings.source_lines import last_name
from segkit.memory.findings.suspect import Suspect, absolute
from segkit.memory.holders.roots import UNNAMED
from segkit.memory.holders.survival import GRACE, WATCH
from segkit.memory.measure import torch_private as private
from segkit.memory.measure.phases import StepMeasurement
from segkit.memory.session import Session
from segkit.units import format_bytes

_MUCH = 8 * 2**20  # bytes; less is not reported


def bounded_growth(suspect: Suspect, bound: Bound, per_step: float, steps: int) -> Growth:
    """A container that will not grow beyond a bound.

    Args:
        suspect: The container.
        bound: Its bound.
        per_step: Bytes of a step, or of an entry.
        steps: How many steps, or entries, it holds.
    """
    name = "bounded cache" if "keyed" in bound.reason else "bounded container"
    what = f"{suspect.holder or suspect.held_by} keeps what is made at {absolute(suspect.allocated_at)}"
    most = "" if bound.entries is None else f": about {format_bytes(int(bound.entries * per_step))}"
    return Growth(name, what, int(per_step * steps), bound.reason + most)


def is_kept(bound: Bound, entries: int, per_entry: float, memory: MemoryLimit) -> bool:
    """Whether a bound holds: no more entries than it says, and all of them are a small part of the memory there is.

    Args:
        bound: The bound.
        entries: How many entries there are, or from how many steps.
        per_entry: Bytes of one.
        memory: The memory that they take.
    """
    if bound.entries is None:
        return True
    too_many = entries > 1.1 * bound.entries + GRACE
    return not too_many and (memory.limit is None or bound.entries * per_entry < 0.5 * memory.limit)


def may_be_emptied(suspect: Suspect, since: int, session: Session) -> str | None:
    """Why a container that is kept since a step may be emptied yet: the run is shorter than the epoch that ends it."""
    epochs = session.hooks.epochs
    if suspect.emptied_at is None or not epochs.is_within(since):
        return None
    at = f"{absolute(suspect.emptied_at)} empties it"
    return f"it may be emptied at the end of the epoch ({at}; {epochs.read} of {epochs.length} batches were read)"


def collected_growth(suspect: Suspect, per_step: float, steps: int) -> Growth:
    """Reference cycles that Python's garbage collector frees."""
    made_at = absolute(suspect.allocated_at)
    what = f"what is made at {made_at} ends in reference cycles, which only the garbage collector frees"
    return Growth("cyclic garbage", what, int(per_step * steps), f"the collector freed it after {steps} steps")


def small_growth(holder: str, per_step: float, steps: int) -> Growth:
    """What grows at every step, but by too little to matter."""
    bound = f"{per_step / 1000:.1f} GB in a million steps"
    return Growth("log", f"{holder} grows by {per_step:.0f} bytes a step", int(per_step * steps), bound)


def name_growth(session: Session) -> list[Growth]:
    """Everything that grew in a run, but is not expected to grow further."""
    measurements = session.series.measurements
    if len(measurements) < 4:
        return []
    found = [
        *_containers(session),
        *_images(measurements),
        *_phases(session),
        *_host(measurements),
        *_device(measurements),
        *_regions(session),
    ]
    if not private.on_cuda():
        found = [replace(each, where="host") for each in found]
    return found


def _containers(session: Session) -> list[Growth]:
    """What kept tensors for a while."""
    out: dict[str, Growth] = {}
    for site, survival in session.survivors.by_site.items():
        if survival.state(session.tensors.step) != "clean" or max(survival.most, survival.bound) < WATCH:
            continue
        suspect = session.suspects.of(site)
        if survival.bytes <= 0 or (suspect is not None and suspect.kind in ("reference cycle", "optimizer state")):
            continue  # nothing is kept; or it is reported elsewhere
        what = f"{_name_of(suspect) or 'something'} keeps what is made at {absolute(site.line)}"
        if survival.emptied:
            name, bound = "kept for a while", f"it was emptied after {survival.bound} steps"
        elif survival.added < len(survival.cohorts) or survival.oldest > GRACE + WATCH:
            name, bound = "sliding window", f"it holds the last {len(survival.cohorts)} steps"
        else:
            number_of = session.tensors.number_of
            last = number_of(max(survival.cohorts)) - number_of(session.survivors.first_step) + 1
            name, bound = "cache that filled", f"nothing was added since step {last}"
        known = out.get(what, Growth(name, what, 0, bound))
        out[what] = replace(known, bytes=(known.bytes or 0) + survival.bytes)
    return list(out.values())


def _name_of(suspect: Suspect | None) -> str | None:
    if suspect is None or suspect.scope is None or not suspect.scope.startswith(UNNAMED):
        return suspect.holder or suspect.held_by if suspect is not None else None
    return f"{suspect.scope}'s {last_name(suspect.holder or suspect.held_by or '')}"


def _images(measurements: Sequence[StepMeasurement]) -> list[Growth]:
    """Peaks that follow the size of the images, or the instances in them."""
    steady = measurements[2:]
    peaks = [float(each.peak) for each in steady]
    spread = max(peaks) - median(peaks)
    out = []
    for name, values, unit in (
        ("new image sizes", [float(each.elements) for each in steady], "size of the input (in values)"),
        ("crowded images", [float(each.instances) for each in steady], "number of instances"),
    ):
        if len(set(values)) < 3 or spread < 0.05 * max(peaks):
            continue
        if _correlation(values, peaks) >= 0.8:
            at = max(range(len(steady)), key=lambda index: peaks[index])
            what = f"the peak follows the {unit}: {values[at]:.0f} at the highest, median {median(values):.0f}"
            out.append(Growth(name, what, int(spread), f"{format_bytes(max(peaks))} with the largest so far", "device"))
    return out


def _phases(session: Session) -> list[Growth]:
    peaks = session.clock.peaks
    if "backward" not in peaks:
        return []  # there is no training
    training = max((peaks.get(name, 0) for name in ("forward", "loss", "backward", "step")), default=0)
    spike = peaks.get("eval", 0) - training
    if training and spike > max(0.1 * training, _MUCH):
        what = "evaluation needs more than training, in addition to the blocks that training has cached"
        return [Growth("evaluation spike", what, spike, format_bytes(peaks["eval"]), "device")]
    return []


def _host(measurements: Sequence[StepMeasurement]) -> list[Growth]:
    """Resident memory that malloc retains, and libraries' caches of shapes."""
    out: list[Growth] = []
    begin, end = measurements[min(3, len(measurements) - 1)], measurements[-1]
    grown = end.rss - begin.rss
    if end.malloc is None or begin.malloc is None:
        return out
    used = end.malloc - begin.malloc
    retained = (end.retained or 0) - (begin.retained or 0)
    if grown > 4 * _MUCH and used < 0.4 * grown and retained > 0.3 * grown:
        what = "memory that was freed, but that glibc does not return to the system (MALLOC_ARENA_MAX=2 reduces it)"
        out.append(Growth("retained by malloc", what, grown - used, "the most memory that was in use at once"))
    apart = [(each.malloc or 0) - each.allocated for each in measurements]
    sizes = [each.elements for each in measurements]
    first = [float(sizes.index(size) == index) for index, size in enumerate(sizes)]
    steps = [0.0, *(float(b - a) for a, b in itertools.pairwise(apart))]
    if sum(first) > 5 and apart[-1] - apart[3] > _MUCH and _correlation(first[3:], steps[3:]) > 0.2:
        what = f"oneDNN and torch cache a kernel for every new input size ({len(set(sizes))} sizes so far)"
        bound = "ONEDNN_PRIMITIVE_CACHE_CAPACITY (1024 kernels), or one for each size"
        out.append(Growth("kernels cached by size", what, apart[-1] - apart[3], bound))
    return out


def _device(measurements: Sequence[StepMeasurement]) -> list[Growth]:
    """What PyTorch has reserved and does not use, and what is outside of its allocator."""
    early, late = measurements[2], measurements[-1]
    if early.reserved is None or late.reserved is None:
        return []
    out = []
    gap = [(each.reserved or 0) - each.peak for each in (early, late)]
    if gap[1] - gap[0] > 4 * _MUCH and gap[1] > 0.15 * late.reserved:
        what = "reserved blocks that fit no request (PYTORCH_ALLOC_CONF=expandable_segments:True helps)"
        out.append(Growth("fragmentation", what, gap[1] - gap[0], None, "device"))
    beyond = [(each.driver or 0) - (each.reserved or 0) for each in (early, late)]
    if early.driver and beyond[1] - beyond[0] > 8 * _MUCH:
        what = "GPU memory outside of PyTorch's allocator: cuDNN, NCCL, decoders, other programs"
        out.append(Growth("outside the allocator", what, beyond[1] - beyond[0], None, "device"))
    pinned = (late.pinned or 0) - (early.pinned or 0)
    if pinned > _MUCH:
        what = "pinned host memory is kept for the next batches, in blocks of powers of two"
        bound = "the largest batch, once for each prefetched batch"
        out.append(Growth("pinned-memory cache", what, pinned, bound))
    return out


def _regions(session: Session) -> list[Growth]:
    """Positive regions of a detector, which rise while its proposals become better."""
    heads = next(
        (m for top in session.hooks.modules for m in top.modules() if type(m).__name__ == "RoIHeads"), None
    )  # fmt: skip
    peaks = [float(each.peak) for each in session.series.measurements[3:]]
    if heads is None or len(peaks) < 24:
        return []
    third = len(peaks) // 3
    rise = mean(peaks[-third:]) - mean(peaks[:third])
    if rise < 0.03 * max(peaks):
        return []
    sampler: Any = heads.fg_bg_sampler
    most = int(sampler.batch_size_per_image * sampler.positive_fraction)
    what = "the mask head gets more positive regions as the proposals become better"
    return [Growth("positive regions rise", what, int(rise), f"{most} regions for each image", "device")]


def _correlation(xs: Sequence[float], ys: Sequence[float]) -> float:
    try:
        return correlation(xs, ys)
    except StatisticsError:  # one of them is constant
        return 0.0
