"""One process at a time writes to a folder."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from segkit.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_SECONDS_TO_LOCK = 60.0


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Keep other processes of segkit from writing to a folder, which need not exist yet.

    The lock is a file beside the folder. The system releases it when the process ends, however it ends; the file is
    removed at the end of the block, or after a kill by the next process.

    Raises:
        InputError: Another process is writing there.
    """
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 -- without following a link to the folder
    path = folder.parent / f".{folder.name}.lock"
    handle = _locked(path)
    if handle is None:
        raise InputError(f"{folder}: another segkit is writing there", "wait for its end, or choose another --out")
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        os.close(handle)


@contextmanager
def only_writer_in(folder: Path, hint: str) -> Iterator[None]:
    """Keep other processes of segkit from writing to a folder that exists; the folder itself is locked.

    Args:
        folder: The folder.
        hint: What to do when another process is writing there.

    Raises:
        InputError: Another process is writing there.
    """
    if fcntl is None:  # Windows opens no folders
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        if not _lock(handle):
            raise InputError(f"{folder}: another segkit is writing there", hint)
        yield
    finally:
        os.close(handle)


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Let one process of this machine at a time into the block, as where they write lines to one stream.

    Args:
        path: The file that is locked, which exists.
    """
    if fcntl is None:
        yield
        return
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def temporary_directory(prefix: str) -> Iterator[Path]:
    """A folder in the system's temporary folder; those of processes that were killed are removed first.

    Args:
        prefix: The begin of its name, different for each purpose.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with suppress(OSError):
            _remove_unlocked(left)
    with tempfile.TemporaryDirectory(prefix=prefix) as name, only_writer_in(Path(name), "wait for its end"):
        yield Path(name)


def _remove_unlocked(folder: Path) -> None:
    """Remove a folder that no process has locked, unless it is so new that its process may not have got to that."""
    if fcntl is None or time.time() - folder.stat().st_mtime < _SECONDS_TO_LOCK:
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(handle)


def _locked(path: Path) -> int | None:
    """An open and locked file; None where another process holds the lock."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        if not _lock(handle):
            os.close(handle)
            return None
        if _is_at(handle, path):
            return handle
        os.close(handle)  # the process that held it has removed it meanwhile


def _lock(handle: int) -> bool:
    """Lock an open file; returns False where another process holds the lock."""
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
