"""Containers that grow from step to step: what a tensor tracker cannot see.

A census notes the length of every list, dict, set and deque. What is longer in every census than in the one before, at
a steady pace, grows; what an entry weighs is measured on the entries themselves.
"""

import collections
import functools
import gc
import sys
import types
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch

from segkit.memory.holders import is_users, running_values
from segkit.memory.lines import USER_CODE

_KINDS = (list, dict, set, collections.deque)
_SHORT = 4  # entries; what is shorter is not looked at
_STEADY = 0.6
_MOST = 64  # containers that are remembered as candidates
_ATOMS = (int, float, bool, complex, type(None), type, types.ModuleType, types.BuiltinFunctionType)
_LRU = type(functools.lru_cache(lambda: 0))


@dataclass(slots=True)
class Growing:
    """A container that was longer in every census.

    Attributes:
        container: The object itself.
        steps: Steps of the censuses that saw it grow.
        lengths: Its lengths then.
        emptied: Whether it was ever shorter than before.
    """

    container: Any
    steps: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    emptied: bool = False

    @property
    def per_step(self) -> float:
        """Entries added a step."""
        return (self.lengths[-1] - self.lengths[0]) / max(1, self.steps[-1] - self.steps[0])

    def is_steady(self) -> bool:
        """Whether it still grows as it did."""
        if self.emptied or len(self.steps) < 3 or self.lengths[-1] <= self.lengths[-2]:
            return False
        middle = (self.steps[0] + self.steps[-1]) / 2
        at = min(range(1, len(self.steps) - 1), key=lambda index: abs(self.steps[index] - middle))
        early = (self.lengths[at] - self.lengths[0]) / max(1, self.steps[at] - self.steps[0])
        late = (self.lengths[-1] - self.lengths[at]) / max(1, self.steps[-1] - self.steps[at])
        return self.per_step >= 0.15 and late >= _STEADY * early

    @property
    def span(self) -> int:
        """Steps over which it was seen."""
        return self.steps[-1] - self.steps[0]


class Census:
    """All censuses of a process so far."""

    def __init__(self) -> None:
        self.growing: dict[int, Growing] = {}
        self._lengths: dict[int, int] = {}
        self._before = -1
        self._subclasses: dict[type, bool] = {}
        self.count = 0

    def take(self, step: int) -> None:
        """Note how long every container is."""
        objects = gc.get_objects()
        kinds = {kind for kind in set(map(type, objects)) if self._is_container(kind)}
        containers = [each for each in objects if type(each) in kinds]
        containers += _untracked(objects)
        del objects
        lengths: dict[int, int] = {}
        for each in containers:
            try:
                lengths[id(each)] = len(each)
            except Exception:  # a subclass of the user's
                continue
        before = self._lengths
        longer = {
            key for key, length in lengths.items()
            if length >= _SHORT and length > before.get(key, length) and key not in self.growing
        }  # fmt: skip
        grown = [each for each in containers if id(each) in longer]
        self._follow(step)
        own = {id(lengths), id(before), id(grown), id(self.growing), id(containers), id(gc.garbage)}
        for each in grown:
            if id(each) not in own and len(self.growing) < _MOST:
                self.growing[id(each)] = Growing(each, [self._before, step], [before[id(each)], len(each)])
        self._lengths, self._before = lengths, step
        self.count += 1

    def release(self) -> None:
        """Let go of candidates that nobody else holds any more; to be called at every step."""
        for key, growing in list(self.growing.items()):
            if sys.getrefcount(growing.container) <= 2:  # the record's, and the question's
                del self.growing[key]

    def _is_container(self, kind: type) -> bool:
        known = self._subclasses.get(kind)
        if known is None:
            own = str(kind.__module__).startswith("segkit.memory")
            known = self._subclasses[kind] = issubclass(kind, _KINDS) and not own
        return known

    def _follow(self, step: int) -> None:
        """Note how the candidates went on; those that only ever grew once are dropped."""
        for key, growing in list(self.growing.items()):
            length = len(growing.container)
            if length < growing.lengths[-1]:
                growing.emptied = True
            growing.steps.append(step)
            growing.lengths.append(length)
            stalled = length == growing.lengths[-2] == growing.lengths[-3]
            if stalled or growing.emptied or sys.getrefcount(growing.container) <= 2:
                del self.growing[key]

    def steady(self) -> list[Growing]:
        """Containers that have grown all the time."""
        return [each for each in self.growing.values() if each.is_steady()]


