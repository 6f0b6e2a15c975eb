"""What keeps memory, as a record of plain values."""

import linecache
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from segkit.memory.findings.bounds import Bound, RunFacts, bound_of
from segkit.memory.findings.fixes import fix_for
from segkit.memory.findings.records import Leak, MemoryLimit, Where
from segkit.memory.findings.source_bounds import emptied_in_source
from segkit.memory.findings.source_lines import (
    REGISTERING,
    assigned_in_source,
    calls_in_source,
    last_name,
    may_store,
    registers_in_source,
    stores_in_source,
    within_one_function,
)
from segkit.memory.findings.source_objects import Held
from segkit.memory.holders.causes import Cause
from segkit.memory.holders.reference_chains import ReferenceChain
from segkit.memory.holders.roots import with_scope
from segkit.memory.measure.allocation import Site
from segkit.memory.measure.at_exit import AT_EXIT
from segkit.memory.measure.user_code import UNKNOWN, USER_CODE, Line, cell_of

GRAPH_KINDS = ("kept graph", "graph kept after backward", "graph over steps", "graph of a sum")
_UNNAMED = {
    "reference cycle": "a reference cycle",
    "C++ cycle": "a cycle of tensor and autograd graph",
    "ctx cycle": "ctx of a custom autograd Function, in a cycle",
    "hook cycle": "a cycle of tensor, hook and autograd graph",
}
"""What holds the tensors where no Python name reaches them."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """What keeps memory, as plain values: none of the user's objects is kept alive by it.

    It becomes a leak of the report, or growth that is no leak, when bytes and steps are known.

    Attributes:
        key: What distinguishes it from others.
        kind: The cause, a key of ``fixes.FIXES``.
        sites: The sites whose tensors it keeps.
        allocated_at: The line that made what is kept.
        operation: The operation there.
        held_by: Python for one of the kept objects.
        holder: Python for the container that grows.
        scope: Where these expressions are valid.
        verified: Whether the expression was evaluated and gave the very object.
        stored_at: The line that stores it.
        stored_surely: Whether it was seen storing; if not, it was found in the source.
        nodes: Nodes of the autograd graph that each kept tensor keeps.
        bound: Where the growth will end by itself; None where no bound is seen.
        per_step: Bytes a step, where they cannot be counted any more.
        emptied_at: The line that empties the container again and again, as the source code shows it.
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
    bound: Bound | None = None
    per_step: float | None = None
    emptied_at: Line | None = None

    @property
    def holds_as(self) -> str | None:
        """The container's name, and its scope where the name alone is not enough; None where there is no container."""
        return with_scope(self.holder, self.scope) if self.holder is not None else None

    def seen_stored(self, line: Line) -> "Suspect":
        """The same, with the line that was seen storing.

        Where another thread stores, or a function that Python does not trace, the container gets longer at a line that
        has nothing to do with it: then the line that the source code shows is better.
        """
        if self.stored_at is not None and not self.stored_surely and not may_store(line):
            return self
        return replace(self, stored_at=line, stored_surely=True)


def suspect_of(cause: Cause, facts: RunFacts) -> Suspect:
    """Describe a cause in plain values."""
    chain, made_at, files = cause.chain, cause.made_at, USER_CODE.files()
    suspect = Suspect(
        cause.key, cause.kind, tuple(cause.sites), made_at.line, made_at.operation, holder=cause.container_expression,
        nodes=round(cause.graph_nodes / max(1, facts.steps)) if cause.spans_steps else cause.graph_nodes,
    )  # fmt: skip
    if chain is not None and cause.kind == "iterator that keeps":
        return _of_iterator(suspect, chain, files)
    if chain is not None and cause.kind == "atexit callback":
        return _at_exit(suspect, chain)
    if chain is not None and cause.kind == "linked records":
        newest = chain.root.expression
        return replace(
            suspect, held_by=chain.expression, holder=newest, scope=chain.scope, verified=chain.verified,
            stored_at=_stored(cause, newest, files),
        )  # fmt: skip
    if chain is not None:
        at = chain.container if cause.container is not None else None
        return replace(
            suspect, held_by=chain.expression, scope=chain.scope, verified=chain.verified,
            stored_at=_stored(cause, cause.container_expression or chain.expression, files),
            bound=bound_of(chain.root, chain.objects, at, cause.container_expression, facts),
            emptied_at=None if at is None else emptied_at(chain, at, files),
        )  # fmt: skip
    held_by = _UNNAMED.get(cause.kind)
    if cause.note:
        held_by = f"{held_by or 'nothing in Python'}: {cause.note}"
    stored_at = facts.double_backward if cause.kind == "C++ cycle" else None
    if cause.kind == "ctx cycle":
        stored_at, made_at = _on_ctx(cause, files)
    elif cause.kind in REGISTERING:
        stored_at = registers_in_source(cause.kind, files)
    return replace(
        suspect, held_by=held_by, stored_at=stored_at, allocated_at=made_at.line, operation=made_at.operation
    )


def _sources(lines: Sequence[Line]) -> dict[str, str]:
    return {absolute(line): text for line in lines if (text := source_text(line))}


