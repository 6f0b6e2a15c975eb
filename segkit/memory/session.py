"""A training in this process that is watched: what is measured at the end of every step, and what is searched when."""

import gc
import threading
import time
from collections.abc import Callable
from pathlib import Path

from segkit.memory.containers.host_search import HostSearch
from segkit.memory.findings.bounds import RunFacts
from segkit.memory.findings.store_watch import StoreWatch
from segkit.memory.findings.suspects import Suspects
from segkit.memory.holders.survivors import Survivors
from segkit.memory.measure import torch_private as private
from segkit.memory.measure.budget import Budget
from segkit.memory.measure.categories import CategoryMeter
from segkit.memory.measure.collector import CollectorBalance, collector_paused
from segkit.memory.measure.phases import PhaseClock
from segkit.memory.measure.sampling import Sampling
from segkit.memory.measure.series import StepSeries
from segkit.memory.measure.step_hooks import StepHooks
from segkit.memory.measure.tracker import LiveTensors
from segkit.memory.measure.user_code import USER_CODE, describe

_FIRST_CENSUSES = (7, 14, 23)  # steps; what has grown in these is a leak with the third
_NEXT_CENSUS, _NEXT_QUIET = 1.6, 2.2  # times as many steps; where nothing grew until now
_MOST_FAILURES = 5  # that are kept; after three the tracker is switched off


