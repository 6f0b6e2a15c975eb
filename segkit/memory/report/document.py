"""The report of a session, as ``memory.json`` holds it."""

from statistics import median
from typing import Any

import torch

from segkit.memory.findings.records import MemoryLimit, Where
from segkit.memory.measure import host
from segkit.memory.measure import torch_private as private
from segkit.memory.measure.compiled import UNSEEN
from segkit.memory.measure.phases import PHASES, PhasePeaks
from segkit.memory.measure.series import StepSeries
from segkit.memory.report.growth import name_growth
from segkit.memory.report.judge import leaks_of
from segkit.memory.report.wording import verdict_of
from segkit.memory.session import Session


def report_of(session: Session, limit: int | None = None) -> dict[str, Any]:
    """The document of a session as it stands now.

    Args:
        session: What was watched.
        limit: Bytes that there are; None for what the device or the machine has.
    """
    on_cuda, series = private.on_cuda(), session.series
    peak = _peak(session)
    limits = _limits(limit, peak["allocated"], peak["rss"])
    leaks, growth = leaks_of(session, limits)
    categories = session.categories
    return {
        "verdict": verdict_of(leaks, series.count),
        "steps": series.count,
        "leaks": [leak.to_json() for leak in leaks],
        "growth": [each.to_json() for each in (*growth, *name_growth(session))],
        "phases": _phases(session),
        "categories": categories.categories,
        "peak": peak,
        "top": {"modules": categories.modules, "lines": categories.sites, "makers": categories.library_lines,
                "steps": _top_steps(series)},
        "counted": "bytes of PyTorch's CUDA allocator" if on_cuda else "bytes of live tensors, counted one by one",
        "device": torch.cuda.get_device_name() if on_cuda else "cpu",
        "limit": limits["device" if on_cuda else "host"].limit,
        "marked_by": session.hooks.kind,
        "model": ", ".join(session.hooks.module_classes[:4]) or "no module was called",
        "problems": [*session.failures, *private.missing(private.FOR_PROFILES)],
        "unseen": _unseen(session, on_cuda),
        "cost": _cost(session),
        "series": _series(series),
    }  # fmt: skip


def _unseen(session: Session, on_cuda: bool) -> list[str]:
    """What could not be measured here."""
    unseen = [UNSEEN] if session.hooks.compiled.graphs and not on_cuda else []
    if session.has_missed_census:
        taken = session.budget.times["census"]
        unseen.append(
            f"containers that have grown since the last of {taken} censuses: on these many objects another one would "
            "take too long"
        )
    if session.host.has_no_time:
        unseen.append("containers and values that grow on the host: to search for what holds them would take too long")
    return unseen


def _cost(session: Session) -> dict[str, Any]:
    """What the measuring has taken, in seconds of processor time; None where that is not known."""
    sampling, searches = session.sampling, session.suspects.searches
    return {
        "searches": len(searches), "longest_search": max(searches, default=None),
        "search_seconds": session.budget.seconds["search"], "census_seconds": session.budget.seconds["census"],
        "censuses": len(session.censuses), "longest_census": max(session.censuses, default=None),
        "following_seconds": sampling.seconds, "followed": sampling.full, "passed_over": sampling.light,
        "seconds": session.seconds,
    }  # fmt: skip


def _limits(limit: int | None, peak: int, rss: int) -> dict[Where, MemoryLimit]:
    """Memory that there is, and what of it is used; a limit that was named is that of the device, if there is one."""
    if not private.on_cuda():
        return {"host": MemoryLimit(limit or host.host_limit(), rss), "device": MemoryLimit(None, peak)}
    total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    return {"host": MemoryLimit(host.host_limit(), rss), "device": MemoryLimit(limit or total, peak)}


def _phases(session: Session) -> dict[str, Any]:
    table = {}
    for name in PHASES:
        present = [each for each in session.series.measurements if name in each.phases]
        high = session.clock.highs.get(name, PhasePeaks())
        if present or high.allocated:
            table[name] = {
                "seconds": median(each.phases[name].seconds for each in present) if present else None,
                "allocated": high.allocated,
                "reserved": high.reserved or None,
                "fragmented": high.fragmented if high.reserved else None,
                "driver": high.driver or None,
                "rss": max((each.rss for each in present), default=None),
            }
    return table


def _peak(session: Session) -> dict[str, Any]:
    peaks, measurements = session.clock.peaks, session.series.measurements
    highest = max(range(len(measurements)), key=lambda index: measurements[index].peak, default=0)
    return {
        "allocated": max(peaks.values(), default=0),
        "phase": max(peaks, key=lambda name: peaks[name], default=None),
        "step": measurements[highest].step if measurements else None,
        "reserved": max((each.reserved for each in session.clock.highs.values()), default=0) or None,
        "driver": max((each.driver or 0 for each in measurements), default=0) or None,
        "pinned": max((each.pinned or 0 for each in measurements), default=0) or None,
        "rss": max((each.rss for each in measurements), default=0),
        "categories_at": session.categories.peak or None,
    }


def _top_steps(series: StepSeries) -> list[dict[str, Any]]:
    """The five steps with the highest peaks."""
    highest = sorted(series.measurements, key=lambda each: -each.peak)[:5]
    return [
        {"step": each.step, "peak": each.peak, "elements": each.elements,
         "instances": each.instances, "pictures": each.name}
        for each in highest
    ]  # fmt: skip


def _series(series: StepSeries) -> dict[str, Any]:
    names = ("step", "allocated", "peak", "reserved", "rss", "malloc", "seconds")
    return {"stride": series.stride} | {name: [getattr(each, name) for each in series.measurements] for name in names}
