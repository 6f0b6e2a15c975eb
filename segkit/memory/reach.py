"""What is within reach of the user's names: variables, attributes, what closures and small dicts hold."""

import functools
import gc
import sys
import types
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from segkit.memory.holders import is_users, running_variables
from segkit.memory.lines import USER_CODE

_LRU = type(functools.lru_cache(lambda: 0))
_FEW = 200  # instances of a class, entries of a dict: where there are more, they are records and no places


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


class Balance:
    """Takes off the collector's count what the tool's own objects have added to it.

    Python collects garbage when so many more objects were made than freed. Were the tool's to count, garbage in cycles
    would be freed sooner than in the bare run; so for each of them that stays, a spare object is let go.
    """

    _SPARES = 20_000

    def __init__(self) -> None:
        self._spares: list[list[None]] = []

    def take_off(self, count: int) -> None:
        """Let go of as many spare objects."""
        if count <= 0:
            return
        if len(self._spares) < count:
            with collector_paused():
                self._spares += [[] for _ in range(max(self._SPARES, count))]
        del self._spares[-count:]


class Named(NamedTuple):
    """A value, and the place that it has; the place is the same at every look, whatever is put there."""

    place: Hashable
    value: Any


def named_values(objects: list[Any]) -> list[Named]:
    """Values that the user's code has names for.

    Args:
        objects: Everything that the garbage collector sees.
    """
    out: list[Named] = []
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name == "__main__" or (file is not None and USER_CODE.owns(file)):
            out += _in_namespace(name, vars(module))
    out += [Named((function, name), value) for function, name, value in running_variables()]
    kinds = {kind for kind in set(map(type, objects)) if is_users(kind)}
    counts = Counter(kind for kind in map(type, objects) if kind in kinds)
    for each in objects:
        if type(each) is types.CellType:
            out += [Named((id(each), "cell"), value) for value in gc.get_referents(each)]
        elif type(each) in kinds and counts[type(each)] <= _FEW:
            out += _attributes(each)
        elif issubclass(type(each), type) and is_users(each):
            out += _in_namespace(id(each), vars(each))
    small = [named.value for named in out if type(named.value) is dict and len(named.value) < _FEW]
    for each in {id(each): each for each in small}.values():
        out += _in_namespace(id(each), each)
    return out


def untracked_dicts(objects: list[Any], named: Iterable[Named]) -> list[dict[Any, Any]]:
    """Dicts of plain values, which the garbage collector leaves out: those within reach of the user's names."""
    candidates = [each.value for each in named]
    for each in objects:
        if type(each) is _LRU or is_users(type(each)):
            candidates += gc.get_referents(each)
    found = {id(each): each for each in candidates if type(each) is dict and not gc.is_tracked(each)}
    return list(found.values())


def _in_namespace(owner: Hashable, names: Any) -> list[Named]:
    return [Named((owner, name), value) for name, value in list(names.items()) if isinstance(name, Hashable)]


def _attributes(instance: Any) -> list[Named]:
    try:
        names = object.__getattribute__(instance, "__dict__")
    except AttributeError:  # slots
        slots = getattr(type(instance), "__slots__", ())
        names = {name: getattr(instance, name, None) for name in ((slots,) if isinstance(slots, str) else slots)}
    return _in_namespace(id(instance), names)
