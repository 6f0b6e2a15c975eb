"""Errors that a user can cause or mend, and exit codes.

SegkitError
 ├── InputError     a file or folder is missing, unreadable, or not what it claims to be
 ├── ConfigError    the options contradict each other or the data
 ├── DeviceError    the device is missing, full, or failed
 └── Interrupted    the user pressed Ctrl-C

The core raises; ``segkit.cli.main`` prints ``error:`` and ``hint:`` and ends with the exit code. Anything
else that reaches the shell is a bug in segkit and keeps its traceback.
"""

from typing import Self

from segkit.text import without_addresses

DONE, FAILED, USAGE, FINDINGS, NO_FIT, INCONCLUSIVE, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130
"""Exit codes of every command (``docs/cli.md``)."""


class SegkitError(Exception):
    """A failure with its remedy.

    Attributes:
        message: ``where: what is wrong``, lower case, no full stop.
        hint: what the user can do about it, or None.
        everywhere: whether every rank of a run raises it, so that they can still save a checkpoint together.
    """

    exit_code = FAILED
    everywhere = False

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(without_addresses(message))
        self.message = without_addresses(message)
        self.hint = hint

    @property
    def with_hint(self) -> str:
        """Message and hint in one line."""
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def why(self, *names: object) -> str:
        """Message and hint for a row of a report that names the file itself: without one of the names at the front."""
        found = next((name for name in names if self.message.startswith(f"{name}: ")), None)
        return self.with_hint if found is None else self.with_hint.removeprefix(f"{found}: ")

    def __reduce__(self) -> tuple[type[Self], tuple[str, str | None]]:
        # Errors cross process borders (loader workers, ranks); the default would lose the hint.
        return type(self), (self.message, self.hint)


class InputError(SegkitError):
    """A file or folder is missing, unreadable, or not what it claims to be."""


class ConfigError(SegkitError):
    """The options contradict each other or the data."""


class DeviceError(SegkitError):
    """The device is missing, full, or failed."""


class Interrupted(SegkitError):
    """The user pressed Ctrl-C."""

    exit_code = INTERRUPTED
