"""Loader workers: each measures itself after a batch, and distinguishes copy-on-write from a leak of its own."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from segkit.data.files import temporary_file
from segkit.memory.containers.host_search import HostSearch
from segkit.memory.findings.bounds import RunFacts
from segkit.memory.findings.records import MemoryLimit
from segkit.memory.findings.store_watch import StoreWatch
from segkit.memory.measure import host
from segkit.memory.measure.budget import Budget
from segkit.memory.measure.collector import collector_paused
from segkit.memory.measure.user_code import USER_CODE


class WorkerWatch:
    """Counts a worker's batches, and takes a census now and then."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._pid, self._failed = folder, 0, False

    def _begin(self) -> None:
        """Start counting in a process that has just become a worker."""
        self._pid = os.getpid()
        USER_CODE.start()
        self._batches, self._next = 0, 4
        self._rows: list[list[int]] = []
        self._stores = StoreWatch()
        self._host, self._budget = HostSearch(in_worker=True), Budget()

    def around(self, fetch: Callable[..., Any]) -> Callable[..., Any]:
        """A fetcher's ``fetch`` that measures the worker after each batch."""

        def watched(fetcher: Any, index: Any) -> Any:
            batch = fetch(fetcher, index)
            if not self._failed and _in_worker():
                try:
                    self._after_batch()
                except Exception:  # the batch matters more
                    self._failed = True
            return batch

        return watched

    def _after_batch(self) -> None:
        if self._pid != os.getpid():
            self._begin()
        self._batches += 1
        self._stores.stop_when_done()
        self._host.census.release()
        has_news = self._host.note_stores(self._stores)
        if self._batches < self._next or not self._budget.may_take_census:
            if has_news:  # there may be no next census
                self._write()
            return
        self._next = max(self._next + 3, round(self._batches * 1.4))
        with collector_paused():
            facts = RunFacts(files=USER_CODE.files())
            self._host.take_census(self._batches, self._stores, facts, [], self._budget)
        now = host.mapped()
        if now is not None:
            self._rows.append([self._batches, *now])
        self._write()

    def _write(self) -> None:
        from segkit.memory.report.judge import host_leak  # noqa: PLC0415 -- only where there is something to report

        leaks = [
            {"leak": host_leak(found, MemoryLimit(None, 0), "worker").to_json(), "state": found.state,
             "bound": found.suspect.bound, "entries": found.entries}
            for found in self._host.suspects.values()
        ]  # fmt: skip
        path = self._folder / f"worker-{self._pid}.json"
        content = {"parent": os.getppid(), "batches": self._batches, "mapped": self._rows, "leaks": leaks}
        with temporary_file(path) as temporary:
            temporary.write_text(json.dumps(content, default=str), encoding="utf-8")


def _in_worker() -> bool:
    from torch.utils.data import get_worker_info  # noqa: PLC0415 -- the tool may run where torch is not loaded yet

    return get_worker_info() is not None
