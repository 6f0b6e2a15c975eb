"""Progress reports: the interface that the core calls, and that the command line implements.

There, it is Rich on a terminal and plain lines elsewhere; ``SILENT`` is for library use, for tests, and for all ranks
but the first.
"""

from typing import Protocol


class Progress(Protocol):
    """Shows the progress of one task after another."""

    def start(self, description: str, total: int | None) -> None:
        """Begin a task of ``total`` units (None: unknown)."""

    def advance(self, count: int = 1, **figures: str) -> None:
        """Report ``count`` more units done, with values to show next to the bar."""

    def done(self) -> None:
        """End the task."""

    def note(self, message: str) -> None:
        """Print a line."""


class _Silent:
    """Shows nothing."""

    def start(self, description: str, total: int | None) -> None:
        pass

    def advance(self, count: int = 1, **figures: str) -> None:
        pass

    def done(self) -> None:
        pass

    def note(self, message: str) -> None:
        pass


SILENT: Progress = _Silent()


class NotesOnly(_Silent):
    """Prints notes only: a task inside another must not replace its bar."""

    def __init__(self, listener: Progress) -> None:
        self._listener = listener

    def note(self, message: str) -> None:
        """See ``Progress``."""
        self._listener.note(message)
