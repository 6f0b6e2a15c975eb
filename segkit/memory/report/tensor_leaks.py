"""Leaks of tensors: from sites whose tensors survive to one record for each holder."""

import gc
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from segkit.memory.findings.records import Growth, Leak, MemoryLimit, Where
from segkit.memory.findings.source_lines import last_name
from segkit.memory.findings.suspect import GRAPH_KINDS, Suspect, absolute, leak_of
from segkit.memory.holders.graph_roots import NODE_BYTES
from segkit.memory.holders.survival import LEAK, SMALL_BYTES, WATCH, SiteSurvival, Verdict
from segkit.memory.measure.allocation import GRAPH, Site
from segkit.memory.report.growth import bounded_growth, collected_growth, is_kept, may_be_emptied, small_growth
from segkit.memory.session import Session

NEVER_MEANT = (*GRAPH_KINDS, "reference cycle")  # no program means to keep these, however long it does
_OLD_STEPS, _OLD_GRAPH = 60, 48  # steps after which no end of an epoch is expected any more; for a graph
_ONCE_EACH = ("optimizer state", "registered again")  # what a module or an optimiser gets at the first use of a part


def tensor_leaks(session: Session, limits: Mapping[Where, MemoryLimit]) -> tuple[list[Leak], list[Growth]]:
    """What keeps tensors of many steps: leaks, and growth that ends or is too little to matter."""
    by_holder, unexplained = _group_by_holder(session)
    rest = sum(_bytes_per_step(site, session) for site, _ in unexplained)
    unexplained = [(site, state) for site, state in unexplained if not _is_rare(site, session)]
    leaks: list[Leak] = []
    growth: list[Growth] = []
    for key, states in by_holder.items():
        found = _judge(session.suspects.by_key[key], states, len(by_holder) == 1, session, limits)
        if found is None:
            continue
        if isinstance(found, Leak):
            leaks.append(found)
        else:
            growth.append(found)
    if by_holder:
        trifles = [
            site for site, _ in unexplained if site.operation != GRAPH and _bytes_per_step(site, session) < SMALL_BYTES
        ]
        unexplained = [(site, state) for site, state in unexplained if site not in trifles]
        growth += _trifling_growth(trifles, session)
    # A kept graph keeps tensors of many lines, and not all of them were searched for.
    if any(session.suspects.by_key[key].kind in NEVER_MEANT for key in by_holder):
        leaks = _with_rest(leaks, rest, session, limits)
    else:
        for site, state in unexplained:
            suspect = Suspect("", "kept tensors", (site,), site.line, site.operation)
            sure: Verdict = "leak" if state == "leak" and not session.suspects.by_key else "watch"
            leaks.append(_leak(suspect, sure, session, limits))
    return _one_per_holder(leaks, limits), growth


def _bytes_per_step(site: Site, session: Session) -> float:
    survival = session.survivors.by_site.get(site)
    return survival.bytes_per_step if survival is not None else 0.0


def _is_rare(site: Site, session: Session) -> bool:
    survival = session.survivors.by_site.get(site)
    return survival is not None and survival.is_rare(session.tensors.step)


def _trifling_growth(sites: Sequence[Site], session: Session) -> list[Growth]:
    """What tensors of a few numbers add, that were not searched for beside a leak."""
    if not sites:
        return []
    largest = max(sites, key=lambda site: _bytes_per_step(site, session))
    steps = max(len(session.survivors.by_site[site].cohorts) for site in sites)
    per_step = sum(_bytes_per_step(site, session) for site in sites)
    return [small_growth(f"what is made at {absolute(largest.line)}", per_step, steps)]


