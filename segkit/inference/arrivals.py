"""Pictures that arrive in watched folders: those that are complete, in the order of their arrival.

The system tells of changes (the package ``watchfiles``). Network drives do not tell, and a queue of the system may
overflow: so now and then the folders are looked through as well.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from segkit.data.complete import check_complete
from segkit.data.files import is_file
from segkit.data.pictures import PICTURE_SUFFIXES, read_header
from segkit.data.read_file import VIDEO_SUFFIXES
from segkit.errors import ConfigError, InputError
from segkit.extras import extra_package
from segkit.inference.input_files import find_pictures

LOOK_SECONDS = 30.0  # between two looks through the folders
GIVE_UP_SECONDS = 60.0  # a file that is not complete and has not changed for so long will not be
_SLOW_SECONDS = 5.0  # the same, where the system tells nothing
_TICK_MILLISECONDS = 250

_Signature = tuple[int, int, int]


class Arrival(NamedTuple):
    """A complete picture.

    Attributes:
        path: The file.
        name: Relative to its folder.
        at: When it was last seen to change, as ``time.monotonic`` counts; None: it was there before the watch began.
        why: What is wrong with a file that does not become complete; None: it is complete.
    """

    path: Path
    name: str
    at: float | None
    why: str | None = None


@dataclass(slots=True)
class _Waiting:
    """A file that may still be written."""

    name: str
    signature: _Signature
    since: float
    was_there: bool
    look_at: float = 0.0  # when it is looked at whether it is complete: ever more rarely


class Arrivals:
    """Watches folders in a thread."""

    def __init__(self, folders: Sequence[str], out: Path, done: frozenset[Path], settle: float) -> None:
        """Find what is there.

        Args:
            folders: Watched with all folders in them.
            out: The folder of the predictions, which is not watched.
            done: Files that need not be predicted.
            settle: Seconds for which a file must not change.

        Raises:
            ConfigError: One of them is no folder, or is the output folder.
            InputError: The package is not installed.
        """
        self._watch: Any = extra_package("watchfiles", "--watch", "watch").watch
        self._roots = {Path(folder).absolute(): Path(folder) for folder in folders}
        for folder in map(Path, folders):
            if not folder.is_dir():
                raise ConfigError(f"--watch {folder}: not a folder", "name folders: what arrives in them is predicted")
            if folder.resolve() == out.resolve():
                raise ConfigError(f"--watch {folder}: is --out, too", "name another folder for the results: --out")
        self._folders, self._out, self._settle = list(folders), out, settle
        self._seen: dict[Path, _Signature | None] = dict.fromkeys(done)
        self._given_up: dict[Path, _Signature] = {}  # not complete; they may become so
        self._waiting: dict[Path, _Waiting] = {}
        self._ready: list[Arrival] = []
        self._notes: list[str] = []
        self._changed = threading.Condition()
        self._ended = threading.Event()
        self._failure: BaseException | None = None
        self._look(was_there=True)
        self._thread = threading.Thread(target=self._run, name="arrivals", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Watch no longer."""
        self._ended.set()
        self._thread.join(5.0)

    @property
    def waiting(self) -> int:
        """Complete pictures that nobody has taken, and files that may still be written."""
        return len(self._ready) + len(self._waiting)

    def unfinished(self) -> list[str]:
        """The names of files that may still be written."""
        return sorted(each.name for each in list(self._waiting.values()))

    def take(self, most: int, seconds: float) -> list[Arrival]:
        """The next complete pictures; none where none comes in time.

        Args:
            most: How many at most.
            seconds: How long to wait for the first.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._failure, seconds)
            if self._failure is not None:
                raise self._failure
            taken, self._ready = self._ready[:most], self._ready[most:]
            return taken

    def notes(self) -> list[str]:
        """What is to be said since the last call."""
        with self._changed:
            said, self._notes = self._notes, []
            return said

    def _run(self) -> None:
        try:
            looked = time.monotonic()
            for changes in self._changes():
                for path in sorted({path for _, path in changes}):
                    self._consider(Path(path))
                # The system tells of a new folder, and not of what came into it before it was watched.
                is_new = any(kind.name == "added" and Path(path).is_dir() for kind, path in changes)
                if is_new or time.monotonic() - looked >= LOOK_SECONDS:
                    self._look()
                    looked = time.monotonic()
                self._settled()
        except BaseException as error:  # raised where the pictures are taken
            with self._changed:
                self._failure = error
                self._changed.notify_all()

    def _changes(self) -> Iterator[set[tuple[Any, str]]]:
        """What the system tells, and nothing now and then; where it tells nothing, what looking finds."""
        watched = self._watch(
            *self._roots, watch_filter=None, debounce=_TICK_MILLISECONDS, rust_timeout=_TICK_MILLISECONDS,
            yield_on_timeout=True, stop_event=self._ended, raise_interrupt=False, ignore_permission_denied=True,
        )  # fmt: skip
        try:
            yield from watched
        except (OSError, RuntimeError) as error:  # too many folders for the system, or one that has gone
            self._say(f"the system does not tell of changes ({error}): looking every {_SLOW_SECONDS:g} s")
        while not self._ended.wait(_SLOW_SECONDS):
            self._look()
            yield set()

    def _say(self, text: str) -> None:
        with self._changed:
            self._notes.append(text)

    def _look(self, *, was_there: bool = False) -> None:
        """Look through the folders."""
        try:
            found = find_pictures(self._folders, self._out, (), may_be_none=True, videos=True)
        except (InputError, OSError) as error:  # a folder has gone, perhaps for a moment
            self._say(f"warning: {error.message if isinstance(error, InputError) else error}")
            return
        for path, name in found.items():
            self._add(path, name, was_there)

    def _consider(self, path: Path) -> None:
        """Look at a file of which the system told."""
        if path.suffix.lower() not in PICTURE_SUFFIXES | VIDEO_SUFFIXES:
            return
        for root, folder in self._roots.items():
            if not path.is_relative_to(root):
                continue
            inside = path.relative_to(root)
            hidden = any(part.startswith(".") for part in inside.parts)
            if not hidden and is_file(path) and not path.resolve().is_relative_to(self._out.resolve()):
                self._add(folder / inside, inside.as_posix(), False)
            return

    def _add(self, path: Path, name: str, was_there: bool) -> None:
        if (signature := _signature(path)) is None:
            return
        if path.suffix.lower() in VIDEO_SUFFIXES:
            if path not in self._seen:
                self._seen[path] = None  # said once
                self._say(f"warning: {name}: is a video, which is not watched: segkit predict {path}")
            return
        if self._given_up.get(path) == signature:
            return
        if path in self._seen:
            before = self._seen[path]
            if before is not None and before != signature and before[0] >= 0:
                self._seen[path] = (-1, 0, 0)  # said once
                self._say(f"warning: {name}: has changed since it was predicted, and is not predicted again")
            return
        waiting = self._waiting.get(path)
        if waiting is None or waiting.signature != signature:
            self._waiting[path] = _Waiting(name, signature, time.monotonic(), was_there)

    def _settled(self) -> None:
        """Let pass what has not changed for a while and is complete."""
        for path, waiting in list(self._waiting.items()):
            now, signature = time.monotonic(), _signature(path)
            if signature is None:  # it has gone
                del self._waiting[path]
                continue
            if signature != waiting.signature:
                self._waiting[path] = _Waiting(waiting.name, signature, now, waiting.was_there)
                continue
            unchanged = now - waiting.since
            if unchanged < self._settle or now < waiting.look_at:
                continue
            if (why := _incomplete(path)) is not None and unchanged < max(GIVE_UP_SECONDS, self._settle):
                waiting.look_at = now + unchanged / 4
                continue
            del self._waiting[path]
            if why is None:
                self._seen[path] = signature
            else:
                self._given_up[path] = signature
            with self._changed:
                at = None if waiting.was_there else waiting.since
                self._ready.append(Arrival(path, waiting.name, at, why))
                self._changed.notify_all()


def _signature(path: Path) -> _Signature | None:
    """Changes when a file is written; None: there is no such file."""
    try:
        where = path.stat()
    except (OSError, ValueError):
        return None
    return where.st_size, where.st_mtime_ns, where.st_ino


def _incomplete(path: Path) -> str | None:
    """Why a file is not a complete picture; None: it is one."""
    try:
        check_complete(path, str(path), read_header(path).format)
    except InputError as error:
        return error.message
    except OSError as error:
        return f"{path}: {error.strerror}"
    return None
