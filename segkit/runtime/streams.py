"""Standard streams that may be closed, full, or read by nobody: what a command does does not depend on them.

It imports nothing but the standard library.
"""

import io
import os
import select
import sys
from contextlib import suppress
from typing import Any, TextIO


def make_streams_safe() -> None:
    """Replace this process's standard streams by some that never raise; ``lost_output`` tells what became of stdout.

    - A stream that is closed (``>&-``) becomes the null device. Otherwise the next file that is opened would take its
      number, and libraries would write their messages into it.
    - When the reader of a pipe has ended (``| head -1``), what is written then goes nowhere, and the work goes on.
    - What cannot be written because the disk is full is lost, and remembered.
    """
    for number in (0, 1, 2):
        _open_null_device_at(number)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    with suppress(AttributeError):  # a stream of another kind
        sys.stdin.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]  # names of files in any encoding
    sys.stdout, sys.stderr = _safe(sys.stdout, 1), _safe(sys.stderr, 2)


def lost_output() -> str | None:
    """Why not everything reached stdout, although there was a reader; None: everything did."""
    with suppress(AttributeError):
        sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.failure if isinstance(raw, _SafeFile) else None


def _open_null_device_at(number: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        handle = os.open(os.devnull, os.O_RDWR)
        if handle != number:
            os.dup2(handle, number)
            os.close(handle)
        os.set_inheritable(number, True)


def _safe(stream: Any, number: int) -> TextIO:
    if stream is not None:
        with suppress(OSError, ValueError):
            stream.flush()
    buffer = io.BufferedWriter(_SafeFile(number))
    return io.TextIOWrapper(
        buffer,
        encoding=getattr(stream, "encoding", None) or "utf-8",
        errors="backslashreplace",
        line_buffering=getattr(stream, "line_buffering", number == 2),
        write_through=getattr(stream, "write_through", False),
    )


class _SafeFile(io.RawIOBase):
    """A file descriptor to which writing never fails.

    Attributes:
        failure: Why something could not be written; a reader that has ended is no failure.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._reader_ended = False
        self.failure: str | None = None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def write(self, data: Any) -> int:
        """Write all of ``data``, or lose it."""
        view = memoryview(data).cast("B")
        while view and not self._reader_ended and self.failure is None:
            try:
                view = view[os.write(self._number, view) :]
            except BlockingIOError:
                select.select([], [self._number], [])
            except BrokenPipeError:
                self._reader_ended = True
            except OSError as error:
                self.failure = error.strerror or str(error)
        return memoryview(data).nbytes
