"""How much processor time the searches of a session may take, so that a profiled run takes hardly longer.

Two seconds for the searches, two for the censuses, and for each a twentieth of what the training has taken besides. A
search that needs longer ends in the midst, and goes on in a later step with what it has not found.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SECONDS, _SHARE = 2.0, 0.05


class Deadline:
    """When a search has to end, in processor time of this thread: a busy machine does not change what is found."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.thread_time) -> None:
        """Begin to count; ``seconds`` from now on."""
        self._clock, self._until = clock, clock() + seconds

    @property
    def left(self) -> float:
        """Seconds until then; negative where it is over."""
        return self._until - self._clock()

    @property
    def is_over(self) -> bool:
        """Whether it is over."""
        return self.left <= 0


class Budget:
    """Two seconds, and a twentieth of what the training has taken besides.

    Attributes:
        spent: Seconds that were spent so far.
        times: How often something was.
    """

    def __init__(self, clock: Callable[[], float] = time.process_time) -> None:
        """Nothing is spent yet.

        Args:
            clock: Seconds of processor time since some moment; other programs on the machine do not count.
        """
        self._clock, self._began, self.spent, self.times = clock, clock(), 0.0, 0

    def left(self, reserve: float = 0.0, least: float = 0.0) -> float:
        """Seconds that there are for another search in this step; 0 where there are none.

        Args:
            reserve: Seconds that are kept for something more important.
            least: Seconds that there are in any case.
        """
        training = self._clock() - self._began - self.spent
        return max(least, min(_SECONDS, _SECONDS + _SHARE * training - self.spent - reserve))

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Count what the block takes, and that it was done."""
        began = self._clock()
        try:
            yield
        finally:
            self.spent += self._clock() - began
            self.times += 1
