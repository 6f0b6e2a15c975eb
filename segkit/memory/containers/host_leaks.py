"""Leaks of host memory that are no tensors of a step: growing lists of arrays, objects, figures; in any process."""

import sys
from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import torch

from segkit.memory.containers.census import Census, Growing, deep_bytes, entry_bytes, heaviest_part, newest_entries
from segkit.memory.findings.bounds import Surroundings, bound_of
from segkit.memory.findings.finding import Finding
from segkit.memory.findings.source_lines import joins_in_source, stores_in_source
from segkit.memory.findings.store_watch import StoreWatch
from segkit.memory.holders.causes import cause_in_chain
from segkit.memory.holders.edges import edge, readable
from segkit.memory.holders.search import Holding, find_holders
from segkit.memory.measure.user_code import UNKNOWN, USER_CODE, Line

LEAK_BYTES, LOG_BYTES = 4096, 256  # a step: from which on host memory leaks; from which on it is worth a word
SPAN_WATCH, _SPAN_LEAK = 8, 15  # steps over which a container was seen to grow


@dataclass(frozen=True, slots=True)
class HostLeak:
    """A container that grows with every step, and what that costs.

    Attributes:
        finding: What and where.
        per_step: Bytes a step.
        span: Steps over which it was seen.
        entries: Entries that it has.
        since: The step from which on it was called a leak.
    """

    finding: Finding
    per_step: float
    span: int
    entries: int
    since: int | None = None

    @property
    def state(self) -> str:
        """``leak``, ``watch``, or ``log`` for what is too little to matter."""
        if self.per_step < LEAK_BYTES and self.finding.kind != "hooks registered again":
            return "log"
        return "leak" if self.span >= _SPAN_LEAK else "watch" if self.span >= SPAN_WATCH else "log"


