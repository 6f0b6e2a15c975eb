"""Python's garbage collector, kept from noticing that the tool is at work."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """Let Python's collector rest while everything that it knows is in a list of ours.

    A collection at that time would find everything in use, and put off by generations what it should free.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class CollectorBalance:
    """Takes off the collector's count what the tool's own objects have added to it.

    Python collects garbage when so many more objects were made than freed. Were the tool's to count, garbage in cycles
    would be freed sooner than in the bare run; so for each of them that stays, a spare object is let go.
    """

    _SPARES = 20_000

    def __init__(self) -> None:
        self._spares: list[list[None]] = []

    def compensate(self, count: int) -> None:
        """Let go of as many spare objects."""
        if count <= 0:
            return
        if len(self._spares) < count:
            with collector_paused():
                self._spares += [[] for _ in range(max(self._SPARES, count))]
        del self._spares[-count:]
