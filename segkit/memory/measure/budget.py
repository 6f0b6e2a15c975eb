"""How much processor time the searches of a session may take, so that a profiled run takes hardly longer."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SECONDS, _SHARE = 2.0, 0.05


class Budget:
    """Two seconds, and a twentieth of what the training has taken besides; what is too much waits for a later step.

    Attributes:
        spent: Seconds that were spent so far.
        times: How often something was.
    """

    def __init__(self, least: int = 0, clock: Callable[[], float] = time.process_time) -> None:
        """Nothing is spent yet.

        Args:
            least: So often there is time left in any case: without, a short run of a large program has no verdict.
            clock: Seconds of processor time since some moment; other programs on the machine do not count.
        """
        self._least, self._clock, self._began, self.spent, self.times = least, clock, clock(), 0.0, 0

    @property
    def is_left(self) -> bool:
        """Whether there is time for another search."""
        training = self._clock() - self._began - self.spent
        return self.times < self._least or self.spent < _SECONDS + _SHARE * training

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Count what the block takes."""
        began = self._clock()
        try:
            yield
        finally:
            self.spent += self._clock() - began
            self.times += 1
