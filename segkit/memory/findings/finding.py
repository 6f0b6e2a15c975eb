"""A culprit as a record of plain values: nothing of it keeps the user's objects alive."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from segkit.memory.findings.bounds import Surroundings, bound_of
from segkit.memory.findings.fixes import fix_for
from segkit.memory.findings.records import Leak, MemoryLimit, Where
from segkit.memory.findings.source_lines import (
    REGISTERING,
    assigned_in_source,
    calls_in_source,
    last_name,
    stores_in_source,
    within_one_function,
)
from segkit.memory.holders.causes import Culprit
from segkit.memory.measure.tracker import Site
from segkit.memory.measure.user_code import UNKNOWN, USER_CODE, Line

GRAPH_KINDS = ("kept graph", "graph kept after backward", "graph over steps", "graph of a sum")


@dataclass(frozen=True, slots=True)
class Finding:
    """What keeps memory, in words.

    Attributes:
        key: What tells it from others.
        kind: The cause, a key of ``taxonomy.FIXES``.
        sites: The tracker's sites that it explains.
        allocated_at: The line that made what is held.
        operation: The operation there.
        held_by: Python for one of the objects that are held.
        holder: Python for what grows.
        scope: Where these expressions are valid.
        verified: Whether the expression was evaluated and gave the very object.
        stored_at: The line that stores it; ``stored_surely`` if it was seen doing so.
        nodes: Nodes of an autograd graph that each held tensor keeps.
        bound: Why it will end by itself; ``bound_entries`` after how many entries, if that is known.
        note: More on it.
        per_step: Bytes a step, where they cannot be counted any more.
    """

    key: str
    kind: str
    sites: tuple[Site, ...]
    allocated_at: Line
    operation: str
    held_by: str | None = None
    holder: str | None = None
    scope: str | None = None
    verified: bool = False
    stored_at: Line | None = None
    stored_surely: bool = False
    nodes: int = 0
    bound: str | None = None
    bound_entries: int | None = None
    note: str = ""
    per_step: float | None = None

    def seen_stored(self, line: Line) -> "Finding":
        """The same, with the line that was seen storing."""
        return replace(self, stored_at=line, stored_surely=True)


def finding_of(culprit: Culprit, known: Surroundings, steps: int, double_backward: Line | None) -> Finding:
    """Put a culprit into words."""
    files = USER_CODE.files()
    holding = culprit.holding
    bound = None
    expression = culprit.container_expression
    if holding is not None:
        at = holding.container if culprit.container is not None else None
        bound = bound_of(holding.chain, at, expression, known)
    name = expression or (holding.expression if holding is not None else None)
    stored = _stored(culprit, name, files)
    made_at = culprit.made_at
    if culprit.kind == "C++ cycle" and double_backward is not None:
        stored = double_backward
    elif culprit.kind == "ctx cycle":
        stored, made_at = _on_ctx(culprit, files)
    elif culprit.kind in ("hook cycle", "held by an extension"):
        stored = next(iter(calls_in_source(REGISTERING[culprit.kind], files)), None)
    nodes = culprit.graph_nodes
    if culprit.extra.get("carried"):
        nodes = round(nodes / max(1, steps))
    held_by = holding.expression if holding is not None else None
    if held_by is None:
        held_by = {"reference cycle": "a reference cycle", "C++ cycle": "a cycle of tensor and autograd graph",
                   "ctx cycle": "ctx of a custom autograd Function, in a cycle",
                   "hook cycle": "a cycle of tensor, hook and autograd graph"}.get(culprit.kind)  # fmt: skip
        if culprit.note:
            held_by = f"{held_by or 'nothing in Python'}: {culprit.note}"
    return Finding(
        key=culprit.key, kind=culprit.kind, sites=tuple(culprit.sites), allocated_at=made_at.line,
        operation=made_at.operation, held_by=held_by, holder=expression,
        scope=holding.scope if holding is not None else None,
        verified=holding.verified if holding is not None else False, stored_at=stored, nodes=nodes,
        bound=bound[1] if bound is not None else None, bound_entries=bound[0] if bound is not None else None,
        note=culprit.note,
    )  # fmt: skip


def _on_ctx(culprit: Culprit, files: list[str]) -> tuple[Line | None, Site]:
    """The line that sets what ``ctx`` keeps, and the site that made it, if that is in the same function."""
    attribute = culprit.extra.get("attribute")
    lines = assigned_in_source(attribute, files, attributes=True) if attribute is not None else []
    for line in lines:
        near = [site for site in culprit.sites if within_one_function(line, site.line)]
        if near:
            return line, near[0]
    return (lines[-1] if lines else None), culprit.made_at


def _stored(culprit: Culprit, name: str | None, files: list[str]) -> Line | None:
    if name is None:
        return None
    lines = _in_scope(stores_in_source(name, files), culprit)
    if not lines and culprit.container is None:
        word = last_name(name)
        lines = _in_scope(assigned_in_source(word, files), culprit) if word is not None else []
        same = [line for line in lines if (line.file, line.number) == culprit.made_at.line[:2]]
        lines = same or lines
    return lines[-1] if lines else None


def _in_scope(lines: list[Line], culprit: Culprit) -> list[Line]:
    """Of lines that store under the name of a local variable, those in its own function, if there are any."""
    holding = culprit.holding
    found = re.match(r"(\w+)\(\) at (.+):(\d+)", holding.scope) if holding is not None else None
    if found is None or holding is None or not holding.expressions[-1].startswith(last_name(holding.expression) or "?"):
        return lines
    running = Line(found[2], int(found[3]), found[1])
    return [line for line in lines if within_one_function(line, running)] or lines


def leak_of(
    finding: Finding,
    where: Where,
    limit: MemoryLimit,
    *,
    per_step: float,
    steps_seen: int,
    is_leak: bool,
    since: int | None,
) -> Leak:
    """The record of a leak.

    Args:
        finding: What keeps the memory.
        where: Which memory it is.
        limit: How much of it there is.
        per_step: Bytes that every step adds.
        steps_seen: Steps from which something is kept.
        is_leak: Whether enough of them were seen to be sure.
        since: The step from which on it was called a leak.
    """
    made_at = finding.allocated_at
    return Leak(
        kind=finding.kind,
        where=where,
        bytes_per_step=per_step,
        allocated_at=None if made_at is UNKNOWN else absolute(made_at),
        held_by=finding.held_by,
        stored_at=absolute(finding.stored_at) if finding.stored_at is not None else None,
        fix=fix_for(finding.kind, last_name(finding.holder or finding.held_by or "")),
        steps_to_oom=limit.steps_left(per_step),
        operation=finding.operation,
        holder=finding.holder,
        scope=finding.scope,
        verified=finding.verified,
        stored_surely=finding.stored_surely,
        graph_nodes=finding.nodes or None,
        steps_seen=steps_seen,
        is_leak=is_leak,
        leak_since=since,
        also_at=tuple(absolute(site.line) for site in finding.sites if site.line != made_at)[:12],
    )


def absolute(line: Line) -> str:
    """``file:line`` that does not depend on the working folder."""
    file = line.file if line.file.startswith("<") else str(Path(line.file).absolute())
    return f"{file}:{line.number}"
