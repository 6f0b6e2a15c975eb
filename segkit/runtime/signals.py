"""The only module that installs signal handlers: within a block, and what was there before comes back after it.

It imports nothing but the standard library, so that converting may use it.

A terminal, ``timeout``, scancel and systemd send a signal to every process of a job. One process answers it for all:
the one that the user started, or under torchrun every rank. Workers and the ranks that segkit starts ignore it and
hear from their parent.
"""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any

Handler = Callable[[int, FrameType | None], Any] | int | None

ASKING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""The signals that ask a process to end."""

_AGAIN_SECONDS = 1.0  # a sender may reach a process by several ways: what comes within this time is one request
_IMPORT_SECONDS = 0.05  # between two looks whether an import has ended
_AT_ONCE_SECONDS = 5.0  # after the second request, so long may unwinding take


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


def asking_signals() -> tuple[int, ...]:
    """The signals that ask this process to end; without SIGHUP where it is ignored, as under nohup."""
    hang_up = getattr(signal, "SIGHUP", None)
    return tuple(n for n in ASKING if n != hang_up or signal.getsignal(n) != signal.SIG_IGN)


@contextmanager
def raising_interrupts() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does."""
    with signal_handlers({n: signal.default_int_handler for n in asking_signals() if n != signal.SIGINT}):
        yield


@contextmanager
def imports_left_whole() -> Iterator[None]:
    """Let a Ctrl-C that comes while a module is imported count when that has ended.

    Half an import of a library in C cannot be repeated: in a notebook, every later call would fail.
    """
    before = signal.getsignal(signal.SIGINT)
    if not callable(before):
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if not _is_importing(frame):
            before(number, frame)
            return
        again = threading.Timer(_IMPORT_SECONDS, _interrupt_main_thread)
        again.daemon = True
        again.start()

    with signal_handlers({signal.SIGINT: handle}):
        yield


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_globals.get("__name__") == "importlib._bootstrap":
            return True
        frame = frame.f_back
    return False


def end_quietly(code: int) -> None:
    """From now on, a signal ends this process at once and with this exit code: its work is done."""
    for number in asking_signals():
        signal.signal(number, lambda number, frame: os._exit(code))


def ignore_signals() -> None:
    """From now on, ignore what asks this process to end: it ends by itself, or with its parent."""
    for number in ASKING:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ASKING)


@contextmanager
def signals_held() -> Iterator[None]:
    """Hold signals back: a process that is started in the block gets none before it calls ``ignore_signals``."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ASKING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class StopRequest:
    """Whether the user or the scheduler has asked to stop; the second request does not wait for the step to end."""

    def __init__(self, on_first: Callable[[], None] = lambda: None) -> None:
        self._on_first = on_first
        self.asked = self.at_once = False
        self.ended = threading.Event()

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The signal handler: it runs in the main thread, as soon as Python gets to it."""
        self.asked = True
        if self.at_once and not self.ended.is_set():
            self.at_once = False  # once: unwinding is not to be interrupted
            raise KeyboardInterrupt

    def receive(self, count: int) -> None:
        """Take the first or the second request, in another thread.

        A second one interrupts the main thread. If that does not end in time, as in a long computation of C code, the
        process is ended.
        """
        self.asked = True
        if count == 1:
            self._on_first()
        if count == 2:
            self.at_once = True
            deadline = time.monotonic() + _AT_ONCE_SECONDS
            while not self.ended.wait(0.1):
                if self.at_once:  # again: a signal just before a system call does not end that call
                    _interrupt_main_thread()
                if time.monotonic() > deadline:
                    os._exit(130)


def _interrupt_main_thread() -> None:
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, signal.SIGINT)  # ends its system calls, too
    else:
        signal.raise_signal(signal.SIGINT)


_launcher: Connection | None = None


def listen_to_launcher(connection: Connection) -> None:
    """In a rank that segkit started: requests to stop come by this connection, and no longer by signals."""
    global _launcher
    _launcher = connection


@contextmanager
def stop_requests(on_first: Callable[[], None] = lambda: None) -> Iterator[StopRequest]:
    """Turn SIGINT, SIGTERM and SIGHUP into a request to stop, which the training loop follows when it has saved.

    Args:
        on_first: Called in another thread when the first request comes.
    """
    request = StopRequest(on_first)
    if _launcher is not None:
        threading.Thread(target=_hear_launcher, args=(_launcher, request), daemon=True).start()
        source = signal_handlers({signal.SIGINT: request.handle})
    else:
        source = forwarded_requests(request.receive, request.handle)
    with source:
        try:
            yield request
        finally:
            request.ended.set()


@contextmanager
def forwarded_requests(receive: Callable[[int], None], handle: Handler = lambda number, frame: None) -> Iterator[None]:
    """Call ``receive`` in a thread with 1 when the user asks to stop, and with 2 when he asks again.

    A thread knows when a signal came even while the main thread computes in C. What follows within a second is the
    same request: ``timeout`` signals its child and then the group of its child, torchrun passes on what a terminal
    has sent to the ranks as well.

    Args:
        receive: Called with the number of the request.
        handle: The signal handler of the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = {signal.SIGINT, *asking_signals()}
    theirs, ours = socket.socketpair()
    theirs.setblocking(False)
    thread = threading.Thread(target=_count, args=(ours, frozenset(numbers), receive), daemon=True)
    thread.start()
    try:
        with signal_handlers(dict.fromkeys(numbers, handle)):
            before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
            try:
                yield
            finally:
                signal.set_wakeup_fd(before)
                theirs.shutdown(socket.SHUT_RDWR)  # the thread ends, although workers have copies of the socket
                thread.join(1.0)
    finally:
        theirs.close()


def _count(signals: socket.socket, numbers: frozenset[int], receive: Callable[[int], None]) -> None:
    asked_at: float | None = None
    with signals:
        while data := signals.recv(1):
            if data[0] not in numbers:
                continue
            if asked_at is None:
                asked_at = time.monotonic()
                receive(1)
            elif time.monotonic() - asked_at > _AGAIN_SECONDS:
                receive(2)
                return


def _hear_launcher(launcher: Connection, request: StopRequest) -> None:
    while True:
        try:
            request.receive(launcher.recv())
        except (EOFError, OSError):
            if not request.ended.is_set():  # the launcher died
                os._exit(1)
            return