def source_text(line: Line) -> str:
    """The text of a line of code; empty where it is not known."""
    return linecache.getline(line.file, line.number).strip()[:200]


def _of_iterator(suspect: Suspect, chain: ReferenceChain, files: Collection[str]) -> Suspect:
    """Describe what an iterator of Python's keeps, by the call that makes the iterator."""
    function = "tee" if "tee" in type(chain.objects[0]).__name__ else "cycle"
    calls = calls_in_source(function, files)
    line, written = calls[0] if calls else (None, f"{function}(...)")
    return replace(
        suspect, held_by=chain.expression, holder=f"itertools.{written.removeprefix('itertools.')}", scope=chain.scope,
        verified=chain.verified, stored_at=line,
    )  # fmt: skip


def _at_exit(suspect: Suspect, chain: ReferenceChain) -> Suspect:
    """Describe what a function that runs at the end keeps, by the line that registers it."""
    call = AT_EXIT.objects.get(id(chain.objects[0]))
    return replace(
        suspect, held_by=chain.expression, holder=chain.root.expression, scope=chain.scope, verified=chain.verified,
        stored_at=None if call is None else call.line, stored_surely=call is not None,
    )  # fmt: skip


def emptied_at(chain: ReferenceChain, at: int, files: Collection[str]) -> Line | None:
    """The line that empties what holds the container at an index of a chain: the nearest object with a name."""
    name = last_name(chain.expressions[at])
    named = [index for index in range(at + 1) if re.search(rf"\b{name}\b'?\]?$", chain.expressions[index])]
    last = min(named, default=at)
    return emptied_in_source(Held(chain.root, chain.objects[: last + 1], chain.expressions[last]), files)


def _on_ctx(cause: Cause, files: list[str]) -> tuple[Line | None, Site]:
    """The line that sets what ``ctx`` keeps, and the site that made it, if that is in the same function."""
    lines = assigned_in_source(cause.ctx_attribute, files, attributes=True)
    for line in lines:
        near = [site for site in cause.sites if within_one_function(line, site.line)]
        if near:
            return line, near[0]
    return (lines[-1] if lines else None), cause.made_at


def _stored(cause: Cause, name: str, files: list[str]) -> Line | None:
    """The line that stores under a name, as the source code shows it."""
    lines = _in_scope(stores_in_source(name, files), cause)
    if not lines and cause.container is None:
        lines = _in_scope(assigned_in_source(last_name(name), files), cause)
        same = [line for line in lines if (line.file, line.number) == cause.made_at.line[:2]]
        lines = same or lines
    lines = [line for line in lines if line.file == cause.made_at.line.file] or lines
    return lines[-1] if lines else None


def _in_scope(lines: list[Line], cause: Cause) -> list[Line]:
    """Of lines that store under the name of a local variable, those in its own function, if there are any."""
    chain = cause.chain
    found = re.match(r"(\w+)\(\) at (.+):(\d+)", chain.scope) if chain is not None else None
    if found is None or chain is None or not chain.expressions[-1].startswith(last_name(chain.expression) or "?"):
        return lines
    running = Line(found[2], int(found[3]), found[1])
    return [line for line in lines if within_one_function(line, running)] or lines


def leak_of(
    suspect: Suspect,
    where: Where,
    limit: MemoryLimit,
    *,
    per_step: float,
    steps_seen: int,
    is_leak: bool,
    since: int | None,
    note: str | None = None,
) -> Leak:
    """The record of a leak.

    Args:
        suspect: What keeps the memory.
        where: Which memory it is.
        limit: How much of it there is.
        per_step: Bytes that every step adds.
        steps_seen: Steps from which something is kept.
        is_leak: Whether enough of them were seen to be sure.
        since: The step from which on it was called a leak, if it is one.
        note: Why it is none yet.
    """
    made_at = suspect.allocated_at
    return Leak(
        kind=suspect.kind, where=where, bytes_per_step=per_step,
        allocated_at=None if made_at is UNKNOWN else absolute(made_at), held_by=suspect.held_by,
        stored_at=absolute(suspect.stored_at) if suspect.stored_at is not None else None,
        fix=fix_for(suspect.kind, last_name(suspect.holder or suspect.held_by or "")),
        steps_to_oom=limit.steps_left(per_step), operation=suspect.operation, holder=suspect.holder,
        scope=suspect.scope, verified=suspect.verified, stored_surely=suspect.stored_surely,
        graph_nodes=suspect.nodes or None, steps_seen=steps_seen, is_leak=is_leak,
        leak_since=since if is_leak else None,
        note=note, sources=_sources([made_at, *filter(None, [suspect.stored_at])]),
        also_at=tuple(absolute(site.line) for site in suspect.sites if site.line != made_at)[:12],
    )  # fmt: skip


def absolute(line: Line) -> str:
    """``file:line`` that does not depend on the working folder; ``<cell 3>:line`` in a notebook."""
    cell = cell_of(line.file)
    if cell is not None:
        return f"<cell {cell}>:{line.number}"
    file = line.file if line.file.startswith("<") else str(Path(line.file).absolute())
    return f"{file}:{line.number}"
