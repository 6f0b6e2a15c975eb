"""Progress reports: the interface that the core calls, and that the command line implements.

There, it is Rich on a terminal and plain lines elsewhere; ``SILENT`` is for library use, for tests, and for all ranks
but the first.
"""


class Progress:
    """Shows the progress of one task after another; this one shows nothing."""

    def start(self, description: str, total: int | None) -> None:
        """Begin a task of ``total`` units (None: unknown)."""

    def advance(self, count: int = 1, **figures: str) -> None:
        """Report ``count`` more units done, with values to show next to the bar."""

    def done(self) -> None:
        """End the task."""

    def note(self, message: str) -> None:
        """Print a line."""


SILENT = Progress()


class NotesOnly(Progress):
    """Prints notes only: a task inside another must not replace its bar."""

    def __init__(self, listener: Progress) -> None:
        self._listener = listener

    def note(self, message: str) -> None:
        """See ``Progress``."""
        self._listener.note(message)
