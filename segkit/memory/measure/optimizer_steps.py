"""Steps of PyTorch's own optimisers, which need the same memory every time: only the first ones are followed.

On a CPU such a step is some ten operations for each parameter, and often half of all that a training dispatches. It
keeps nothing but the optimiser's state. So, when a few were followed, the dispatch mode steps aside for the others:
the peak rises as it did before, and what has come to the state is noted afterwards. Where the peak is looked at tensor
by tensor, they are followed as well.
"""

import sys
import threading
import weakref
from dataclasses import dataclass
from typing import Any

import torch

from segkit.memory.measure import torch_private as private
from segkit.memory.measure.tracker import LiveTensors

_FOLLOWED = 2  # steps of the same parameters and state
_OTHERS = ("LBFGS", "SparseAdam")  # that keep more with each step, or need what the gradients need


@dataclass(slots=True)
class _Seen:
    """What was seen of an optimiser.

    Attributes:
        size: Parameters, and those that have a state.
        times: Steps of this size that were followed.
        rise: Bytes by which memory rises in one.
    """

    size: tuple[int, int]
    times: int = 0
    rise: int = 0


class OptimizerSteps:
    """Decides which steps of optimisers are followed operation by operation.

    Attributes:
        aside: How many were not.
    """

    def __init__(self, tensors: LiveTensors) -> None:
        self.aside = 0
        self._tensors = tensors
        self._seen: weakref.WeakKeyDictionary[Any, _Seen] = weakref.WeakKeyDictionary()
        self._thread: int | None = None  # in which the mode is aside
        self._before: tuple[int, int] | None = None  # bytes in use, and the peak, before a step that is followed

    def begin(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """An optimiser is about to step; ``args`` and ``kwargs``: of its ``step``, itself the first of them."""
        self.follow()
        tensors = self._tensors
        self._before = None
        if tensors.resting or tensors.keep_peak or tensors.counted != "cpu" or not _is_plain(optimizer, args, kwargs):
            return
        seen, size = self._seen.get(optimizer), _size_of(optimizer)
        if seen is None or seen.size != size:
            seen = self._seen[optimizer] = _Seen(size)
        if seen.times >= _FOLLOWED and private.take_off(tensors):
            self._thread = threading.get_ident()
        else:
            self._before = tensors.allocated, tensors.peak
            tensors.peak = tensors.allocated

    def end(self, optimizer: Any) -> None:
        """It has stepped."""
        tensors, seen = self._tensors, self._seen.get(optimizer)
        was_aside = self.follow()
        if seen is None:
            return
        size = _size_of(optimizer)
        if was_aside:
            self.aside += 1
            tensors.peak = max(tensors.peak, tensors.allocated + seen.rise)
            if size != seen.size:
                self._note_state(optimizer)
        elif self._before is not None:
            allocated, peak = self._before
            seen.times += size == seen.size
            seen.rise = tensors.peak - allocated
            tensors.peak = max(tensors.peak, peak)
            self._before = None

    def follow(self) -> bool:
        """Follow operations again, also where a step has failed; whether they were not."""
        if self._thread != threading.get_ident():
            return False
        self._thread = None
        private.put_back(self._tensors)
        return True

    def _note_state(self, optimizer: Any) -> None:
        for values in list(optimizer.state.values()):
            for each in values.values():
                if isinstance(each, torch.Tensor):
                    self._tensors.note_from_outside(each, "aten::zeros_like", sys._getframe(2))


def _is_plain(optimizer: Any, args: Any, kwargs: Any) -> bool:
    """Whether nothing of the user's runs in an optimiser's step: no own class, no closure, no hook."""
    kind = type(optimizer)
    if not kind.__module__.startswith("torch.optim.") or kind.__name__ in _OTHERS:
        return False
    if any(value is not None for value in (*args[1:], *kwargs.values())) or private.has_step_hooks(optimizer):
        return False
    return not any(group.get("differentiable") for group in optimizer.param_groups)


def _size_of(optimizer: Any) -> tuple[int, int]:
    return sum(len(group["params"]) for group in optimizer.param_groups), len(optimizer.state)
