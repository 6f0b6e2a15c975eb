"""Processes that work for another one: they leave signals to their parent, and die with it.

It imports little but the standard library, so that converting may use it.
"""

import ctypes
import multiprocessing
import multiprocessing.context
import os
import signal
import sys
import threading
from contextlib import suppress
from multiprocessing.resource_tracker import ensure_running
from typing import Any

from segkit.errors import ConfigError
from segkit.runtime.signals import ignore_signals, signals_held

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class _Following:
    """What a worker process does differently from one of ``multiprocessing``."""

    def start(self) -> None:
        with signals_held():
            super().start()  # type: ignore[misc]

    def run(self) -> None:
        """In the child."""
        follow_parent()
        super().run()  # type: ignore[misc]

    def terminate(self) -> None:
        """End the process: it ignores SIGTERM."""
        super().kill()  # type: ignore[misc]


class _SpawnProcess(_Following, multiprocessing.context.SpawnProcess):
    def start(self) -> None:
        if sys.platform != "win32":
            with signals_held():
                ensure_running()  # when the first process starts it, it would let signals through to that process
        super().start()


class _SpawnContext(multiprocessing.context.SpawnContext):
    Process = _SpawnProcess


if sys.platform != "win32":

    class _ForkProcess(_Following, multiprocessing.context.ForkProcess):
        pass

    class _ForkContext(multiprocessing.context.ForkContext):
        Process = _ForkProcess


def may_start_processes() -> bool:
    """Whether this process may start others: Python forbids it to those of a ``multiprocessing.Pool``."""
    return not multiprocessing.current_process().daemon


def worker_context(*, fork: bool) -> Any:
    """A context of ``multiprocessing`` whose processes leave signals to their parent and die with it.

    Args:
        fork: Start them by fork, which is fast and shares memory, where the system has a safe one; else by spawn.

    Raises:
        ConfigError: This process may start none.
    """
    if not may_start_processes():
        raise ConfigError(
            "processes are needed, and a daemonic process, as of a multiprocessing.Pool, may start none",
            "call segkit from the main process, or from one of concurrent.futures.ProcessPoolExecutor",
        )
    return _ForkContext() if sys.platform == "linux" and fork else _SpawnContext()


def follow_parent() -> None:
    """In a child: ignore signals, and die as soon as the parent does."""
    ignore_signals()
    parent = multiprocessing.parent_process()
    if parent is None or (_die_with_parent() and os.getppid() == parent.pid):
        return
    threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _die_with_parent() -> bool:
    """Let the kernel kill this process when its parent dies; returns whether there is such a kernel."""
    with suppress(OSError, AttributeError):
        return bool(sys.platform == "linux" and ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) == 0)
    return False


def _end_after(parent: Any) -> None:
    parent.join()
    os._exit(1)


def describe_end(code: int | None) -> str:
    """How a process ended, by its exit code."""
    if code is None or code >= 0:
        return f"ended with code {code}"
    try:
        return f"was killed by signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"was killed by signal {-code}"
