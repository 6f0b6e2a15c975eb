"""The tensors that outlive their step, site by site, and which sites are suspect."""

from segkit.memory.holders.survival import GRACE, LEAK, WARM_UP, WATCH, SiteSurvival
from segkit.memory.measure.allocation import Site
from segkit.memory.measure.tracker import LiveTensors


class Survivors:
    """What survives of every site.

    Attributes:
        by_site: The survival of each site.
        devices: The type of device of its tensors.
        first_step: The step at which measuring began; what was before counts as warm-up.
    """

    def __init__(self, tensors: LiveTensors) -> None:
        self.by_site: dict[Site, SiteSurvival] = {}
        self.devices: dict[Site, str] = {}
        self.first_step = 0
        self._tensors = tensors

    def restart(self) -> None:
        """Forget what survived until now."""
        self.by_site.clear()
        self.first_step = self._tensors.step

    def update(self, *, collected: bool) -> None:
        """At the end of a step: note the tensors that have outlived the grace period, and those that were freed.

        Args:
            collected: Whether the tool has collected garbage since the last step.
        """
        tensors = self._tensors
        freed, tensors.freed = tensors.freed, []
        touched: set[Site] = set()
        for allocation in freed:
            survival = self.by_site.get(allocation.site)
            if survival is not None:
                survival.remove(allocation.step, allocation.size)
                touched.add(allocation.site)
        step = tensors.step - GRACE
        cohort = tensors.cohorts.get(step, {})
        if step >= self.first_step + WARM_UP:
            for allocation in list(cohort.values()):
                self.by_site.setdefault(allocation.site, SiteSurvival()).add(allocation.step, allocation.size)
                self.devices[allocation.site] = allocation.device
                allocation.old = True
                touched.add(allocation.site)
        if not cohort:
            tensors.cohorts.pop(step, None)
        for site in touched:
            self.by_site[site].end_step(tensors.step, natural=not collected)

    def states(self) -> dict[Site, str]:
        """``leak`` or ``watch`` for every site that is suspect now."""
        now = self._tensors.step
        out = {}
        for site, survival in self.by_site.items():
            state = survival.state(now)
            if state != "clean":
                out[site] = str(state)
        for site, allocation in self._tensors.joins.items():
            if allocation.joined[0] >= WATCH and now - allocation.step <= GRACE:
                out[site] = "leak" if allocation.joined[0] >= LEAK else "watch"
        return out

    def undecided(self) -> str | None:
        """What has to be followed further: ``watch``, sites of which a few more steps will tell whether they leak.

        Or ``kept``: something of a few steps was kept and never freed, and there may be more of it now and then.
        """
        now, states = self._tensors.step, self.states()
        for site, state in states.items():
            if state == "watch" and not (site in self.by_site and self.by_site[site].is_rare(now)):
                return "watch"
        kept = (survival for site, survival in self.by_site.items() if states.get(site) != "leak")
        return "kept" if any(survival.is_kept for survival in kept) else None
