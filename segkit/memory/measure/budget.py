"""How much processor time the searches of a session may take, so that a profiled run takes hardly longer."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SECONDS, _SHARE = 2.0, 0.05


class Budget:
    """Two seconds, and a twentieth of what the training has taken besides; what is too much waits for a later step.

    Attributes:
        spent: Seconds that were spent so far.
    """

    def __init__(self, clock: Callable[[], float] = time.process_time) -> None:
        """Nothing is spent yet.

        Args:
            clock: Seconds of processor time since some moment; other programs on the machine do not count.
        """
        self._clock, self._began, self.spent = clock, clock(), 0.0

    @property
    def is_left(self) -> bool:
        """Whether there is time for another search."""
        training = self._clock() - self._began - self.spent
        return self.spent < _SECONDS + _SHARE * training

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Count what the block takes."""
        began = self._clock()
        try:
            yield
        finally:
            self.spent += self._clock() - began
