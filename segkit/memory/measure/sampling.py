"""Which steps are followed tensor by tensor: all at first; later, where that is costly, one in some.

A dispatch mode costs some microseconds for each operation, however short that is. In a training of many small
operations this is a large part of the time. After many more steps than a verdict takes, two steps are left out, to see
what following costs. From then on so many are left out that it costs an eighth on average. What survives is judged by
the steps that were followed, as if there were no others: a leak keeps something of each of them.

A step that evaluates, or has a larger input than any before, is followed from there on in any case. On a device whose
allocator has counters, these are read in every step.
"""

import time
from collections import deque
from collections.abc import Callable
from statistics import median

from segkit.memory.measure.host import malloc_in_use
from segkit.memory.measure.tracker import LiveTensors

_FIRST = 150  # steps that are followed in any case; a verdict takes 24, and what is added rarely takes longer
_TRIAL = 2  # steps that are left out after them, to see what following costs
_SHARE = 0.125  # of a step's time, which following may take on average
_MOST_APART = 12  # steps from one that is followed to the next
_AFTER = 4  # steps that are followed after these, to see what was kept until then
_UNDECIDED = {"watch": 200, "kept": 300}
"""Followed steps after which what is undecided does not prevent this any more (see ``Survivors.undecided``)."""
_EVALUATIONS = 40  # that are followed in any case


class Sampling:
    """Decides it, step by step.

    Attributes:
        full: Steps that were followed.
        light: Steps that were left out.
    """

    def __init__(self, tensors: LiveTensors, clock: Callable[[], float] = time.process_time) -> None:
        """Follow the first steps.

        Args:
            tensors: Follows them.
            clock: Seconds of processor time since some moment.
        """
        self.full = self.light = 0
        self._tensors, self._clock, self._began = tensors, clock, clock()
        self._seconds: dict[str, deque[float]] = {"full": deque(maxlen=9), "light": deque(maxlen=9)}
        self._is_whole, self._left_out = True, 0
        self._evaluations = 0
        self._largest = {False: 0, True: 0}  # input, and that of evaluations
        self._host_bytes: tuple[int, int] | None = None

    def restart(self) -> None:
        """What was counted until now were no steps."""
        self.wake()
        self.full = self.light = 0
        for each in self._seconds.values():
            each.clear()

    @property
    def share(self) -> float | None:
        """What following takes, as a share of the time of a step that is not followed; None before that was tried."""
        full, light = self._seconds["full"], self._seconds["light"]
        if not full or not light or median(light) <= 0:
            return None
        return max(0.0, median(full) / median(light) - 1)

    @property
    def seconds(self) -> float | None:
        """Processor time that following has taken so far, as estimated from steps with and without it."""
        return None if self.share is None else self.full * self.share * median(self._seconds["light"])

    def end_step(self, *, plain: bool) -> bool:
        """Note that a step ends; whether it was followed, at least in part.

        Args:
            plain: Whether it did nothing but train: then its time is compared with that of others.
        """
        kind = "light" if self._tensors.resting else "full"
        if self._is_whole and (plain or self._evaluations >= _EVALUATIONS):
            self._seconds[kind].append(self._clock() - self._began)
        self.full += kind == "full"
        self.light += kind == "light"
        self._left_out = self._left_out + 1 if kind == "light" else 0
        return kind == "full"

    def begin_step(self, *, may_rest: bool, undecided: Callable[[], str | None]) -> None:
        """Decide whether the step that begins is followed.

        Args:
            may_rest: Whether steps can be left out.
            undecided: Tells what has to be followed further: a key of ``_UNDECIDED``, or nothing.
        """
        if not may_rest or self._is_due(undecided):
            self.wake()
        elif not self._tensors.resting and self._tensors.rest():
            in_use = malloc_in_use()
            self._host_bytes = None if in_use is None else (in_use, self._tensors.on_host)
        self._is_whole, self._began = True, self._clock()

    def _is_due(self, undecided: Callable[[], str | None]) -> bool:
        if self.full < _FIRST:
            return True
        if len(self._seconds["light"]) < _TRIAL:  # those that evaluate do not count
            return self._left_out >= _MOST_APART
        if self.full < _FIRST + _AFTER:
            return True
        share = self.share or 0.0
        if share < _SHARE or self._left_out + 1 >= min(_MOST_APART, -(-share // _SHARE)):
            return True
        what = undecided()
        return what is not None and self.full < _UNDECIDED[what]

    def before_forward(self, *, is_evaluation: bool, elements: int) -> None:
        """Note that a model is about to run; from here on follow a step that must not be missed.

        Args:
            is_evaluation: Whether it runs without gradients.
            elements: Values that it is given.
        """
        is_larger = elements > self._largest[is_evaluation]
        self._largest[is_evaluation] = max(elements, self._largest[is_evaluation])
        if not self._tensors.resting:
            return
        if is_larger or (is_evaluation and self._evaluations < _EVALUATIONS):
            self._evaluations += is_evaluation
            self.wake()
            self._is_whole = False

    def wake(self) -> None:
        """Follow what comes."""
        if not self._tensors.resting:
            return
        self._tensors.resume()
        in_use = malloc_in_use()
        if self._host_bytes is not None and in_use is not None:  # tensors that nobody has seen are no native memory
            self._tensors.unseen += (in_use - self._host_bytes[0]) - (self._tensors.on_host - self._host_bytes[1])
        self._host_bytes = None
