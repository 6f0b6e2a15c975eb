"""One process that is being watched: what is read at the end of every step, and when more is looked at."""

import gc
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from segkit.memory.containers.census import Census
from segkit.memory.containers.host_leaks import HostLeaks
from segkit.memory.containers.reach import Balance, collector_paused
from segkit.memory.findings.bounds import Surroundings
from segkit.memory.findings.finding import Finding, finding_of
from segkit.memory.findings.store_watch import StoreWatch
from segkit.memory.holders.causes import Culprit
from segkit.memory.holders.diagnosis import diagnose
from segkit.memory.holders.ledger import GRACE, LEAK, WARM_UP, WATCH, Ledger
from segkit.memory.measure import cuda as device
from segkit.memory.measure import host
from segkit.memory.measure import torch_private as private
from segkit.memory.measure.categories import CategoryMeter
from segkit.memory.measure.phases import PhaseClock, PhaseRecord, Sample
from segkit.memory.measure.steps import Marks
from segkit.memory.measure.tracker import LiveTensors, Site
from segkit.memory.measure.user_code import USER_CODE

_DRIVER_EVERY = 10  # samples
_MOST_SAMPLES = 4_000  # steps that the series hold; of longer runs every second is dropped, again and again


class Session:
    """Watches the training in this process from ``start`` to ``finish``.

    Attributes:
        samples: Every step.
        findings: What keeps memory, by key.
        ledgers: What survives, by site.
        diagnoses: Times that holders were looked for.
        failures: What went wrong in here; the script goes on without it.
    """

    def __init__(self, *, every: int = 1, steps: int | None = None, deep: bool = False) -> None:
        self.tensors = LiveTensors()
        self.clock = PhaseClock(self.tensors)
        self.marks = Marks(self.tensors, self.clock, self._on_step, self._restart, every)
        self.marks.before_optimizer = self._before_optimizer
        self.categories = CategoryMeter(self.tensors)
        self.census = Census()
        self.host = HostLeaks(self.census)
        self.stores = StoreWatch()
        self.samples: list[Sample] = []
        self.ledgers: dict[Site, Ledger] = {}
        self.findings: dict[str, Finding] = {}
        self.by_site: dict[Site, str] = {}
        self.devices: dict[Site, str] = {}
        self.failures: list[str] = []
        self.after_step: Callable[[], None] = lambda: None
        self.deep, self.limit_steps = deep, steps
        self.stride, self.count = 1, 0
        self.diagnosing: list[float] = []  # seconds that each search for holders took
        self.counting: list[float] = []  # and each census
        self.profiled = 0  # steps in which PyTorch's own profiler was on
        self.first_step, self._diagnosed_at, self.diagnoses = 0, -100, 0
        self.levels: dict[Site, str] = {}
        self.since: dict[Site, int] = {}  # the step from which on a site was called a leak
        self._balance, self._alive = Balance(), 0
        self._next_census, self._began = 7, time.perf_counter()
        self._active = False

    def start(self, phases: bool = True) -> None:
        """Begin to watch; ``phases`` False: the trainer names phases and steps itself."""
        USER_CODE.start()
        self.clock.explicit = not phases
        self.marks.install(phases)
        self.tensors.__enter__()
        self._active, self._began = True, time.perf_counter()
        self._thread = threading.get_ident()

    def finish(self) -> None:
        """Watch no more; everything that was found stays."""
        if not self._active:
            return
        self._active = False
        self.stores.stop()
        self.marks.uninstall()
        self.tensors.paused = True
        if threading.get_ident() == self._thread:
            try:
                self.tensors.__exit__(None, None, None)
            except Exception as error:
                self._failed(error)

    def abandon(self) -> None:
        """In a process forked from the one that is watched: leave the mode, and touch no page more than needed."""
        self._active = False
        try:
            super(LiveTensors, self.tensors).__exit__(None, None, None)  # type: ignore[no-untyped-call]
        except Exception as error:
            self._failed(error)

    def step(self, name: str | None = None) -> None:
        """End a step, told by the trainer itself."""
        self._name = name
        self.marks.mark("watch")

    def snapshot(self, path: Path) -> bool:
        """Write the CUDA allocator's history for PyTorch's memory viewer; whether there is one."""
        return self._recording and private.dump_snapshot(path)

    _name: str | None = None
    _recording = False
    _collected = False  # whether garbage was collected since the last step
    _driver: int | None = None

    def _restart(self) -> None:
        """What was counted until now were no steps."""
        self.samples.clear()
        self.ledgers.clear()
        self.findings.clear()
        self.by_site.clear()
        self.levels.clear()
        self.since.clear()
        self.count, self.stride, self.first_step = 0, 1, self.tensors.step
        self._next_census = 7
        self.census.__init__()  # type: ignore[misc]

    def _failed(self, error: BaseException) -> None:
        text = "".join(traceback.format_exception(error)[-3:])
        if len(self.failures) < 5:
            self.failures.append(text)

    def _before_optimizer(self, optimizer: Any) -> None:
        if self.tensors.keep_crest:
            self.categories.note_optimizer(optimizer)

    def _on_step(self) -> None:
        if not self._active:
            return
        before = gc.get_count()[0]
        try:
            self._end_step()
        except Exception as error:
            self._failed(error)
            if len(self.failures) >= 3:
                self.tensors.paused = True
        for part in (self.tensors, self.marks):
            if part.failure is not None:
                self._failed(part.failure)
                part.failure = None
        self.tensors.next_step()
        alive = len(self.tensors.live)
        self._balance.take_off(gc.get_count()[0] - before + alive - self._alive)
        self._alive = alive
        if self.limit_steps is not None and self.count >= self.limit_steps:
            raise SystemExit(0)

    def _end_step(self) -> None:
        tensors, now = self.tensors, time.perf_counter()
        self.stores.forget_copies()
        phases = self.clock.take()
        between = sum(record.seconds for name, record in phases.items() if name in ("eval", "save"))
        self._sample(now - self._began - between, phases)
        self.count += 1
        self._promote()
        local = tensors.step - self.first_step
        if tensors.keep_crest:
            self.categories.take(self.clock, list(self.marks.optimizers), list(self.marks.modules))
        tensors.keep_crest = 3 <= local + 1 <= 6 or local % 10 == 9
        self.census.release()
        self._suspect()
        if local >= self._next_census or self.deep:
            self._next_census = max(self._next_census + 6, round(local * 1.45))
            began = time.perf_counter()
            with tensors.pause(), collector_paused():
                self.host.look(local, self.stores, self._surroundings(), list(self.findings.values()))
            self.counting.append(time.perf_counter() - began)
        self._learn_stores()
        self.after_step()
        self._began = time.perf_counter()

    def _sample(self, seconds: float, phases: dict[str, PhaseRecord]) -> None:
        on_cuda = private.on_cuda()
        if on_cuda and self.count == 0 and not self._recording:
            self._recording = private.record_allocations()
        self.profiled += private.profiler_is_on()
        trains = phases.keys() - {"eval", "save"} if self.marks.kind not in ("forward", "batch") else phases.keys()
        peaks = [phases[name].allocated for name in trains]
        if self.count % self.stride == 0:
            given = self.marks.input
            if on_cuda and len(self.samples) % _DRIVER_EVERY == 0:
                self._driver = device.driver_used()
            self.samples.append(
                Sample(
                    seconds,
                    self.clock.allocated,
                    max(peaks, default=0),
                    max((record.reserved for record in phases.values()), default=0) if on_cuda else None,
                    self._driver, device.pinned(),
                    self.tensors.on_host,
                    host.resident(), host.malloc_in_use(), host.malloc_retained(), host.python_blocks(),
                    given.elements, given.instances, phases, self._name or ", ".join(given.names) or None,
                )
            )  # fmt: skip
        if len(self.samples) > _MOST_SAMPLES:
            del self.samples[1::2]
            self.stride *= 2

    def _promote(self) -> None:
        """Move survivors of the grace into their sites' ledgers, and the dead out of them."""
        tensors = self.tensors
        dead, tensors.dead = tensors.dead, []
        touched: set[Site] = set()
        for birth in dead:
            ledger = self.ledgers.get(birth.site)
            if ledger is not None:
                ledger.remove(birth.step, birth.size)
                touched.add(birth.site)
        step = tensors.step - GRACE
        cohort = tensors.cohorts.get(step, {})
        if step >= self.first_step + WARM_UP:
            for birth in list(cohort.values()):
                ledger = self.ledgers.get(birth.site)
                if ledger is None:
                    ledger = self.ledgers[birth.site] = Ledger()
                ledger.add(birth.step, birth.size)
                self.devices[birth.site] = birth.device
                birth.old = True
                touched.add(birth.site)
        if not cohort:
            tensors.cohorts.pop(step, None)
        for site in touched:
            self.ledgers[site].settle(tensors.step, natural=not self._collected)
        self._collected = False

    def states(self) -> dict[Site, str]:
        """``leak`` or ``watch`` for every site that is suspect now."""
        now = self.tensors.step
        out = {}
        for site, ledger in self.ledgers.items():
            state = ledger.state(now)
            if state != "clean":
                out[site] = str(state)
        for site, birth in self.tensors.joins.items():
            if birth.lineage[0] >= WATCH and now - birth.step <= GRACE:
                out[site] = "leak" if birth.lineage[0] >= LEAK else "watch"
        return out

    def _suspect(self) -> None:
        """Find out about sites that have become suspect."""
        step = self.tensors.step
        if len(self.ledgers) > 50 and step % 3:
            return
        states = self.states()
        new = [site for site, state in states.items() if self.levels.get(site) != state]
        due = new and step - self._diagnosed_at >= min(400, 2 * self.diagnoses**2)
        if not due:
            return
        collect = "leak" in states.values()
        self._collected = collect
        began = time.perf_counter()
        self._diagnosed_at, self.diagnoses = step, self.diagnoses + 1
        suspects = sorted(new, key=lambda site: -self._weight(site))
        growing = [site for site in suspects if site in self.tensors.joins]
        weights = {site: self.ledgers[site].bytes_per_step for site in suspects if site in self.ledgers}
        with collector_paused():
            ours = [self.ledgers, self.findings, self.samples]
            double = self.marks.double_backward is not None
            culprits = diagnose(self.tensors, suspects, growing, ours, collect=collect, double_backward=double)
        known = self._surroundings()
        for culprit in culprits:
            sites = [site for site in culprit.sites if not self._is_known_cycle(site, culprit)]
            if not sites:
                continue
            finding = finding_of(culprit, known, self.count, self.marks.double_backward)
            if culprit.container is not None and not finding.stored_surely:
                self.stores.watch(finding.key, culprit.container)
            before = self.findings.get(finding.key)
            if before is not None and before.stored_surely and before.stored_at is not None:
                finding = finding.seen_stored(before.stored_at)
            if finding.kind == "reference cycle":  # the collection has just freed what could be counted
                finding = replace(finding, per_step=sum(weights.get(site, 0.0) for site in sites))
            self.findings[finding.key] = finding
            for site in sites:
                self.by_site[site] = finding.key
            culprit.holding = culprit.container = None
        culprits.clear()
        self.levels.update({site: states[site] for site in new})
        for site in new:
            if states[site] == "leak":
                self.since.setdefault(site, self.count)
        self.diagnosing.append(time.perf_counter() - began)

    def _is_known_cycle(self, site: Site, culprit: Culprit) -> bool:
        """Whether a site's tensors were seen to be garbage before, and nothing with a name holds them now."""
        before = self.findings.get(self.by_site.get(site, ""))
        nameless = culprit.holding is None or culprit.holding.kind == "nameless"
        return before is not None and before.kind == "reference cycle" and nameless and culprit.kind != before.kind

    def _surroundings(self) -> Surroundings:
        return Surroundings(self.marks.sizes, USER_CODE.files(), self.marks.datasets, self.census.length_before)

    def _weight(self, site: Site) -> float:
        ledger = self.ledgers.get(site)
        return ledger.bytes_per_step if ledger is not None else 1e9

    def _learn_stores(self) -> None:
        self.stores.tidy()
        for key, line in self.stores.found.items():
            finding = self.findings.get(key)
            if finding is not None and not finding.stored_surely:
                self.findings[key] = finding.seen_stored(line)
        self.host.learn(self.stores)
