"""The only module that installs signal handlers: within a block, and what was there before comes back after it.

It imports nothing but the standard library, so that converting may use it.
"""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

Handler = Callable[[int, FrameType | None], Any] | int | None


@contextmanager
def signal_handlers(handlers: Mapping[int, Handler]) -> Iterator[None]:
    """Install handlers by signal number for the length of a block.

    Outside the main thread Python allows no handlers: there, nothing is installed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Handler] = {}
    try:
        for number, handler in handlers.items():
            before[number] = signal.signal(number, handler)
        yield
    finally:
        for number, handler in before.items():
            # None: it was installed from C, and Python cannot install it again.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def leave_interrupts_to_parent() -> None:
    """In a worker process: ignore Ctrl-C, which the parent answers for all, and end at SIGTERM."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


class StopRequest:
    """Whether the user or the scheduler has asked to stop; the second request does not wait for the step to end."""

    def __init__(self) -> None:
        self.asked = False

    def ask(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Turn SIGINT and SIGTERM into a request to stop, which the training loop follows when it has saved."""
    request = StopRequest()
    with signal_handlers({signal.SIGINT: request.ask, signal.SIGTERM: request.ask}):
        yield request
