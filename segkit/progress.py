"""How the core says how far it is, without knowing who listens.

The shell implements ``Progress`` with Rich on a terminal and with plain lines elsewhere; ``SILENT`` is for
library use, for tests, and for all ranks but the first.
"""

from typing import Protocol


class Progress(Protocol):
    """A listener for one stretch of work after another."""

    def start(self, description: str, total: int | None) -> None:
        """Begin a stretch of ``total`` units (None: unknown)."""

    def advance(self, count: int = 1, **figures: str) -> None:
        """Report ``count`` more units done, with figures to show beside them."""

    def done(self) -> None:
        """End the stretch."""

    def note(self, message: str) -> None:
        """Tell the user something that stays on the screen."""


class _Silent:
    """Listens to nothing."""

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
    """Passes on notes, where a stretch within another would take its bar away."""

    def __init__(self, listener: Progress) -> None:
        self._listener = listener

    def note(self, message: str) -> None:
        """See ``Progress``."""
        self._listener.note(message)
