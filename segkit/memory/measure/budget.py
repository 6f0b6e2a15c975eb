"""How much processor time the searches of a session may take, so that a profiled run takes hardly longer.

Censuses of the containers, and searches for what holds something, have one budget: three seconds in all, of which two
for searches, and in a long run a hundredth of what the training has taken besides, where that is more. With two seconds
for both, a search had too little left after four censuses of a small script. A search that needs longer ends in the
midst, and goes on in a later step with what it has not found. A pass over the heap cannot end in the midst: it begins
only where there is as much time as the last one took. Searches leave enough for the first censuses, and later censuses
for a search.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

Kind = Literal["census", "search"]

_SECONDS, _SHARE = 3.0, 0.01
_OF_SEARCHES = 2.0  # seconds of these, at most
_FIRST_CENSUSES = 4  # that a container grows is seen in three, and that it has a bound in one more
_FOR_SEARCHES = 0.5  # seconds that later censuses leave


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
    """What all censuses and searches of a process may take together.

    Attributes:
        seconds: That each kind has taken so far.
        times: How often there was one of each kind.
        last_census: Seconds that the last census took: a pass over all objects.
    """

    def __init__(self, clock: Callable[[], float] = time.process_time, *, is_limited: bool = True) -> None:
        """Nothing is spent yet.

        Args:
            clock: Seconds of processor time since some moment; other programs on the machine do not count.
            is_limited: Whether there is an end; else only what is done at once is limited.
        """
        self._clock, self._began, self._is_limited = clock, clock(), is_limited
        self.seconds: dict[Kind, float] = {"census": 0.0, "search": 0.0}
        self.times: dict[Kind, int] = {"census": 0, "search": 0}
        self.last_census = 0.0

    @property
    def spent(self) -> float:
        """Seconds that were spent so far."""
        return sum(self.seconds.values())

    @property
    def _left(self) -> float:
        return self._left_of(_SECONDS, self.spent)

    def _left_of(self, most: float, spent: float) -> float:
        """Seconds that are left of so many; of as many at once, too."""
        if not self._is_limited:
            return most
        training = self._clock() - self._began - self.spent
        return min(most, max(most, _SHARE * training) - spent)

    @property
    def may_take_census(self) -> bool:
        """Whether there is time for a pass over all objects."""
        reserve = 0.0 if self.times["census"] < _FIRST_CENSUSES else _FOR_SEARCHES
        return not self._is_limited or self._left - reserve > self.last_census

    def for_search(self, reserve: float = 0.0) -> float:
        """Seconds that there are for a search in this step; 0 where they are too few for a pass over all objects.

        Args:
            reserve: Seconds that are kept for something more important.
        """
        left = self._beside_censuses(reserve)
        return left if left > self.last_census else 0.0

    @property
    def after_census(self) -> float:
        """Seconds that there are for what a census has shown: without a search, what grows would not be reported."""
        return self._beside_censuses(0.0)

    def _beside_censuses(self, reserve: float) -> float:
        left = max(0.0, self._left - reserve)
        for_censuses = max(0, _FIRST_CENSUSES - self.times["census"]) * self.last_census
        left -= min(for_censuses, left / 2)  # on a slow machine these would leave nothing
        return max(0.0, min(left, self._left_of(_OF_SEARCHES, self.seconds["search"]) - reserve))

    @contextmanager
    def spending(self, kind: Kind) -> Iterator[None]:
        """Count what the block takes, and that it was done."""
        began = self._clock()
        try:
            yield
        finally:
            took = self._clock() - began
            self.seconds[kind] += took
            self.times[kind] += 1
            if kind == "census":
                self.last_census = took
