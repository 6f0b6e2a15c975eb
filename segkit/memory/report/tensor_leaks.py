"""Leaks of tensors: from sites whose tensors survive to one record for each holder."""

import gc
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from segkit.memory.findings.finding import GRAPH_KINDS, Finding, leak_of
from segkit.memory.findings.records import Growth, Leak, MemoryLimit, Where
from segkit.memory.holders.graph import NODE_BYTES
from segkit.memory.holders.ledger import WATCH, Verdict
from segkit.memory.measure.tracker import Site
from segkit.memory.report.growth import bounded_growth, collected_growth, small_growth
from segkit.memory.session import Session

NEVER_MEANT = (*GRAPH_KINDS, "reference cycle")  # no program means to keep these, however long it does
_OLD_STEPS, _OLD_GRAPH = 60, 48  # steps after which no end of an epoch is expected any more; for a graph
_SMALL_BYTES = 256  # a step: a number or two in a tensor, of which a million are less than a gigabyte


def tensor_leaks(session: Session, limits: Mapping[Where, MemoryLimit]) -> tuple[list[Leak], list[Growth]]:
    """What keeps tensors of many steps: leaks, and growth that ends or is too little to matter."""
    by_holder, unexplained = _group_by_holder(session)
    leaks: list[Leak] = []
    growth: list[Growth] = []
    for key, states in by_holder.items():
        found = _judge(session.findings[key], states, len(by_holder) == 1, session, limits)
        if isinstance(found, Leak):
            leaks.append(found)
        else:
            growth.append(found)
    # A kept graph keeps tensors of many lines, and not all of them were searched for.
    if not any(session.findings[key].kind in NEVER_MEANT for key in by_holder):
        for site, state in unexplained:
            finding = Finding("", "kept tensors", (site,), site.line, site.operation)
            sure: Verdict = "leak" if state == "leak" and not session.findings else "watch"
            leaks.append(_leak(finding, sure, session, limits))
    return _one_per_holder(leaks, limits), growth


def _group_by_holder(session: Session) -> tuple[dict[str, list[str]], list[tuple[Site, str]]]:
    """The states of suspect sites by the key of what holds their tensors; and sites whose holder is not known."""
    states = session.states()
    for site, state in session.levels.items():
        finding = session.findings.get(session.by_site.get(site, ""))
        if finding is not None and finding.kind in NEVER_MEANT and state == "leak":
            states[site] = state
    by_holder: dict[str, list[str]] = defaultdict(list)
    unexplained = []
    for site, state in states.items():
        key = session.by_site.get(site)
        if key is None or key not in session.findings:
            unexplained.append((site, state))
        else:
            by_holder[key].append(state)
    return by_holder, unexplained


def _judge(
    finding: Finding, states: Sequence[str], alone: bool, session: Session, limits: Mapping[Where, MemoryLimit]
) -> Leak | Growth:
    """Whether what one holder keeps is a leak.

    Args:
        finding: The holder.
        states: Those of its sites.
        alone: Whether no other holder was found.
        session: What was watched.
        limits: The memory of ``host`` and ``device``.
    """
    ledgers = [session.ledgers[site] for site in finding.sites if site in session.ledgers]
    emptied = [ledger.bound for ledger in ledgers if ledger.emptied]
    if finding.kind == "reference cycle" and gc.isenabled() and emptied:
        return collected_growth(finding, sum(ledger.per_birth for ledger in ledgers), max(emptied))
    state: Verdict = "leak" if "leak" in states else "watch"
    if finding.kind == "held by an extension" and not alone:
        state = "watch"  # it may be a part of what has a name
    if state == "watch" and finding.verified and _is_old(finding, session):
        state = "leak"
    leak = _leak(finding, state, session, limits)
    if finding.bound is not None and _fits(finding, leak.bytes_per_step, limits[leak.where].limit):
        return bounded_growth(finding, leak.bytes_per_step, leak.steps_seen)
    if leak.bytes_per_step < _SMALL_BYTES and finding.kind not in NEVER_MEANT:
        return small_growth(str(finding.holder or finding.held_by), leak.bytes_per_step, leak.steps_seen)
    return leak


