"""What a session came to, as ``memory.json`` holds it."""

from collections import defaultdict
from statistics import median
from typing import Any

import torch

from segkit.memory import host, private
from segkit.memory.findings import GRAPH_KINDS, Finding, absolute, leak_of, steps_to_oom
from segkit.memory.growth import name_growth
from segkit.memory.hostleaks import HostLeak
from segkit.memory.lines import UNKNOWN
from segkit.memory.phases import PHASES
from segkit.memory.session import Session
from segkit.memory.taxonomy import fix_for
from segkit.memory.verdict import STEPS_NEEDED, Verdict

STICKY = (*GRAPH_KINDS, "reference cycle")  # no program means to keep these, however long


def report_of(
    session: Session, limit: int | None = None, workers: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """The document of a session as it stands now.

    Args:
        session: What was watched.
        limit: Bytes that there are; None for what the device or the machine has.
        workers: What loader workers have reported of themselves.
    """
    samples = session.samples
    on_cuda = private.on_cuda()
    if limit is None:
        limit = (
            torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory if on_cuda else host.host_limit()
        )
    peak = max(session.clock.peaks.values(), default=0)
    rss = max((sample.rss for sample in samples), default=0)
    used = peak if on_cuda else rss
    leaks, bounded = _tensor_leaks(session, limit, used)
    stored = {leak["stored_at"] for leak in leaks} - {None}
    for leak in session.host.leaks.values():
        if leak.finding.stored_at is not None and absolute(leak.finding.stored_at) in stored:
            continue  # the same container under another name
        _sort_in(_host_leak(leak, limit, used), leak, leaks, bounded)
    for worker in workers or ():
        (leaks if worker.pop("is_growth", None) is None else bounded).append(worker)
    leaks.sort(key=lambda leak: (not leak["is_leak"], -leak["bytes_per_step"]))
    return {
        "verdict": _verdict(leaks, session.count),
        "steps": session.count,
        "leaks": leaks,
        "growth": [*bounded, *name_growth(session)],
        "phases": _phases(session),
        "categories": session.categories.categories,
        "peak": _peak(session, peak, rss),
        "top": {"modules": session.categories.modules, "lines": session.categories.sites, "steps": _top_steps(session)},
        "counted": "bytes of PyTorch's CUDA allocator" if on_cuda else "bytes of live tensors, counted one by one",
        "device": torch.cuda.get_device_name() if on_cuda else "cpu",
        "limit": limit,
        "marked_by": session.marks.kind,
        "model": ", ".join(sorted({type(module).__name__ for module in session.marks.modules})[:4])
        or "no module was called",
        "problems": session.failures,
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


def _verdict(leaks: list[dict[str, Any]], steps: int) -> Verdict:
    if any(leak["is_leak"] for leak in leaks):
        return "leak"
    if leaks:
        return "watch"
    return "clean" if steps >= STEPS_NEEDED else "inconclusive"


def _tensor_leaks(session: Session, limit: int | None, used: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    states = session.states()
    for site, level in session.levels.items():
        finding = session.findings.get(session.by_site.get(site, ""))
        if finding is not None and finding.kind in STICKY and site not in states and level == "leak":
            states[site] = level
    grouped: dict[str, list[str]] = defaultdict(list)
    homeless = []
    for site, state in states.items():
        key = session.by_site.get(site)
        if key is None or key not in session.findings:
            homeless.append((site, state))
        else:
            grouped[key].append(state)
    leaks, bounded = [], []
    for key, found in grouped.items():
        finding = session.findings[key]
        worst: Verdict = "leak" if "leak" in found else "watch"
        leak = leak_of(finding, session.ledgers, worst, limit, used)
        devices = {session.devices.get(site, "cpu") for site in finding.sites}
        leak["where"] = "host" if devices <= {"cpu"} else "device"
        joined = [session.tensors.joins[site] for site in finding.sites if site in session.tensors.joins]
        if finding.kind == "growing tensor" and joined:
            times, began = joined[0].lineage
            leak["bytes_per_step"] = (joined[0].size - began) / max(1, times)
            leak["steps_seen"] = times
            leak["steps_to_oom"] = steps_to_oom(leak["bytes_per_step"], limit, used)
        if finding.bound is not None and _fits(finding, leak["bytes_per_step"], limit):
            bounded.append(_growth_of(finding, leak["bytes_per_step"], leak["steps_seen"]))
        else:
            leaks.append(leak)
    # Sites that were not asked after, beside others that were: a graph has many, and one holder.
    keepers = [finding for finding in session.findings.values() if finding.kind in STICKY and finding.key in grouped]
    for site, level in homeless if not keepers else ():
        finding = Finding("", "kept tensors", (site,), site.line, site.operation)
        leaks.append(
            leak_of(
                finding, session.ledgers, "leak" if level == "leak" and not session.findings else "watch", limit, used
            )
        )
    return leaks, bounded


def _fits(finding: Finding, per_entry: float, limit: int | None) -> bool:
    """Whether what a container will hold at most is a small part of the memory there is."""
    return finding.bound_entries is None or limit is None or finding.bound_entries * per_entry < 0.5 * limit


def _growth_of(finding: Finding, per_step: float, steps: int) -> dict[str, Any]:
    most = None if finding.bound_entries is None else int(finding.bound_entries * per_step)
    return {
        "name": "bounded cache" if "keyed" in (finding.bound or "") else "bounded container",
        "what": f"{finding.holder or finding.held_by} keeps what is made at {absolute(finding.allocated_at)}",
        "bytes": int(per_step * steps),
        "bound": finding.bound if most is None else f"{finding.bound}: about {most} bytes",
        "where": "host",
    }


def _host_leak(leak: HostLeak, limit: int | None, used: int) -> dict[str, Any]:
    finding = leak.finding
    return {
        "kind": finding.kind,
        "where": "host",
        "bytes_per_step": leak.per_step,
        "allocated_at": None if finding.allocated_at is UNKNOWN else absolute(finding.allocated_at),
        "held_by": finding.held_by,
        "stored_at": absolute(finding.stored_at) if finding.stored_at is not None else None,
        "fix": fix_for(finding.kind, _short(finding.holder)),
        "steps_to_oom": steps_to_oom(leak.per_step, limit, used),
        "operation": finding.operation,
        "holder": finding.holder,
        "scope": finding.scope,
        "verified": finding.verified,
        "stored_surely": finding.stored_surely,
        "graph_nodes": None,
        "steps_seen": leak.span,
        "is_leak": leak.state == "leak",
        "also_at": [],
    }


def _short(holder: str | None) -> str | None:
    return holder.split("[")[0] if holder is not None else None


def _sort_in(document: dict[str, Any], leak: HostLeak, leaks: list[Any], bounded: list[Any]) -> None:
    finding = leak.finding
    if finding.bound is not None:
        bounded.append(_growth_of(finding, leak.per_step, leak.entries))
    elif leak.state == "log":
        bounded.append(
            {"name": "log", "what": f"{finding.holder} grows by {leak.per_step:.0f} bytes a step",
             "bytes": int(leak.per_step * leak.span), "bound": f"{leak.per_step / 1000:.1f} GB in a million steps",
             "where": "host"}
        )  # fmt: skip
    else:
        leaks.append(document)


def _phases(session: Session) -> dict[str, Any]:
    table = {}
    for name in PHASES:
        present = [sample.phases[name] for sample in session.samples if name in sample.phases]
        if present or session.clock.peaks.get(name):
            table[name] = {
                "seconds": median(record.seconds for record in present) if present else None,
                "allocated": session.clock.peaks.get(name),
                "reserved": session.clock.reserved.get(name) or None,
                "fragmented": None,
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
