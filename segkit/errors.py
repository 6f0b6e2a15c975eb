"""Errors that a user can cause or mend, and exit codes.

SegkitError
 ├── InputError     a file or folder is missing, unreadable, or not what it claims to be
 ├── ConfigError    the options contradict each other or the data
 ├── DeviceError    the device is missing, full, or failed
 └── Interrupted    the user pressed Ctrl-C

The core raises; ``segkit.cli.main`` prints ``error:`` and ``hint:`` and ends with the exit code. Anything
else that reaches the shell is a bug in segkit and keeps its traceback.
"""

import errno
from typing import Self

from segkit.text import without_addresses

DONE, FAILED, USAGE, FINDINGS, NO_FIT, INCONCLUSIVE, RESTART, INTERRUPTED = 0, 1, 2, 3, 4, 5, 6, 130
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
        if hint is not None:
            self.add_note(f"hint: {hint}")  # in a traceback, too

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


_MEMORY_WORDS = (
    "out of memory", "can't allocate memory", "not enough memory", "Cannot allocate memory", "bad_alloc",
    "bad allocation", "Insufficient memory", "Failed to allocate memory", "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED", "failed to map segment",
    "can't start new thread", "Resource temporarily unavailable",  # threads need memory for their stacks
)  # fmt: skip


def tells_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, or what limits it.

    Python has a class for that; C++, the loader of shared libraries and the libraries below torch have only words.
    """
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError) and error.errno in (errno.ENOMEM, errno.EAGAIN):
        return True
    if isinstance(error, SegkitError) or not isinstance(error, Exception):
        return False
    cause = error.__cause__ or error.__context__  # an import that fails wraps the error of the library
    return any(words in str(error) for words in _MEMORY_WORDS) or (
        isinstance(error, ImportError) and cause is not None and tells_of_memory(cause)
    )


_MORE_MEMORY = "is there a limit (ulimit -v, that of a job or a container)? raise it, or use smaller images or batches"

_REMEDIES: dict[int | None, str] = {
    errno.ENOSPC: "the disk is full: free some space and run the same command again",
    errno.EDQUOT: "your quota is used up: free some space and run the same command again",
    errno.EACCES: "no permission to read or write there: choose another folder, or ask for access",
    errno.EPERM: "no permission to read or write there: choose another folder, or ask for access",
    errno.EROFS: "that file system cannot be written to: choose another folder",
    errno.ENOENT: "check the path",
    errno.EEXIST: "a folder is needed there, but there is a file: choose another name",
    errno.EISDIR: "a file is needed there, but there is a folder: choose another name",
    errno.ENOTDIR: "a folder is needed there, but there is a file: choose another name",
    errno.EFBIG: "files may not be that large there: is there a limit (ulimit -f)? raise it, or choose another disk",
    errno.EIO: "the disk or the network folder failed: try again, or choose another one",
    errno.ESTALE: "the network folder was changed or lost: try again, or choose another one",
    errno.ETIMEDOUT: "the network folder does not answer: try again, or choose another one",
    errno.ENAMETOOLONG: "choose a shorter name, or a folder nearer to the root",
    errno.ELOOP: "links there lead in a circle: name the folder itself",
    errno.EMFILE: "too many open files: raise the limit with ulimit -n, or use fewer --workers",
}


def user_error(error: Exception) -> SegkitError | None:
    """An exception of Python's or of a library's as what it tells the user; None where it is a fault of segkit's.

    Args:
        error: What was raised: the system gave no memory, or refused a file.
    """
    if isinstance(error, SegkitError):
        return None
    if tells_of_memory(error):
        why = next(iter(str(error).splitlines()), "") or "the system gives no more"
        return SegkitError(f"out of memory: {why}", _MORE_MEMORY)
    if isinstance(error, OSError) and (error.errno in _REMEDIES or error.filename is not None):
        return SegkitError(f"{error.filename or 'writing'}: {error.strerror}", _REMEDIES.get(error.errno))
    return None
