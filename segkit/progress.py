"""Progress reports: the interface that the core calls, and that the command line implements.

There, it is Rich on a terminal and plain lines elsewhere; for callers from Python it is ``LOGGED``; ``SILENT`` is for
tests, and for all ranks but the first.
"""

import logging


class Progress:
    """Shows the progress of one task after another; this one shows nothing."""

    def start(self, description: str, total: int | None) -> None:
        """Begin a task of ``total`` units (None: unknown)."""

    def advance(self, count: int = 1, **figures: str) -> None:
        """Report ``count`` more units done, with values to show next to the bar."""

    def alive(self, doing: str) -> None:
        """Report what is being done within a unit, which may take long; the listener shows it now and then."""

    def done(self) -> None:
        """End the task."""

    def note(self, message: str) -> None:
        """Print a line."""


SILENT = Progress()


class Logged(Progress):
    """Gives notes to the logger ``segkit``: warnings, which Python prints on stderr by default, and information."""

    def note(self, message: str) -> None:
        """See ``Progress``."""
        said = message.removeprefix("warning: ")
        logging.getLogger("segkit").log(logging.INFO if said == message else logging.WARNING, "%s", said)


LOGGED = Logged()


class NotesOnly(Progress):
    """Prints notes, and shows that it is alive: a task inside another must not replace its bar."""

    def __init__(self, listener: Progress) -> None:
        self._listener = listener
        self._what, self._of, self._count = "", "", 0

    def start(self, description: str, total: int | None) -> None:
        """See ``Progress``."""
        self._what, self._of, self._count = description, "" if total is None else f"/{total}", 0

    def advance(self, count: int = 1, **figures: str) -> None:
        """See ``Progress``."""
        self._count += count
        self.alive(f"{self._what} {self._count}{self._of}")

    def alive(self, doing: str) -> None:
        """See ``Progress``."""
        self._listener.alive(doing)

    def note(self, message: str) -> None:
        """See ``Progress``."""
        self._listener.note(message)
