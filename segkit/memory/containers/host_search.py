"""What grows in host memory and is no tensor of a step: lists of arrays, of objects, of figures; in any process."""

from collections.abc import Hashable
from dataclasses import replace
from functools import partial
from typing import Any

from segkit.memory.containers.census import Census
from segkit.memory.containers.entry_sizes import deep_bytes, entry_bytes
from segkit.memory.containers.host_suspect import (
    LOG_BYTES,
    HostSuspect,
    heaviest_of_entry,
    suspect_of_container,
    suspect_of_value,
)  # fmt: skip
from segkit.memory.containers.nested_containers import GrowingContainer, newest_inner_entries
from segkit.memory.findings.bounds import RunFacts
from segkit.memory.findings.source_lines import joins_in_source, stores_in_source
from segkit.memory.findings.store_watch import StoreWatch
from segkit.memory.findings.suspect import Suspect
from segkit.memory.holders.reference_chains import ReferenceChain, find_holders
from segkit.memory.holders.roots import is_librarys, with_scope
from segkit.memory.measure.budget import Budget, Deadline
from segkit.memory.measure.trend import Track
from segkit.memory.measure.user_code import USER_CODE

_MOST_CONTAINERS, _MOST_VALUES, _MOST_NESTED = 24, 24, 8  # that are searched for after one census