def _leak(finding: Finding, state: Verdict, session: Session, limits: Mapping[Where, MemoryLimit]) -> Leak:
    """The record, with what the ledgers say of bytes and steps."""
    where: Where = "host" if {session.devices.get(site, "cpu") for site in finding.sites} <= {"cpu"} else "device"
    ledgers = [session.ledgers[site] for site in finding.sites if site in session.ledgers]
    joined = [session.tensors.joins[site] for site in finding.sites if site in session.tensors.joins]
    if finding.kind == "growing tensor" and joined:
        steps, began = joined[0].lineage
        per_step = (joined[0].size - began) / max(1, steps)
    else:
        steps = max((len(ledger.cohorts) for ledger in ledgers), default=0)
        per_step = finding.per_step if finding.per_step is not None else sum(each.bytes_per_step for each in ledgers)
        if finding.kind in GRAPH_KINDS:
            per_step += finding.nodes * NODE_BYTES
    since = min((session.since[site] for site in finding.sites if site in session.since), default=session.count)
    is_leak = state == "leak"
    return leak_of(finding, where, limits[where], per_step=per_step, steps_seen=steps, is_leak=is_leak,
                   since=since if is_leak else None)  # fmt: skip


def _is_old(finding: Finding, session: Session) -> bool:
    """Whether things have been kept for so long that no epoch's end is to be expected any more."""
    steps = _OLD_GRAPH if finding.kind in GRAPH_KINDS else _OLD_STEPS
    ledgers = [session.ledgers[site] for site in finding.sites if site in session.ledgers]
    cohorts = [ledger.cohorts for ledger in ledgers if ledger.cohorts and not ledger.emptied]
    return any(len(each) >= WATCH and session.tensors.step - min(each) >= steps for each in cohorts)


def _fits(finding: Finding, per_entry: float, limit: int | None) -> bool:
    """Whether what a container will hold at most is a small part of the memory that there is."""
    return finding.bound_entries is None or limit is None or finding.bound_entries * per_entry < 0.5 * limit


def _one_per_holder(leaks: list[Leak], limits: Mapping[Where, MemoryLimit]) -> list[Leak]:
    """Merge leaks that are one to a user: the entries of a dict stored at one line, and what a kept graph keeps.

    Saved tensors that no Python object reaches are taken to belong to a graph that is kept, if there is one: the way
    to them is inside of C++.
    """
    out: list[Leak] = []
    for leak in sorted(leaks, key=lambda leak: (leak.holder is None, -leak.bytes_per_step)):
        index = next((index for index, other in enumerate(out) if _belongs(leak, other)), None)
        if index is None:
            out.append(leak)
            continue
        whole = out[index]
        per_step = whole.bytes_per_step + leak.bytes_per_step
        since = [each.leak_since for each in (whole, leak) if each.leak_since is not None]
        held_by = (leak.held_by,) if leak.holder is not None and leak.held_by is not None else ()
        made_at = (leak.allocated_at,) if leak.allocated_at is not None else ()
        out[index] = replace(
            whole,
            bytes_per_step=per_step,
            steps_to_oom=limits[whole.where].steps_left(per_step),
            is_leak=whole.is_leak or leak.is_leak,
            leak_since=min(since, default=None),
            also_at=(*whole.also_at, *made_at, *leak.also_at)[:12],
            also_held_by=(*whole.also_held_by, *held_by),
        )
    return out


def _belongs(leak: Leak, other: Leak) -> bool:
    if leak.where != other.where:
        return False
    if leak.kind in ("C++ cycle", "held by an extension") and leak.holder is None:
        return other.kind in GRAPH_KINDS and other.holder is not None
    return (
        leak.stored_at is not None
        and (leak.stored_at, leak.scope) == (other.stored_at, other.scope)
        and _first_name(leak) == _first_name(other)
    )


def _first_name(leak: Leak) -> str:
    return re.split(r"[.\[(]", str(leak.holder))[0]
