"""Leaks of tensors: from sites whose tensors survive to one record for each holder."""

import gc
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from segkit.memory.findings.bounds import Bound
from segkit.memory.findings.records import Growth, Leak, MemoryLimit, Where
from segkit.memory.findings.suspect import GRAPH_KINDS, Suspect, leak_of
from segkit.memory.holders.graph_roots import NODE_BYTES
from segkit.memory.holders.survival import WATCH, SiteSurvival, Verdict
from segkit.memory.measure.allocation import Site
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
        found = _judge(session.suspects.by_key[key], states, len(by_holder) == 1, session, limits)
        if isinstance(found, Leak):
            leaks.append(found)
        else:
            growth.append(found)
    # A kept graph keeps tensors of many lines, and not all of them were searched for.
    if not any(session.suspects.by_key[key].kind in NEVER_MEANT for key in by_holder):
        for site, state in unexplained:
            suspect = Suspect("", "kept tensors", (site,), site.line, site.operation)
            sure: Verdict = "leak" if state == "leak" and not session.suspects.by_key else "watch"
            leaks.append(_leak(suspect, sure, session, limits))
    return _one_per_holder(leaks, limits), growth


def _group_by_holder(session: Session) -> tuple[dict[str, list[str]], list[tuple[Site, str]]]:
    """The states of suspect sites by the key of what holds their tensors; and sites whose holder is not known."""
    states = session.survivors.states()
    for site, state in session.suspects.searched.items():
        suspect = session.suspects.of(site)
        if suspect is not None and suspect.kind in NEVER_MEANT and state == "leak":
            states[site] = state
    by_holder: dict[str, list[str]] = defaultdict(list)
    unexplained = []
    for site, state in states.items():
        suspect = session.suspects.of(site)
        if suspect is None:
            unexplained.append((site, state))
        else:
            by_holder[suspect.key].append(state)
    return by_holder, unexplained


def _judge(
    suspect: Suspect, states: Sequence[str], alone: bool, session: Session, limits: Mapping[Where, MemoryLimit]
) -> Leak | Growth:
    """Whether what one holder keeps is a leak.

    Args:
        suspect: The holder.
        states: Those of its sites.
        alone: Whether no other holder was found.
        session: What was watched.
        limits: The memory of ``host`` and ``device``.
    """
    survivals = _survivals(suspect, session)
    emptied = [survival.bound for survival in survivals if survival.emptied]
    if suspect.kind == "reference cycle" and gc.isenabled() and emptied:
        return collected_growth(suspect, sum(survival.bytes_per_cohort for survival in survivals), max(emptied))
    state: Verdict = "leak" if "leak" in states else "watch"
    if suspect.kind == "held by an extension" and not alone:
        state = "watch"  # it may be a part of what has a name
    if state == "watch" and suspect.verified and _is_old(suspect, session):
        state = "leak"
    leak = _leak(suspect, state, session, limits)
    if suspect.bound is not None and _fits(suspect.bound, leak.bytes_per_step, limits[leak.where].limit):
        return bounded_growth(suspect, suspect.bound, leak.bytes_per_step, leak.steps_seen)
    if leak.bytes_per_step < _SMALL_BYTES and suspect.kind not in NEVER_MEANT:
        return small_growth(str(suspect.holder or suspect.held_by), leak.bytes_per_step, leak.steps_seen)
    return leak


def _leak(suspect: Suspect, state: Verdict, session: Session, limits: Mapping[Where, MemoryLimit]) -> Leak:
    """The record of a leak, with the bytes and steps of its sites."""
    devices = {session.survivors.devices.get(site, "cpu") for site in suspect.sites}
    where: Where = "host" if devices <= {"cpu"} else "device"
    joins = [session.tensors.joins[site] for site in suspect.sites if site in session.tensors.joins]
    if suspect.kind == "growing tensor" and joins:
        steps, began = joins[0].joined
        per_step = (joins[0].size - began) / max(1, steps)
    else:
        survivals = _survivals(suspect, session)
        steps = max((len(each.cohorts) for each in survivals), default=0)
        per_step = suspect.per_step if suspect.per_step is not None else sum(each.bytes_per_step for each in survivals)
        if suspect.kind in GRAPH_KINDS:
            per_step += suspect.nodes * NODE_BYTES
    since_by_site = session.suspects.since
    since = min((since_by_site[site] for site in suspect.sites if site in since_by_site), default=session.series.count)
    return leak_of(suspect, where, limits[where], per_step=per_step, steps_seen=steps, is_leak=state == "leak",
                   since=since)  # fmt: skip


def _survivals(suspect: Suspect, session: Session) -> list[SiteSurvival]:
    by_site = session.survivors.by_site
    return [by_site[site] for site in suspect.sites if site in by_site]


def _is_old(suspect: Suspect, session: Session) -> bool:
    """Whether things have been kept for so long that no epoch's end is to be expected any more."""
    steps = _OLD_GRAPH if suspect.kind in GRAPH_KINDS else _OLD_STEPS
    survivals = _survivals(suspect, session)
    cohorts = [survival.cohorts for survival in survivals if survival.cohorts and not survival.emptied]
    return any(len(each) >= WATCH and session.tensors.step - min(each) >= steps for each in cohorts)


def _fits(bound: Bound, per_entry: float, limit: int | None) -> bool:
    """Whether what a container will hold at most is a small part of the memory that there is."""
    return bound.entries is None or limit is None or bound.entries * per_entry < 0.5 * limit


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
