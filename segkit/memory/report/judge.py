"""From what was found to what is said: leaks, and growth that will end or is too little to matter."""

import gc
import re
import sys
from collections import defaultdict
from typing import Any

from segkit.memory.containers.host_leaks import HostLeak
from segkit.memory.containers.native import native_leak
from segkit.memory.findings.finding import GRAPH_KINDS, Finding, Room, absolute, leak_of
from segkit.memory.findings.fixes import fix_for
from segkit.memory.holders.ledger import WATCH, Verdict
from segkit.memory.measure.user_code import UNKNOWN, USER_CODE
from segkit.memory.session import Session

STICKY = (*GRAPH_KINDS, "reference cycle")  # no program means to keep these, however long
_OLD_STEPS, _OLD_GRAPH = 60, 48  # steps from which on what is kept now and then is kept for good; a graph
SMALL_BYTES = 256  # a step: a number or two in a tensor, of which a million are less than a gigabyte


def leaks_of(session: Session, rooms: dict[str, Room]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What leaks, as ``memory.json`` holds it, the worst first; and what grows with a bound.

    Args:
        session: What was watched.
        rooms: The memory of ``host`` and ``device``.
    """
    leaks, bounded = _tensor_leaks(session, rooms)
    leaks = _folded(leaks, rooms)
    stored = {leak["stored_at"] for leak in leaks} - {None}
    for leak in session.host.leaks.values():
        if leak.finding.stored_at is not None and absolute(leak.finding.stored_at) in stored:
            continue  # the same container under another name
        _sort_in(host_leak(leak, rooms["host"]), leak, leaks, bounded)
    explained = sum(leak["bytes_per_step"] for leak in leaks if leak["where"] == "host")
    native = native_leak(session.samples, session.stride, explained, 2 * session.profiled > session.count)
    if native is not None:
        leaks.append(host_leak(native, rooms["host"]))
    leaks.sort(key=lambda leak: (not leak["is_leak"], -leak["bytes_per_step"]))
    return leaks, bounded


def _tensor_leaks(session: Session, rooms: dict[str, Room]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    states = session.states()
    for site, level in session.levels.items():
        finding = session.findings.get(session.by_site.get(site, ""))
        if finding is not None and finding.kind in STICKY and level == "leak":
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
        if finding.kind == "reference cycle" and gc.isenabled():
            freed = [ledger for site in finding.sites if (ledger := session.ledgers.get(site)) and ledger.emptied]
            if freed:
                bounded.append(_garbage(finding, max(ledger.bound for ledger in freed), session))
                continue
        worst: Verdict = "leak" if "leak" in found else "watch"
        if finding.kind == "held by an extension" and len(grouped) > 1:
            worst = "watch"  # beside what has a name, this may be a part of it
        if worst == "watch" and finding.verified and _is_old(finding, session):
            worst = "leak"
        where = "host" if {session.devices.get(site, "cpu") for site in finding.sites} <= {"cpu"} else "device"
        since = min((session.since[site] for site in finding.sites if site in session.since), default=session.count)
        leak = leak_of(finding, session.ledgers, worst, where, rooms[where], since)
        joined = [session.tensors.joins[site] for site in finding.sites if site in session.tensors.joins]
        if finding.kind == "growing tensor" and joined:
            times, began = joined[0].lineage
            leak["bytes_per_step"] = (joined[0].size - began) / max(1, times)
            leak["steps_seen"] = times
            leak["steps_to_oom"] = rooms[where].steps_left(leak["bytes_per_step"])
        if finding.bound is not None and _fits(finding, leak["bytes_per_step"], rooms[where].limit):
            bounded.append(_growth_of(finding, leak["bytes_per_step"], leak["steps_seen"]))
        elif leak["bytes_per_step"] < SMALL_BYTES and finding.kind not in STICKY:
            bounded.append(_log(str(finding.holder or finding.held_by), leak["bytes_per_step"], leak["steps_seen"]))
        else:
            leaks.append(leak)
    # Sites that were not asked after, beside others that were: a graph has many, and one holder.
    keepers = [finding for finding in session.findings.values() if finding.kind in STICKY and finding.key in grouped]
    for site, level in homeless if not keepers else ():
        finding = Finding("", "kept tensors", (site,), site.line, site.operation)
        where = "host" if session.devices.get(site, "cpu") == "cpu" else "device"
        worst = "leak" if level == "leak" and not session.findings else "watch"
        leaks.append(leak_of(finding, session.ledgers, worst, where, rooms[where]))
    return leaks, bounded


def _is_old(finding: Finding, session: Session) -> bool:
    """Whether things have been kept for so long that no epoch's end is to be expected any more."""
    steps = _OLD_GRAPH if finding.kind in GRAPH_KINDS else _OLD_STEPS
    ledgers = [session.ledgers[site] for site in finding.sites if site in session.ledgers]
    cohorts = [ledger.cohorts for ledger in ledgers if ledger.cohorts and not ledger.emptied]
    return any(len(each) >= WATCH and session.tensors.step - min(each) >= steps for each in cohorts)


def _folded(leaks: list[dict[str, Any]], rooms: dict[str, Room]) -> list[dict[str, Any]]:
    """Leaks that are one for a user, as one: the entries of a dict stored at one line, and what a kept graph keeps.

    Saved tensors that no Python object reaches beside a graph that is kept are that graph's, though the way to them is
    inside of C++.
    """
    out: list[dict[str, Any]] = []
    for leak in sorted(leaks, key=lambda leak: (leak["holder"] is None, -leak["bytes_per_step"])):
        whole = next((other for other in out if _belongs(leak, other)), None)
        if whole is None:
            out.append(leak)
            continue
        whole["bytes_per_step"] += leak["bytes_per_step"]
        whole["steps_to_oom"] = rooms[whole["where"]].steps_left(whole["bytes_per_step"])
        whole["is_leak"] = whole["is_leak"] or leak["is_leak"]
        whole["also_at"] = [*whole["also_at"], leak["allocated_at"], *leak["also_at"]][:12]
        if leak["holder"] is not None:
            whole["also_held_by"] = [*whole.get("also_held_by", []), leak["held_by"]]
    return out


def _belongs(leak: dict[str, Any], other: dict[str, Any]) -> bool:
    if leak["where"] != other["where"]:
        return False
    if leak["kind"] in ("C++ cycle", "held by an extension") and leak["holder"] is None:
        return other["kind"] in GRAPH_KINDS and other["holder"] is not None
    return (
        leak["stored_at"] is not None
        and (leak["stored_at"], leak["scope"]) == (other["stored_at"], other["scope"])
        and _root(leak) == _root(other)
    )


def _root(leak: dict[str, Any]) -> str:
    return re.split(r"[.\[(]", str(leak["holder"]))[0]


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


def host_leak(leak: HostLeak, room: Room) -> dict[str, Any]:
    """A leak of the host's memory, as ``memory.json`` holds it."""
    finding = leak.finding
    return {
        "kind": finding.kind,
        "where": "host",
        "bytes_per_step": leak.per_step,
        "allocated_at": None if finding.allocated_at is UNKNOWN else absolute(finding.allocated_at),
        "held_by": finding.held_by,
        "stored_at": absolute(finding.stored_at) if finding.stored_at is not None else None,
        "fix": fix_for(finding.kind, _short(finding.holder)),
        "steps_to_oom": room.steps_left(leak.per_step),
        "operation": finding.operation,
        "holder": finding.holder,
        "scope": finding.scope,
        "verified": finding.verified,
        "stored_surely": finding.stored_surely,
        "graph_nodes": None,
        "steps_seen": leak.span,
        "is_leak": leak.state == "leak",
        "leak_since": leak.since if leak.state == "leak" else None,
        "also_at": [],
    }


def _short(holder: str | None) -> str | None:
    return holder.split("[")[0] if holder is not None else None


def _garbage(finding: Finding, steps: int, session: Session) -> dict[str, Any]:
    per_step = sum(session.ledgers[site].per_birth for site in finding.sites if site in session.ledgers)
    return {
        "name": "cyclic garbage",
        "what": f"what is made at {absolute(finding.allocated_at)} ends in reference cycles, and waits to be collected",
        "bytes": int(per_step * steps), "bound": f"the collector has freed it after {steps} steps", "where": "host",
    }  # fmt: skip


def _log(holder: str, per_step: float, steps: int) -> dict[str, Any]:
    return {
        "name": "log", "what": f"{holder} grows by {per_step:.0f} bytes a step", "bytes": int(per_step * steps),
        "bound": f"{per_step / 1000:.1f} GB in a million steps", "where": "host",
    }  # fmt: skip


def _sort_in(document: dict[str, Any], leak: HostLeak, leaks: list[Any], bounded: list[Any]) -> None:
    finding = leak.finding
    if finding.bound is not None:
        bounded.append(_growth_of(finding, leak.per_step, leak.entries))
    elif leak.state == "log" and not _is_librarys(finding.scope):  # a library's own small books are its affair
        bounded.append(_log(str(finding.holder), leak.per_step, leak.span))
    elif leak.state != "log":
        leaks.append(document)


def _is_librarys(scope: str | None) -> bool:
    module = sys.modules.get(scope or "")
    return module is not None and scope != "__main__" and not USER_CODE.owns(getattr(module, "__file__", None) or "<")
