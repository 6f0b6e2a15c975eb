"""All suspects of a session, and when to search for what keeps the tensors of a site."""

import time
from collections.abc import Sequence
from dataclasses import replace

from segkit.memory.findings.bounds import RunFacts
from segkit.memory.findings.store_watch import StoreWatch
from segkit.memory.findings.suspect import Suspect, suspect_of
from segkit.memory.holders.causes import Cause
from segkit.memory.holders.diagnosis import diagnose
from segkit.memory.holders.survivors import Survivors
from segkit.memory.measure.allocation import Site
from segkit.memory.measure.budget import Budget, Deadline
from segkit.memory.measure.collector import collector_paused
from segkit.memory.measure.tracker import LiveTensors

_FOR_LEAKS = 1.0  # seconds of the budget that are not for what is only suspect
_MANY_SITES = 50  # from which on only every third step is checked


class Suspects:
    """What was found to keep tensors.

    Attributes:
        by_key: The suspects.
        searched: ``leak`` or ``watch`` for every site, at the last search for what keeps its tensors.
        since: The step from which on a site was called a leak.
        searches: Seconds that each search took.
        budget: The processor time that they may take, together with the censuses.
    """

    def __init__(self, tensors: LiveTensors, survivors: Survivors, stores: StoreWatch, budget: Budget) -> None:
        self.by_key: dict[str, Suspect] = {}
        self.searched: dict[Site, str] = {}
        self.since: dict[Site, int] = {}
        self.searches: list[float] = []
        self.budget = budget
        self._keys: dict[Site, str] = {}
        self._tensors, self._survivors, self._stores = tensors, survivors, stores
        self._searched_at = -100

    def of(self, site: Site) -> Suspect | None:
        """What keeps the tensors of a site, if that was found."""
        return self.by_key.get(self._keys.get(site, ""))

    def restart(self) -> None:
        """Forget what was found until now."""
        for each in (self.by_key, self.searched, self.since, self._keys):
            each.clear()

    def search(self, facts: RunFacts, ignored: Sequence[object]) -> bool:
        """Search for what keeps the tensors of sites that have become suspect; returns whether garbage was collected.

        Args:
            facts: What is known of the run.
            ignored: The tool's own objects that hold something of what is searched.
        """
        step = self._tensors.step
        if len(self._survivors.by_site) > _MANY_SITES and step % 3:
            return False
        states = self._survivors.states()
        new = [site for site, state in states.items() if self.searched.get(site) != state]
        if not new or step - self._searched_at < min(400, 2 * len(self.searches) ** 2):
            return False
        is_leak = "leak" in states.values()
        seconds = self.budget.for_search(reserve=0.0 if is_leak else _FOR_LEAKS)
        if seconds <= 0:
            return False
        with self.budget.spending("search"):
            return self._search(new, states, facts, ignored, Deadline(seconds))

    def _search(
        self, new: list[Site], states: dict[Site, str], facts: RunFacts, ignored: Sequence[object], deadline: Deadline
    ) -> bool:
        """Search until a deadline; sites for which there is no time stay unsearched."""
        began, self._searched_at = time.perf_counter(), self._tensors.step
        self.searches.append(0.0)
        new.sort(key=lambda site: -self._bytes_per_step(site, 1e9))
        rates = {site: self._bytes_per_step(site, 0.0) for site in new}
        collect = "leak" in states.values()
        with collector_paused():
            causes, unsearched = diagnose(
                self._tensors, new, [self._survivors.by_site, self.by_key, *ignored],
                collect=collect, double_backward=facts.double_backward is not None, deadline=deadline,
            )  # fmt: skip
        for cause in causes:
            self._add(cause, rates, facts)
            cause.chain = cause.container = None
        causes.clear()
        self.searched.update({site: states[site] for site in new if site not in unsearched})
        for site in new:
            if states[site] == "leak":
                self.since.setdefault(site, facts.steps)
        self.searches[-1] = time.perf_counter() - began
        return collect

    def note_stores(self) -> None:
        """Take over the lines that were seen storing."""
        for key, line in self._stores.found.items():
            suspect = self.by_key.get(key)
            if suspect is not None and not suspect.stored_surely:
                self.by_key[key] = suspect.seen_stored(line)

    def _add(self, cause: Cause, rates: dict[Site, float], facts: RunFacts) -> None:
        sites = [site for site in cause.sites if not self._is_known_cycle(site, cause)]
        if not sites:
            return
        suspect = suspect_of(cause, facts)
        if cause.container is not None and not suspect.stored_surely:
            self._stores.watch(suspect.key, cause.container)
        before = self.by_key.get(suspect.key)
        if before is not None and before.stored_surely and before.stored_at is not None:
            suspect = suspect.seen_stored(before.stored_at)
        if suspect.kind == "reference cycle":  # the collection has just freed what could be counted
            suspect = replace(suspect, per_step=sum(rates.get(site, 0.0) for site in sites))
        for site in sites:
            self._keys[site] = suspect.key
        others = () if before is None else before.sites  # sites become suspect one after another
        kept = [site for site in others if site not in suspect.sites and self._keys.get(site) == suspect.key]
        self.by_key[suspect.key] = replace(suspect, sites=(*suspect.sites, *kept))

    def _is_known_cycle(self, site: Site, cause: Cause) -> bool:
        """Whether a site's tensors were seen to be garbage before, and nothing with a name holds them now."""
        before = self.of(site)
        unnamed = cause.chain is None or cause.chain.kind == "unnamed"
        return before is not None and before.kind == "reference cycle" and unnamed and cause.kind != before.kind

    def _bytes_per_step(self, site: Site, default: float) -> float:
        survival = self._survivors.by_site.get(site)
        return survival.bytes_per_step if survival is not None else default