class HostSearch:
    """What the censuses of a process come to.

    Attributes:
        census: Notes what grows.
        has_no_time: Whether there was no time, after the last census, to search for what holds something that grows.
        suspects: What grows now; by the identity of a container, or by a value's place.
        past: What grew at an earlier census, and does no more, or was not seen again.
    """

    def __init__(self, *, in_worker: bool = False) -> None:
        self.census, self._in_worker = Census(), in_worker
        self._deadline, self.has_no_time = Deadline(0.0), False
        self.suspects: dict[Hashable, HostSuspect] = {}
        self.past: dict[Hashable, HostSuspect] = {}
        self._no_suspects: dict[Hashable, int] = {}  # values that grew and were something else, and their size then

    def take_census(
        self, step: int, stores: StoreWatch, facts: RunFacts, suspects: list[Suspect], budget: Budget
    ) -> None:
        """Take a census, and describe what grows.

        Args:
            step: That ends now.
            stores: Watches the containers for the line that stores.
            facts: What is known of the run.
            suspects: What is known to keep tensors, and is left out here.
            budget: Processor time; what is not described by its end is described after a later census.
        """
        with budget.spending("census"):
            self.census.take(step)
        self._deadline, self.has_no_time = Deadline(budget.after_census), False
        with budget.spending("search"):
            self._describe(step, stores, facts, suspects)

    def _describe(self, step: int, stores: StoreWatch, facts: RunFacts, suspects: list[Suspect]) -> None:
        """Describe what grows by the census of this step."""
        explained = {suspect.holds_as for suspect in suspects if suspect.holds_as is not None}
        steady = self.census.steady()
        found = self._containers(steady, facts)
        self.past |= {key: gone for key, gone in self.suspects.items() if key not in found}
        self.suspects = {key: each for key, each in found.items() if each.suspect.holds_as not in explained}
        for growing in steady:
            each = self.suspects.get(id(growing.container))
            if each is not None and each.state != "log" and not each.suspect.stored_surely:
                if is_librarys(each.suspect.scope):  # to see every call costs too much for a cache of Python's
                    stores.watch(each.suspect.key, growing.container, seconds=0.0)
                else:
                    stores.watch(each.suspect.key, growing.container, partial(heaviest_of_entry, growing.container))
        self._search_values(explained)
        self._search_nested(explained, facts)
        self.census.values.release()
        self.census.nested.release()
        for key, each in self.suspects.items():
            if each.since is None and each.state == "leak":
                self.suspects[key] = replace(each, since=step)

    def _containers(self, steady: list[GrowingContainer], facts: RunFacts) -> dict[Hashable, HostSuspect]:
        """The containers that grow, those known before with new figures, by identity."""
        found: dict[Hashable, HostSuspect] = {}
        new: list[tuple[GrowingContainer, float]] = []
        for growing in steady:
            per_step = entry_bytes(growing.container) * growing.per_step
            known = self.suspects.get(id(growing.container))
            if per_step < LOG_BYTES:
                continue
            if known is None:
                new.append((growing, per_step))
            else:
                found[id(growing.container)] = _with_figures(known, growing, per_step)
        containers = [growing.container for growing, _ in new[:_MOST_CONTAINERS]]
        chains = self._find_holders(containers, steady)
        for (growing, per_step), chain in zip(new, chains, strict=False):
            if chain is not None and (chain.container is None or chain.verified):
                suspect = suspect_of_container(growing.container, chain, facts, self._in_worker)
                found[id(growing.container)] = _with_figures(HostSuspect(suspect), growing, per_step)
        containers.clear()
        return found

    def _search_values(self, explained: set[str]) -> None:
        """Describe values that are replaced by ever longer ones."""
        places = self.census.values.places
        steady = [
            (place, growing) for place, growing in self.census.values.steady()[:_MOST_VALUES]
            if growing.per_step >= LOG_BYTES and growing.lengths[-1] >= 1.5 * self._no_suspects.get(place, 0)
        ]  # fmt: skip
        new = [(place, growing) for place, growing in steady if self._known(place) is None]
        values = [growing.value for _, growing in new]
        chains = self._find_holders(values, steady, new, *(growing for _, growing in new), places)
        found = {place: chain for (place, _), chain in zip(new, chains, strict=True)}
        values.clear()
        for place, growing in steady:
            known = self._known(place)
            if known is None:
                chain = found[place]
                if chain is None or not chain.verified or with_scope(chain.expression, chain.scope) in explained:
                    continue
                files = USER_CODE.files()
                lines = joins_in_source(chain.expression, files) or stores_in_source(chain.expression, files)
                if not lines and not growing.keeps_beginning:
                    self._no_suspects[place] = growing.lengths[-1]
                    continue  # larger than before, but something else
                known = HostSuspect(suspect_of_value(growing.value, chain, lines))
            self.suspects[place] = _with_figures(known, growing, growing.per_step)

    def _search_nested(self, explained: set[str], facts: RunFacts) -> None:
        """Describe containers that grow in the containers that they hold."""
        steady = [
            (nested, per_step) for nested in self.census.nested.steady()[:_MOST_NESTED]
            if id(nested.container) not in self.suspects and (per_step := _inner_bytes(nested)) >= LOG_BYTES
        ]  # fmt: skip
        new = [nested for nested, _ in steady if self._known(("nested", id(nested.container))) is None]
        containers = [nested.container for nested in new]
        chains = self._find_holders(containers, steady, new, *new, self.census.nested.by_identity)
        found = {id(nested): chain for nested, chain in zip(new, chains, strict=True)}
        containers.clear()
        for nested, per_step in steady:
            key = ("nested", id(nested.container))
            known = self._known(key)
            if known is None:
                chain = found[id(nested)]
                if chain is None or not chain.verified:
                    continue
                names = {each.suspect.holder or "" for each in self.suspects.values()} | explained
                if any(name.startswith(chain.expression) for name in names):
                    continue  # the inner ones are found one by one
                without_datasets = facts._replace(datasets=())
                suspect = suspect_of_container(nested.container, chain, without_datasets, self._in_worker)
                known = HostSuspect(replace(suspect, bound=None))
            self.suspects[key] = _with_figures(known, nested, per_step)

    def _known(self, key: Hashable) -> HostSuspect | None:
        return self.suspects.get(key) or self.past.get(key)

    def _find_holders(self, targets: list[Any], *ignored: object) -> list[ReferenceChain | None]:
        """The chains to some objects, each by itself; None for all of them where there is no time."""
        self.has_no_time |= bool(targets) and self._deadline.is_over
        if not targets or self._deadline.is_over:
            return [None] * len(targets)
        groups = list(range(len(targets)))
        return find_holders(targets, groups, [targets, *ignored], unnamed=True, deadline=self._deadline)

    def note_stores(self, stores: StoreWatch) -> bool:
        """Take over the lines that were seen storing, and those that made what was stored; whether any is new."""
        news = False
        for key, each in list(self.suspects.items()):
            line = stores.found.get(each.suspect.key)
            made = stores.made.get(each.suspect.key, line)
            if line is not None and made is not None and made != each.suspect.allocated_at:
                suspect = replace(each.suspect.seen_stored(line), allocated_at=made)
                self.suspects[key] = replace(each, suspect=suspect)
                news = True
        return news


def _inner_bytes(nested: GrowingContainer) -> float:
    """Bytes that a container of containers gains in a step."""
    entries = newest_inner_entries(nested.container)
    return deep_bytes(entries, set()) / max(1, len(entries)) * nested.per_step


def _with_figures(known: HostSuspect, track: Track, per_step: float) -> HostSuspect:
    """A suspect with how much and how long it has grown by now."""
    return replace(known, per_step=per_step, span=track.span, entries=track.lengths[-1])
