"""How long a picture takes, by phase."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

PHASES = ("read", "resize", "model", "encode", "write")
"""Decoding the file, resizing for the model, the model, masks and choice of instances, files."""


class Phases:
    """Seconds that one picture took.

    Attributes:
        seconds: By the names in ``PHASES``.
    """

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PHASES, 0.0)

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Add the time of the block to a phase."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[phase] += time.perf_counter() - began