def _with_rest(leaks: list[Leak], rest: float, session: Session, limits: Mapping[Where, MemoryLimit]) -> list[Leak]:
    """Add to the largest kept graph what it keeps beside the lines that were searched for.

    Args:
        leaks: What was found.
        rest: Bytes a step of lines that were not searched for.
        session: What was watched; the rest is no more than what its memory has gained beyond the leaks.
        limits: The memory of ``host`` and ``device``.
    """
    graphs = [leak for leak in leaks if leak.kind in GRAPH_KINDS]
    if not graphs or rest <= 0:
        return leaks
    largest = max(graphs, key=lambda leak: leak.bytes_per_step)
    held = [each.allocated for each in session.series.measurements[LEAK:]]
    gained = (held[-1] - held[0]) / max(1, (len(held) - 1) * session.series.stride) if len(held) > 1 else rest
    per_step = largest.bytes_per_step + max(0.0, min(rest, gained - sum(leak.bytes_per_step for leak in leaks)))
    left = limits[largest.where].steps_left(per_step)
    whole = replace(largest, bytes_per_step=per_step, steps_to_oom=left)
    return [whole if leak is largest else leak for leak in leaks]


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
) -> Leak | Growth | None:
    """Whether what one holder keeps is a leak; None for what was added a few times, where nothing that grows holds it.

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
    is_rare = bool(survivals) and all(each.is_rare(session.tensors.step) for each in survivals)
    if is_rare and (suspect.holder is None or suspect.kind in _ONCE_EACH):
        return None  # a gradient or a state that some parameters get late
    if suspect.kind == "held by an extension" and not alone:
        state = "watch"  # it may be a part of what has a name
    if state == "watch" and not is_rare and suspect.verified and _is_old(suspect, session):
        state = "leak"
    oldest = min((min(each.cohorts) for each in survivals if each.cohorts), default=0)
    oldest = session.tensors.number_of(oldest)
    note = may_be_emptied(suspect, oldest, session) if suspect.kind not in NEVER_MEANT else None
    leak = _leak(suspect, "watch" if note else state, session, limits, note)
    if suspect.bound is not None and is_kept(suspect.bound, leak.steps_seen, leak.bytes_per_step, limits[leak.where]):
        return bounded_growth(suspect, suspect.bound, leak.bytes_per_step, leak.steps_seen)
    if leak.bytes_per_step < SMALL_BYTES and not is_rare and suspect.kind not in NEVER_MEANT:
        made_at = f"what is made at {absolute(suspect.allocated_at)}"
        return small_growth(suspect.holder or suspect.held_by or made_at, leak.bytes_per_step, leak.steps_seen)
    return leak


def _leak(
    suspect: Suspect, state: Verdict, session: Session, limits: Mapping[Where, MemoryLimit], note: str | None = None
) -> Leak:
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
        often = max((each.share_of_steps for each in survivals), default=1.0)
        per_step += suspect.nodes * NODE_BYTES * often  # whatever the kind: a queue, too, can keep a graph
    since_by_site = session.suspects.since
    since = min((since_by_site[site] for site in suspect.sites if site in since_by_site), default=session.series.count)
    return leak_of(suspect, where, limits[where], per_step=per_step, steps_seen=steps, is_leak=state == "leak",
                   since=since, note=note)  # fmt: skip


def _survivals(suspect: Suspect, session: Session) -> list[SiteSurvival]:
    by_site = session.survivors.by_site
    return [by_site[site] for site in suspect.sites if site in by_site]


def _is_old(suspect: Suspect, session: Session) -> bool:
    """Whether things have been kept for so long that no epoch's end is to be expected any more."""
    steps = _OLD_GRAPH if suspect.kind in GRAPH_KINDS else _OLD_STEPS
    survivals = _survivals(suspect, session)
    cohorts = [survival.cohorts for survival in survivals if survival.cohorts and not survival.emptied]
    return any(len(each) >= WATCH and session.tensors.step - min(each) >= steps for each in cohorts)


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
    if leak.holder is not None and leak.kind in GRAPH_KINDS and other.kind in GRAPH_KINDS:
        same = last_name(leak.holder) == last_name(str(other.holder))
        if same and (leak.stored_at == other.stored_at or None in (leak.stored_at, other.stored_at)):
            return True  # one container under two names
    return (
        leak.stored_at is not None
        and (leak.stored_at, leak.scope) == (other.stored_at, other.scope)
        and _first_name(leak) == _first_name(other)
    )


def _first_name(leak: Leak) -> str:
    return re.split(r"[.\[(]", str(leak.holder))[0]
