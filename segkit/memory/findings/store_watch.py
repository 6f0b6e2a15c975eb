"""The line that stores into a container, found by watching the container.

For a few steps a trace function runs in the user's functions (not in those of libraries) and checks at every line
whether the container has grown. That finds the line whatever the container is called there. Where nothing is stored any
more, the source is searched (``source_lines``).
"""

import inspect
import sys
import time
import traceback
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

from segkit.memory.measure.user_code import USER_CODE, Line, line_of

_STORES_SEEN = 4
_SECONDS, _STEPS = 3.0, 4  # of processor time, and steps, after which a watch that has found nothing ends
_UNSEEN = 3  # steps in which a container grew, and no line of the user's code was seen storing: a library does it


@dataclass(slots=True)
class _Watched:
    """A container, and what was seen of it.

    Attributes:
        container: The container.
        length: Its length at the last line.
        entry: Gives its newest entries.
        at_step: Its length at the end of the last step.
        stores: How often it was seen growing.
        unseen: In how many steps it grew and was not seen.
    """

    container: Any
    length: int
    entry: Callable[[int], Any] | None
    at_step: int
    stores: int = 0
    unseen: int = 0


class StoreWatch:
    """Watches containers, to find the lines that make them longer.

    Attributes:
        found: The line, by the name under which the container is watched.
        made: The line that made what was stored, where tracemalloc knows it.
        active: Whether the trace function is installed.
    """

    def __init__(self) -> None:
        self.found: dict[str, Line] = {}
        self.made: dict[str, Line] = {}
        self._watched: dict[str, _Watched] = {}
        self._last: Line | None = None
        self._until, self._steps = 0.0, 0
        self._owns_tracemalloc = False
        self.active = False

    def watch(
        self, name: str, container: Any, entry: Callable[[int], Any] | None = None, seconds: float = _SECONDS
    ) -> None:
        """Watch a container from now on.

        Args:
            name: The key for ``found`` and ``made``.
            container: The container.
            entry: Gives the newest entries by index, from 0 on; then the lines that made them are searched as well.
            seconds: Processor time for which it is watched, or for four steps if these take longer.
        """
        if name not in self.found and name not in self._watched:
            self._watched[name] = _Watched(container, len(container), entry, len(container))
            self._start(seconds)

    def _start(self, seconds: float) -> None:
        until = time.thread_time() + seconds
        self._until, self._steps = max(until, self._until) if self.active else until, 0
        if self.active or sys.gettrace() is not None:  # a debugger or a coverage tool is at work
            return
        self.active = True
        if any(each.entry is not None for each in self._watched.values()) and not tracemalloc.is_tracing():
            tracemalloc.start(12)
            self._owns_tracemalloc = True
        for frame, _ in traceback.walk_stack(sys._getframe()):
            if USER_CODE.owns(frame.f_code.co_filename) and frame.f_trace is None:
                frame.f_trace = self._in_frame
        self._last = None
        sys.settrace(self._on_call)

    def clear_copies(self) -> None:
        """At the end of a step, before it is measured: clear the copies of local variables, which keep tensors."""
        if self.active:
            self._empty_copies(sys._getframe())

    def stop_when_done(self) -> None:
        """Between steps: end a watch that has found all lines, or has waited long enough."""
        self._steps += 1
        for name, watched in list(self._watched.items()):
            length = _length(watched.container)
            watched.unseen += length > watched.at_step and name not in self.found
            watched.at_step = length
            if watched.unseen >= _UNSEEN:
                del self._watched[name]
        if self.active and self._watched and (time.thread_time() < self._until or self._steps < _STEPS):
            return
        self.stop()

    def stop(self) -> None:
        """Watch no more. Do not call it from a trace function: Python writes local variables back after that."""
        if sys.gettrace() == self._on_call:
            sys.settrace(None)
        if self.active:
            self._empty_copies(sys._getframe(), leave=True)
        self.active = False
        if self._owns_tracemalloc:
            tracemalloc.stop()
            self._owns_tracemalloc = False
        self._watched.clear()

    def _empty_copies(self, top: FrameType, leave: bool = False) -> None:
        """Clear the copies that tracing made of local variables, or they would keep the step's tensors."""
        for frame, _ in traceback.walk_stack(top):
            if frame.f_trace == self._in_frame:
                if leave:
                    frame.f_trace = None
                if sys.version_info < (3, 13) and frame.f_code.co_flags & inspect.CO_OPTIMIZED:
                    frame.f_locals.clear()

    def _on_call(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not USER_CODE[frame.f_code.co_filename] or not self.active:  # of all calls, most are a library's
            return None
        self._check_lengths()
        self._last = line_of(frame)
        return self._in_frame

    def _in_frame(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not self.active:
            return None
        self._check_lengths()
        at: FrameType | None = frame if event != "return" else frame.f_back
        while at is not None and not USER_CODE.owns(at.f_code.co_filename):
            at = at.f_back
        if at is not None:
            self._last = line_of(at)
        return self._in_frame

    def _check_lengths(self) -> None:
        """Check whether a container has grown since the last line."""
        for name, watched in list(self._watched.items()):
            length = _length(watched.container)
            if length > watched.length and self._last is not None:
                self.found.setdefault(name, self._last)
                if self._knows_maker(name, watched):
                    del self._watched[name]
            watched.length = length
        if not self._watched:
            sys.settrace(None)  # stop_when_done does the rest

    def _knows_maker(self, name: str, watched: _Watched) -> bool:
        """Whether the line that made what is stored is known, or cannot be found.

        What is stored may have been made before the watch, or be filled by another thread after it was stored: so
        tracemalloc is asked for the entry before the newest one as well, and again at the next few stores.
        """
        if watched.entry is None:
            return True
        watched.stores += 1
        for index in (0, 1)[: watched.stores]:
            made = _made_at(watched.entry(index))
            if made is not None:
                self.made[name] = made
                if made != self.found[name]:
                    return True
        return watched.stores >= _STORES_SEEN


def _length(container: Any) -> int:
    try:
        return len(container)
    except Exception:  # the user's own
        return -1


def _made_at(item: Any) -> Line | None:
    """The user's line that made an object, from tracemalloc."""
    trace = tracemalloc.get_object_traceback(item)
    for frame in reversed(trace or ()):
        if USER_CODE.owns(frame.filename):
            return Line(frame.filename, frame.lineno, "")
    return None
