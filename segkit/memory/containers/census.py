"""Containers that grow from step to step: what a tensor tracker cannot see.

A census notes the length of every list, dict, set and deque. What is longer in every census than in the one before, at
a steady pace, grows; what an entry weighs is measured on the entries themselves.
"""

import collections
import gc
import io
import sys
import types
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from segkit.memory.containers.growing_values import Swelling
from segkit.memory.containers.nested import Nests
from segkit.memory.containers.reach import named_values, objects_by_kind, untracked_dicts
from segkit.memory.measure.torch_private import storage_key
from segkit.memory.measure.trend import Track

_KINDS = (list, dict, set, collections.deque)
_SHORT = 4  # entries; what is shorter is not looked at
_MOST = 64  # containers that are remembered as candidates
_ATOMS = (int, float, bool, complex, type(None), type, types.ModuleType, types.BuiltinFunctionType)


@dataclass(slots=True, kw_only=True)
class Growing(Track):
    """A container that was longer in every census.

    Attributes:
        container: The object itself.
    """

    container: Any


class Census:
    """All censuses of a process so far."""

    def __init__(self) -> None:
        self.growing: dict[int, Growing] = {}
        self._lengths: dict[int, int] = {}
        self._before = -1
        self.swelling, self.nests = Swelling(), Nests()
        self._subclasses: dict[type, bool] = {}
        self.count = 0

    def take(self, step: int) -> None:
        """Note how long every container is."""
        objects = objects_by_kind()
        containers = [each for kind, those in objects.items() if self._is_container(kind) for each in those]
        named = named_values(objects)
        containers += untracked_dicts(objects, named)
        objects.clear()
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
        self.swelling.take(step, named)
        self.nests.take(step, named)
        named.clear()
        own = {id(lengths), id(before), id(grown), id(self.growing), id(containers), id(gc.garbage)}
        for each in grown:
            if id(each) not in own and len(self.growing) < _MOST:
                was = Growing(container=each, steps=[self._before, step], lengths=[before[id(each)], len(each)])
                self.growing[id(each)] = was
        self._lengths, self._before = lengths, step
        self.count += 1

    def length_before(self, identity: int) -> int | None:
        """How long a container was at the last census; None where it was not seen."""
        return self._lengths.get(identity)

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


def heaviest_part(entry: Any) -> list[Any]:
    """The way from an entry to the one thing in it that makes up most of it: ``row``, ``row['masks']``."""
    way = [entry]
    while len(way) < 6 and not hasattr(type(way[-1]), "__array_interface__"):
        each = way[-1]
        if isinstance(each, str | bytes | bytearray | torch.Tensor):
            break
        parts = list(each.values()) if isinstance(each, dict) else list(_parts(each))
        if len(parts) == 1 and type(parts[0]) is dict and not isinstance(each, list | tuple | set):
            parts = list(parts[0].values())  # an object's attributes
        weights = [deep_bytes(part, set(), 2000) for part in parts[:64]]
        if not weights or max(weights) < 512 or max(weights) <= 0.5 * sum(weights):
            break
        way.append(parts[weights.index(max(weights))])
    return way


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
        size = sys.getsizeof(each, 64) + _native_bytes(each)
        if hasattr(type(each), "__array_interface__") or type(each).__module__ == "numpy":
            base = getattr(each, "base", None)
            if base is not None:
                stack.append(base)
        total += size
        stack += _parts(each)
    return total


def _native_bytes(each: Any) -> int:
    """Bytes that an object holds outside of Python's sight: the pixels of a PIL image, the text of a StringIO."""
    if type(each) is io.StringIO:
        return 0 if each.closed else each.tell()
    if str(type(each).__module__).startswith("PIL.") and hasattr(type(each), "getbands"):
        width, height = each.size
        return int(width * height * len(each.getbands()))
    return 0


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
        storage, key = storage_key(tensor)
        if key in seen:
            return 100
        seen.add(key)
        return int(storage.nbytes()) + 600  # the Python object, the tensor and the storage records themselves
    except (RuntimeError, NotImplementedError):
        return 600