class Session:
    """Watches the training in this process from ``start`` to ``finish``.

    Attributes:
        tensors: Counts the live tensors.
        clock: Splits steps into phases.
        sampling: Decides which steps are followed.
        hooks: Notice when a step ends, and what it does.
        series: The measurements of all steps.
        categories: What the memory at the peak is.
        survivors: What survives of each site.
        suspects: What was found to keep tensors.
        host: What was found to grow in the host's memory.
        censuses: Seconds that each census of containers took.
        budget: The processor time that censuses and searches may take together.
        has_missed_census: Whether there was no time for one that was due.
        after_step: Called at the end of every step.
    """

    def __init__(self, *, every: int = 1, steps: int | None = None, deep: bool = False) -> None:
        """Prepare to watch.

        Args:
            every: Optimiser steps to a step.
            steps: End the script after so many; None: let it run.
            deep: Take a census of the host's containers at every step.
        """
        self.tensors = LiveTensors()
        self.clock = PhaseClock(self.tensors)
        self.sampling = Sampling(self.tensors)
        self.hooks = StepHooks(self.tensors, self.clock, self.sampling, self._on_step, self._restart, every)
        self.series = StepSeries(self.tensors, self.clock, self.hooks)
        self.categories = CategoryMeter(self.tensors)
        self.hooks.before_optimizer = self.categories.note_optimizer
        self.survivors = Survivors(self.tensors)
        self.stores = StoreWatch()
        self.budget = Budget(is_limited=not deep)
        self.suspects = Suspects(self.tensors, self.survivors, self.stores, self.budget)
        self.host = HostSearch()
        self.censuses: list[float] = []
        self.has_missed_census = False
        self._failures: list[str] = []
        self.after_step: Callable[[], None] = lambda: None
        self._deep, self._last_step = deep, steps
        self._balance, self._alive = CollectorBalance(), 0
        self._cpu_began = time.process_time()
        self._next_census, self._began = _FIRST_CENSUSES[0], time.perf_counter()
        self._active = self._recording = self._collected = False
        self._thread = threading.get_ident()
        self._name: str | None = None

    def start(self, phases: bool = True) -> None:
        """Begin to watch; ``phases`` False: the trainer names phases and steps itself."""
        USER_CODE.start()
        self.clock.explicit = not phases
        self.hooks.install(phases)
        self.tensors.__enter__()  # type: ignore[no-untyped-call]
        self._active, self._began, self._cpu_began = True, time.perf_counter(), time.process_time()
        self._thread = threading.get_ident()

    def finish(self, *, forked: bool = False) -> None:
        """Watch no more; everything that was found stays.

        Args:
            forked: Whether this process was forked from the one that is watched: then the records are not cleared, as
                that would copy the pages that both processes share.
        """
        if not self._active:
            return
        self._active = False
        self.sampling.wake()
        self.tensors.paused = True
        self.stores.stop()
        self.hooks.uninstall()
        if threading.get_ident() == self._thread:  # modes belong to threads
            try:
                self.tensors.__exit__(None, None, None)  # type: ignore[no-untyped-call]
            except Exception as error:
                self._failed(error)
        if not forked:
            self.tensors.clear()

    def step(self, name: str | None = None) -> None:
        """End a step, where the trainer marks the steps itself; ``name``: what it was given."""
        self._name = name
        self.hooks.note("watch")

    def snapshot(self, path: Path) -> bool:
        """Write the CUDA allocator's history for PyTorch's memory viewer; whether there is one."""
        return self._recording and private.dump_snapshot(path)

    def _restart(self) -> None:
        """What was counted until now were no steps."""
        for each in (self.sampling, self.series, self.survivors, self.suspects):
            each.restart()
        self._next_census = _FIRST_CENSUSES[0]
        self.host = HostSearch()

    @property
    def seconds(self) -> float:
        """Processor time of this process since the start, the measuring included."""
        return time.process_time() - self._cpu_began

    @property
    def failures(self) -> list[str]:
        """What went wrong in here until now; the script goes on without it."""
        for error in [*self.hooks.failures, *filter(None, [self.tensors.failure])]:
            self._failed(error)
        self.hooks.failures.clear()
        self.tensors.failure = None
        return self._failures

    def _failed(self, error: BaseException | str) -> None:
        if len(self._failures) < _MOST_FAILURES:
            self._failures.append(error if isinstance(error, str) else describe(error))

    def _on_step(self) -> None:
        if not self._active:
            return
        before = gc.get_count()[0]
        followed = self.sampling.end_step(plain=self.clock.current.keys().isdisjoint(("eval", "save")))
        try:
            self._end_step(followed)
        except Exception as error:
            self._failed(error)
            if len(self._failures) >= 3:
                self.tensors.paused = True
        self.tensors.next_step(followed=followed)
        alive = len(self.tensors.live)
        self._balance.compensate(gc.get_count()[0] - before + alive - self._alive)
        self._alive = alive
        may_rest = not self._deep and self.hooks.is_in_one_thread
        self.sampling.begin_step(may_rest=may_rest, undecided=self.survivors.undecided)
        if self._last_step is not None and self.series.count >= self._last_step:
            raise SystemExit(0)

    def _end_step(self, followed: bool) -> None:
        self.stores.clear_copies()
        phases = self.clock.take()
        between = sum(peaks.seconds for name, peaks in phases.items() if name in ("eval", "save"))
        seconds = time.perf_counter() - self._began - between
        if private.on_cuda() and self.series.count == 0 and not self._recording:
            self._recording = private.record_allocations()
        if followed or private.on_cuda():
            self.series.add(seconds, phases, self._name)
        else:
            self.series.pass_over()
        if followed:
            self._search_tensors()
        self.host.census.release()
        step = self.series.count - 1
        if self._deep or step >= self._next_census:
            self._take_census(step)
        self.stores.stop_when_done()
        self.suspects.note_stores()
        self.host.note_stores(self.stores)
        self.after_step()
        self._began = time.perf_counter()

    def _search_tensors(self) -> None:
        """What has survived, what the peak was, and what keeps what is suspect, after a step that was followed."""
        tensors = self.tensors
        self.survivors.update(collected=self._collected)
        if tensors.keep_peak:
            hooks = self.hooks
            self.categories.take(self.clock, list(hooks.optimizers), list(hooks.modules), list(hooks.teachers))
        step = tensors.step - self.survivors.first_step
        tensors.keep_peak = 3 <= step + 1 <= 6 or step % 10 == 9
        self._collected = self.suspects.search(self._facts(), [self.series.measurements])

    def _take_census(self, step: int) -> None:
        self.has_missed_census = not self.budget.may_take_census
        if self.has_missed_census:
            return
        began = time.perf_counter()
        with self.tensors.pause(), collector_paused():
            self.host.take_census(step, self.stores, self._facts(), list(self.suspects.by_key.values()), self.budget)
        self.censuses.append(time.perf_counter() - began)
        later = round(step * (_NEXT_CENSUS if self.host.suspects else _NEXT_QUIET))
        self._next_census = step + 1 if self._deep else next((each for each in _FIRST_CENSUSES if each > step), later)

    def _facts(self) -> RunFacts:
        hooks = self.hooks
        return RunFacts(
            hooks.sizes, USER_CODE.files(), hooks.datasets, self.host.census.lengths, self.series.count,
            hooks.double_backward,
        )  # fmt: skip
