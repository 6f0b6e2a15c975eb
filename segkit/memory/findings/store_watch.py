"""The line that stores into a container, found by watching the container.

For a few steps a trace function runs in the user's functions (not in those of libraries) and checks at every line
whether the container has grown. That finds the line whatever the container is called there. Where nothing is stored any
more, the source is searched (``source_lines``).
"""

import inspect
import sys
import time
import tracemalloc
from collections.abc import Callable
from types import FrameType
from typing import Any

from segkit.memory.measure.user_code import USER_CODE, Line

_STORES_SEEN = 4
_SECONDS = 20.0  # of processor time, after which a watch that has found nothing ends


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
        self._watched: dict[str, Any] = {}
        self._lengths: dict[str, int] = {}
        self._entries: dict[str, Callable[[int], Any]] = {}
        self._seen: dict[str, int] = {}
        self._last: Line | None = None
        self._until = 0.0
        self._owns_tracemalloc = False
        self.active = False

    def watch(self, name: str, container: Any, entry: Callable[[int], Any] | None = None) -> None:
        """Watch a container from now on.

        Args:
            name: The key for ``found`` and ``made``.
            container: The container.
            entry: Gives the newest entries by index, from 0 on; then the lines that made them are searched as well.
        """
        if name in self.found or name in self._watched:
            return
        self._watched[name], self._lengths[name] = container, len(container)
        if entry is not None:
            self._entries[name] = entry
        self._start()

    def _start(self) -> None:
        self._until = time.thread_time() + _SECONDS
        if self.active or sys.gettrace() is not None:  # a debugger or a coverage tool is at work
            return
        self.active = True
        if self._entries and not tracemalloc.is_tracing():
            tracemalloc.start(12)
            self._owns_tracemalloc = True
        frame: FrameType | None = sys._getframe()
        while frame is not None:
            if USER_CODE.owns(frame.f_code.co_filename) and frame.f_trace is None:
                frame.f_trace = self._in_frame
            frame = frame.f_back
        self._last = None
        sys.settrace(self._on_call)

    def clear_copies(self) -> None:
        """At the end of a step, before it is measured: clear the copies of local variables, which keep tensors."""
        if self.active:
            self._empty_copies(sys._getframe())

    def stop_when_done(self) -> None:
        """Between steps: end a watch that has found all lines, or has waited long enough."""
        if self.active and self._watched and time.thread_time() < self._until:
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
        self._entries.clear()
        self._seen.clear()

    def _empty_copies(self, frame: FrameType | None, leave: bool = False) -> None:
        """Clear the copies that tracing made of local variables, or they would keep the step's tensors."""
        while frame is not None:
            if frame.f_trace == self._in_frame:
                if leave:
                    frame.f_trace = None
                if sys.version_info < (3, 13) and frame.f_code.co_flags & inspect.CO_OPTIMIZED:
                    frame.f_locals.clear()
            frame = frame.f_back

    def _on_call(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not self.active or not USER_CODE.owns(frame.f_code.co_filename):
            return None
        self._look()
        self._last = Line(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
        return self._in_frame

    def _in_frame(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not self.active:
            return None
        self._look()
        if event == "return":
            caller = frame.f_back
            while caller is not None and not USER_CODE.owns(caller.f_code.co_filename):
                caller = caller.f_back
            if caller is not None:
                self._last = Line(caller.f_code.co_filename, caller.f_lineno, caller.f_code.co_name)
        else:
            self._last = Line(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
        return self._in_frame

    def _look(self) -> None:
        """Check whether a container has grown since the last line."""
        for name, container in list(self._watched.items()):
            try:
                length = len(container)
            except Exception:
                length = -1
            if length > self._lengths[name] and self._last is not None:
                self.found.setdefault(name, self._last)
                if self._knows_maker(name):
                    del self._watched[name]
            self._lengths[name] = length
        if not self._watched:
            sys.settrace(None)  # stop_when_done does the rest

    def _knows_maker(self, name: str) -> bool:
        """Whether the line that made what is stored is known, or cannot be found.

        What is stored may have been made before the watch, or be filled by another thread after it was stored: so the
        entry before the newest one is asked, too, and a few more of those that follow.
        """
        entry = self._entries.get(name)
        if entry is None:
            return True
        self._seen[name] = self._seen.get(name, 0) + 1
        for index in (0, 1)[: self._seen[name]]:
            made = _made_at(entry(index))
            if made is not None:
                self.made[name] = made
                if made != self.found[name]:
                    return True
        return self._seen[name] >= _STORES_SEEN


def _made_at(item: Any) -> Line | None:
    """The user's line that made an object, from tracemalloc."""
    trace = tracemalloc.get_object_traceback(item)
    for frame in reversed(trace or ()):
        if USER_CODE.owns(frame.filename):
            return Line(frame.filename, frame.lineno, "")
    return None