def _untracked(objects: list[Any]) -> list[dict[Any, Any]]:
    """Dicts of plain values, which the garbage collector leaves out: those within reach of the user's names."""
    candidates: list[Any] = []
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name == "__main__" or (file is not None and USER_CODE.owns(file)):
            candidates += vars(module).values()
    kinds = {kind for kind in set(map(type, objects)) if kind in (_LRU, types.CellType) or is_users(kind)}
    for each in [each for each in objects if type(each) in kinds]:
        candidates += gc.get_referents(each)
    candidates += running_values()
    candidates += [value for each in candidates if type(each) is dict and len(each) < 200 for value in each.values()]
    found = {id(each): each for each in candidates if type(each) is dict and not gc.is_tracked(each)}
    return list(found.values())


def newest_entries(container: Any, count: int) -> list[Any]:
    """Entries that were stored last, as far as the kind of container tells."""
    if isinstance(container, dict):
        keys = list(container)[-count:]
        return [container[key] for key in keys]
    if isinstance(container, set):
        return list(container)[:count]
    return [container[-index] for index in range(1, min(count, len(container)) + 1)]


def entry_bytes(container: Any) -> float:
    """Bytes that one more entry costs: what the newest ones hold and the others do not."""
    entries = newest_entries(container, 9)
    seen: set[int] = set()
    for entry in entries[4:]:
        deep_bytes(entry, seen)  # what all of them share
    measured = [deep_bytes(entry, seen) for entry in entries[:4]]
    keys = 40.0 if isinstance(container, dict | set) else 8.0
    return sum(measured) / max(1, len(measured)) + keys


def deep_bytes(value: Any, seen: set[int], most: int = 20_000) -> int:
    """Bytes of an object and of what it alone refers to; modules, classes and functions do not count."""
    total, stack = 0, [value]
    while stack and most > 0:
        each = stack.pop()
        if id(each) in seen or isinstance(each, (_ATOMS, torch.nn.Module)):
            if type(each) in (float, int) and id(each) not in seen:
                seen.add(id(each))
                total += 24
            continue
        seen.add(id(each))
        most -= 1
        if issubclass(type(each), torch.Tensor):
            total += _tensor_bytes(each, seen)
            continue
        size = sys.getsizeof(each, 64)
        if hasattr(type(each), "__array_interface__") or type(each).__module__ == "numpy":
            base = getattr(each, "base", None)
            if base is not None:
                stack.append(base)
        total += size
        stack += _parts(each)
    return total


def _parts(each: Any) -> Iterable[Any]:
    if isinstance(each, dict):
        return [*each.keys(), *each.values()]
    if isinstance(each, str | bytes | bytearray):
        return ()
    if isinstance(each, types.FunctionType):
        return each.__closure__ or ()
    return [part for part in gc.get_referents(each) if not isinstance(part, types.FrameType)]


def _tensor_bytes(tensor: torch.Tensor, seen: set[int]) -> int:
    try:
        storage = tensor.untyped_storage()
        if storage._cdata in seen:
            return 100
        seen.add(storage._cdata)
        return storage.nbytes() + 600  # the Python object, the tensor and the storage records themselves
    except (RuntimeError, NotImplementedError):
        return 600


def is_bounded(container: Any) -> int | None:
    """The most entries a container takes by itself: ``deque(maxlen=...)``; None without a bound."""
    return container.maxlen if isinstance(container, collections.deque) else None
