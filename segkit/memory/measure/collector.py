"""Python's garbage collector: it must run as often as without the tool."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """Switch the collector off while a list of the tool's holds all objects that it knows.

    A collection at that time would find everything in use, and move it to an older generation, where garbage stays
    longer.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class CollectorBalance:
    """Keeps the tool's own objects from making the collector run more often.

    Python collects garbage when the objects made exceed those freed by some number. If the tool's objects counted,
    garbage in cycles would be freed sooner than without the tool. So for each of them that stays, a spare one is freed.
    """

    _SPARES = 20_000

    def __init__(self) -> None:
        self._spares: list[list[None]] = []

    def compensate(self, count: int) -> None:
        """Free as many spare objects."""
        if count <= 0:
            return
        if len(self._spares) < count:
            with collector_paused():
                self._spares += [[] for _ in range(max(self._SPARES, count))]
        del self._spares[-count:]