class HostLeaks:
    """What the censuses of a process come to."""

    def __init__(self, census: Census, where: str = "host") -> None:
        self.census, self.where = census, where
        self.leaks: dict[Hashable, HostLeak] = {}
        self.past: dict[Hashable, HostLeak] = {}

    def look(self, step: int, stores: StoreWatch, around: Surroundings, findings: list[Finding]) -> None:
        """Take a census, and name what grows; what ``findings`` explain is left out."""
        self.census.take(step)
        steady = self.census.steady()
        explained = {finding.holder for finding in findings if finding.holder is not None}
        leaks: dict[Hashable, HostLeak] = {}
        asked: list[Growing] = []
        for growing in steady:
            per_step = entry_bytes(growing.container) * growing.per_step
            if per_step < LOG_BYTES:
                continue
            known = self.leaks.get(id(growing.container))
            if known is not None:
                leaks[id(growing.container)] = replace(
                    known, per_step=per_step, span=growing.span, entries=growing.lengths[-1]
                )
            else:
                asked.append(growing)
        containers = [growing.container for growing in asked[:24]]
        holdings = (
            find_holders(containers, list(range(len(containers))), [containers, asked], nameless=True)
            if containers
            else []
        )
        for growing, holding in zip(asked, holdings, strict=False):
            if holding is None or (holding.container is not None and not holding.verified):
                continue
            per_step = entry_bytes(growing.container) * growing.per_step
            finding = self._finding(growing, holding, around)
            leaks[id(growing.container)] = HostLeak(finding, per_step, growing.span, growing.lengths[-1])
        for key, gone in self.leaks.items():
            if key not in leaks:
                self.past[key] = gone
        self.leaks = {key: leak for key, leak in leaks.items() if leak.finding.holder not in explained}
        for growing in steady:
            leak = self.leaks.get(id(growing.container))
            if leak is not None and leak.state != "log" and not leak.finding.stored_surely:
                container = growing.container
                stores.watch(leak.finding.key, container, partial(_part_of, container))
        containers.clear()
        asked.clear()
        self._swollen(explained)
        self._nested(explained, around)
        self.census.swelling.release()
        self.census.nests.release()
        for key, leak in self.leaks.items():
            if leak.since is None and leak.state == "leak":
                self.leaks[key] = replace(leak, since=step)

    def _swollen(self, explained: set[str]) -> None:
        """Name the values that a name gives up for ever longer ones."""
        for place, swollen in self.census.swelling.steady()[:24]:
            if swollen.per_step < LOG_BYTES:
                continue
            known = self.leaks.get(place) or self.past.get(place)
            if known is None:
                [holding] = find_holders([swollen.value], [0], [swollen, self.census.swelling.places], nameless=True)
                if holding is None or not holding.verified or holding.expression in explained:
                    continue
                files = USER_CODE.files()
                lines = joins_in_source(holding.expression, files) or stores_in_source(holding.expression, files)
                if not lines and not swollen.keeps_its_head:
                    continue  # larger than before, and something else
                known = HostLeak(_of_swollen(swollen.value, holding, lines), 0.0, 0, 0)
            self.leaks[place] = replace(
                known, per_step=swollen.per_step, span=swollen.span, entries=swollen.lengths[-1]
            )

    def _nested(self, explained: set[str], around: Surroundings) -> None:
        """Name the containers that grow in the containers that they hold."""
        for nest in self.census.nests.steady()[:8]:
            entries = nest.sample()
            per_step = deep_bytes(entries, set()) / max(1, len(entries)) * nest.per_step
            if per_step < LOG_BYTES or id(nest.container) in self.leaks:
                continue
            known = self.past.get(("nest", id(nest.container))) or self.leaks.get(("nest", id(nest.container)))
            if known is None:
                [holding] = find_holders([nest.container], [0], [nest, self.census.nests.nests], nameless=True)
                if holding is None or not holding.verified:
                    continue
                names = {leak.finding.holder or "" for leak in self.leaks.values()} | explained
                if any(name.startswith(holding.expression) for name in names):
                    continue  # the inner ones are found one by one
                growing = Growing(container=nest.container, steps=nest.steps, lengths=nest.lengths)
                finding = self._finding(growing, holding, around._replace(datasets=()))
                known = HostLeak(replace(finding, bound=None, bound_entries=None), 0.0, 0, 0)
            self.leaks["nest", id(nest.container)] = replace(
                known, per_step=per_step, span=nest.span, entries=nest.lengths[-1]
            )

    def _finding(self, growing: Growing, holding: Holding, around: Surroundings) -> Finding:
        container, expression = growing.container, holding.expression
        files = USER_CODE.files()
        newest = newest_entries(container, 1)[0]
        way = heaviest_part(newest)
        held_by = expression
        for holder, child in pairwise([container, *way]):
            held_by = edge(holder, child).format(held_by)
        around = around._replace(lengths=lambda identity: None)  # it was just seen to grow
        bound = bound_of((*holding.chain, newest), len(holding.chain) - 1, expression, around)
        stored = stores_in_source(expression, files)
        stored_at = stored[-1] if stored else None
        return Finding(
            key=f"{holding.scope} {expression}",
            kind=self._kind(holding, container, newest),
            sites=(),
            allocated_at=stored_at or UNKNOWN,
            operation=type(way[-1]).__name__,
            held_by=readable(held_by),
            holder=expression,
            scope=holding.scope,
            verified=holding.verified,
            stored_at=stored_at,
            bound=bound[1] if bound is not None else None,
            bound_entries=bound[0] if bound is not None else None,
        )

    def _kind(self, holding: Holding, container: Any, newest: Any) -> str:
        if any(type(each).__module__.startswith("matplotlib") for each in (newest, *holding.chain)) or (
            "Gcf" in holding.expression
        ):
            return "matplotlib figures"
        by_chain = cause_in_chain(holding, container)
        if by_chain is not None and by_chain not in ("dict without bound", "class attribute"):
            return by_chain
        if self.where == "worker" or any(_is_dataset(each) for each in holding.chain):
            return "dataset cache"
        if by_chain is not None:
            return by_chain
        kinds = _kinds_in(newest)
        if "numpy" in kinds:
            return "kept numpy arrays"
        return "kept tensors" if "torch" in kinds else "kept objects"

    def learn(self, stores: StoreWatch) -> bool:
        """Take over the lines that were seen storing, and those that made what was stored; whether any is new."""
        news = False
        for key, leak in list(self.leaks.items()):
            line = stores.found.get(leak.finding.key)
            made = stores.made.get(leak.finding.key, line)
            if line is not None and made is not None and made != leak.finding.allocated_at:
                self.leaks[key] = replace(leak, finding=replace(leak.finding.seen_stored(line), allocated_at=made))
                news = True
        return news


def _of_swollen(value: Any, holding: Holding, lines: list[Line]) -> Finding:
    kind = {str: "growing text", bytes: "growing text", bytearray: "growing text", torch.Tensor: "growing tensor"}
    return Finding(
        key=f"{holding.scope} {holding.expression}",
        kind=kind.get(type(value), "growing array"),
        sites=(),
        allocated_at=lines[-1] if lines else UNKNOWN,
        operation=type(value).__name__,
        held_by=holding.expression,
        holder=holding.expression,
        scope=holding.scope,
        verified=holding.verified,
        stored_at=lines[-1] if lines else None,
    )


def _part_of(container: Any, index: int) -> Any:
    """What makes up most of one of the newest entries."""
    newest = newest_entries(container, index + 1)
    if isinstance(container, dict):
        newest.reverse()
    return heaviest_part(newest[min(index, len(newest) - 1)])[-1]


def _is_dataset(value: Any) -> bool:
    loaded = sys.modules.get("torch.utils.data")
    return loaded is not None and isinstance(value, loaded.Dataset)


def _kinds_in(value: Any) -> set[str]:
    """Libraries whose objects make up most of an entry."""
    weights: dict[str, int] = defaultdict(int)
    stack, seen = [value], set[int]()
    while stack and len(seen) < 500:
        each = stack.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        weights[type(each).__module__.partition(".")[0]] += (
            deep_bytes(each, set()) if not isinstance(each, dict | list | tuple | set) else 0
        )
        if isinstance(each, dict):
            stack += each.values()
        elif isinstance(each, list | tuple | set):
            stack += each
    return {max(weights, key=lambda name: weights[name])} if weights else set()
