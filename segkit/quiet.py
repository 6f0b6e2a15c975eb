"""Blocks that print or warn nothing, which several threads may be in together.

``contextlib.redirect_stdout`` and ``warnings.catch_warnings`` change what all threads share. Two blocks that overlap
restore it in the wrong order: a program would print into a buffer that nobody reads for the rest of its life.
"""

import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_lock = threading.RLock()
_ignoring: list["warnings.catch_warnings[Any]"] = []  # the first for each block that is open: it is the one to restore
_silencing: list["_Passing"] = []  # likewise


class _Inside(threading.local):
    """How many blocks without stdout a thread is in."""

    depth = 0


_inside = _Inside()


@contextmanager
def without_warnings() -> Iterator[None]:
    """Ignore warnings inside the block; threads share the list of filters, so others warn of nothing meanwhile."""
    with _lock:
        if not _ignoring:
            first: warnings.catch_warnings[Any] = warnings.catch_warnings()
            first.__enter__()
            warnings.simplefilter("ignore")
        _ignoring.append(_ignoring[0] if _ignoring else first)
    try:
        yield
    finally:
        with _lock:
            first = _ignoring.pop()
            if not _ignoring:
                first.__exit__(None, None, None)


@contextmanager
def without_stdout() -> Iterator[None]:
    """Let this thread print nothing on stdout inside the block; other threads print as before."""
    with _lock:
        if not _silencing:
            sys.stdout = first = _Passing(sys.stdout)
        _silencing.append(_silencing[0] if _silencing else first)
    _inside.depth += 1
    try:
        yield
    finally:
        _inside.depth -= 1
        with _lock:
            first = _silencing.pop()
            if not _silencing and sys.stdout is first:  # else somebody has put another stream in its place
                sys.stdout = first.stream


class _Passing:
    """A stream in the place of stdout, which passes on what threads outside of such blocks write."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream  # None where the process has no stdout

    def write(self, text: str) -> int:
        """See ``io.TextIOBase``."""
        if self.stream is None or _inside.depth:
            return len(text)
        return int(self.stream.write(text))

    def flush(self) -> None:
        """See ``io.TextIOBase``."""
        if self.stream is not None:
            self.stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)
