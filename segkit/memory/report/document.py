"""What a session came to, as ``memory.json`` holds it."""

from statistics import median
from typing import Any

import torch

from segkit.memory.findings.records import MemoryLimit, Where
from segkit.memory.measure import host
from segkit.memory.measure import torch_private as private
from segkit.memory.measure.phases import PHASES, PhaseRecord
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
    samples = session.samples
    on_cuda = private.on_cuda()
    peak = max(session.clock.peaks.values(), default=0)
    rss = max((sample.rss for sample in samples), default=0)
    limits = _limits(limit, peak, rss)
    leaks, growth = leaks_of(session, limits)
    return {
        "verdict": verdict_of(leaks, session.count),
        "steps": session.count,
        "leaks": [leak.to_json() for leak in leaks],
        "growth": [each.to_json() for each in (*growth, *name_growth(session))],
        "phases": _phases(session),
        "categories": session.categories.categories,
        "peak": _peak(session, peak, rss),
        "top": {
            "modules": session.categories.modules,
            "lines": session.categories.sites,
            "makers": session.categories.makers,
            "steps": _top_steps(session),
        },
        "counted": "bytes of PyTorch's CUDA allocator" if on_cuda else "bytes of live tensors, counted one by one",
        "device": torch.cuda.get_device_name() if on_cuda else "cpu",
        "limit": limits["device" if on_cuda else "host"].limit,
        "marked_by": session.marks.kind,
        "model": ", ".join(session.marks.called[:4]) or "no module was called",
        "problems": [*session.failures, *private.missing(private.FOR_PROFILES)],
        "cost": {
            "searches": len(session.diagnosing),
            "longest_search": max(session.diagnosing, default=None),
            "censuses": len(session.counting),
            "longest_census": max(session.counting, default=None),
        },
        "series": {
            "stride": session.stride,
            "allocated": [sample.allocated for sample in samples],
            "peak": [sample.peak for sample in samples],
            "reserved": [sample.reserved for sample in samples],
            "rss": [sample.rss for sample in samples],
            "malloc": [sample.malloc for sample in samples],
            "seconds": [sample.seconds for sample in samples],
        },
    }


def _limits(limit: int | None, peak: int, rss: int) -> dict[Where, MemoryLimit]:
    """Memory that there is, and what of it is used; a limit that was named is that of the device, if there is one."""
    if not private.on_cuda():
        return {"host": MemoryLimit(limit or host.host_limit(), rss), "device": MemoryLimit(None, peak)}
    total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    return {"host": MemoryLimit(host.host_limit(), rss), "device": MemoryLimit(limit or total, peak)}


def _phases(session: Session) -> dict[str, Any]:
    table = {}
    for name in PHASES:
        present = [sample.phases[name] for sample in session.samples if name in sample.phases]
        high = session.clock.highs.get(name, PhaseRecord())
        if present or high.allocated:
            table[name] = {
                "seconds": median(record.seconds for record in present) if present else None,
                "allocated": high.allocated,
                "reserved": high.reserved or None,
                "fragmented": high.fragmented if high.reserved else None,
                "driver": high.driver or None,
                "rss": max((sample.rss for sample in session.samples if name in sample.phases), default=None),
            }
    return table


def _peak(session: Session, peak: int, rss: int) -> dict[str, Any]:
    peaks = session.clock.peaks
    highest = max(range(len(session.samples)), key=lambda index: session.samples[index].peak, default=0)
    return {
        "allocated": peak,
        "phase": max(peaks, key=lambda name: peaks[name], default=None),
        "step": highest * session.stride + 1 if session.samples else None,
        "reserved": max((record.reserved for record in session.clock.highs.values()), default=0) or None,
        "driver": max((sample.driver or 0 for sample in session.samples), default=0) or None,
        "pinned": max((sample.pinned or 0 for sample in session.samples), default=0) or None,
        "rss": rss,
        "categories_at": session.categories.peak or None,
    }


def _top_steps(session: Session) -> list[dict[str, Any]]:
    order = sorted(range(len(session.samples)), key=lambda index: -session.samples[index].peak)[:5]
    return [
        {"step": index * session.stride + 1, "peak": session.samples[index].peak,
         "elements": session.samples[index].elements, "instances": session.samples[index].instances,
         "pictures": session.samples[index].name}
        for index in order
    ]  # fmt: skip
