"""In the process of a profiled script: watch from the import of torch on, and write down what was found."""

import atexit
import json
import multiprocessing
import os
import threading
import time
from pathlib import Path
from typing import Any

from torch.optim.optimizer import register_optimizer_step_pre_hook

from segkit.data.files import temporary_file
from segkit.memory.measure import torch_private as private
from segkit.memory.process import FOLDER, SETTINGS
from segkit.memory.process.workers import WorkerWatch
from segkit.memory.session import Session

_STATUS_SECONDS, _WRITE_SECONDS = 0.5, 5.0

_attached: "AttachedSession | None" = None  # of this process; in one that was forked, until it trains, its parent's


class AttachedSession:
    """The session of this process, and the files through which segkit reads it.

    ``recording-PID.json`` is the whole report, ``status-PID.json`` what the terminal shows while the script runs.
    """

    def __init__(self, folder: Path) -> None:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        self.folder, self.pid, self.limit = folder, os.getpid(), settings["limit"]
        self.session = Session(every=settings["every"], steps=settings["steps"], deep=settings["deep"])
        self.session.after_step = self._after_step
        self._status_at = self._written_at = 0.0
        self._searches, self._cost = 0, 0.0
        self.done = False

    def _after_step(self) -> None:
        now = time.monotonic()
        session = self.session
        if now - self._status_at >= _STATUS_SECONDS:
            self._status_at = now
            last = session.series.measurements[-1]
            states = set(session.suspects.searched.values())
            _write(
                self.folder / f"status-{self.pid}.json",
                {"step": session.series.count, "allocated": last.allocated, "peak": last.peak, "rss": last.rss,
                 "seconds": last.seconds, "verdict": "leak" if "leak" in states else "watch" if states else "",
                 "holders": [each.holder or each.held_by for each in session.suspects.by_key.values()][:2]},
            )  # fmt: skip
        if (
            now - self._written_at >= max(_WRITE_SECONDS, 50 * self._cost)
            or len(session.suspects.searches) != self._searches
        ):
            self._searches, self._written_at = len(session.suspects.searches), now
            self.write(ended=False)
            self._cost = time.monotonic() - now

    def write(self, *, ended: bool) -> None:
        """Write the report as it stands."""
        from segkit.memory.report.document import report_of  # noqa: PLC0415 -- only where there is something to report

        with self.session.tensors.pause():
            document = report_of(self.session, self.limit) | {"rank": os.environ.get("RANK"), "ended": ended}
        _write(self.folder / f"recording-{self.pid}.json", document)

    def finish(self) -> None:
        """Write the last report, at the end of the process."""
        if self.done or os.getpid() != self.pid:
            return
        self.done = True
        try:
            self.session.finish()
            self.session.snapshot(self.folder / f"snapshot-{self.pid}.pickle")
            self.write(ended=True)
        except Exception as error:
            self.session.failures.append(f"{type(error).__name__}: {error}")
            (self.folder / f"failure-{self.pid}.txt").write_text(f"{type(error).__name__}: {error}\n", encoding="utf-8")

    def abandon(self) -> None:
        """In a process that was forked from this one, which is not the training: watch no more.

        If it trains nevertheless, it gets a session of its own.
        """
        self.done = True
        self.session.finish(forked=True)
        _watch_if_it_trains(self.folder)


def attached() -> AttachedSession | None:
    """The session of this process; None where ``segkit memprofile`` has not started it."""
    return _attached if _attached is not None and not _attached.done else None


def attach() -> None:
    """Begin to watch this process."""
    folder = Path(os.environ[FOLDER])
    watch = WorkerWatch(folder)
    for fetcher in private.loader_fetchers():  # PyTorch has no hook for a batch that a worker has loaded
        fetcher.fetch = watch.around(fetcher.fetch)
    leave_now = os._exit

    def _exit(code: int) -> Any:
        own = attached()
        if own is not None:
            own.finish()
        leave_now(code)

    os._exit = _exit  # type: ignore[assignment]  # which runs no atexit functions; some scripts end by it
    if multiprocessing.parent_process() is not None or threading.current_thread() is not threading.main_thread():
        _watch_if_it_trains(folder)  # most are workers, of which only what they load is watched
    else:
        _begin(folder)


def _begin(folder: Path) -> None:
    global _attached
    _attached = AttachedSession(folder)
    atexit.register(_attached.finish)
    os.register_at_fork(after_in_child=_attached.abandon)
    _attached.session.start()


def _watch_if_it_trains(folder: Path) -> None:
    """Begin to watch this process when an optimiser is about to step in it."""

    def begin(*args: Any) -> None:
        handle.remove()
        try:
            _begin(folder)
        except Exception as error:  # the script must run in any case
            (folder / f"failure-{os.getpid()}.txt").write_text(f"{type(error).__name__}: {error}\n", encoding="utf-8")

    handle = register_optimizer_step_pre_hook(begin)


def _write(path: Path, document: Any) -> None:
    with temporary_file(path) as temporary:
        temporary.write_text(json.dumps(document, default=str), encoding="utf-8")
