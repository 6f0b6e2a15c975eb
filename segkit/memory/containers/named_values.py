"""Values that the user's code has names for: variables, attributes, values in closures and in small dicts."""

import collections
import gc
import sys
import types
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable
from typing import Any, NamedTuple

from segkit.memory.holders.edges import LRU_CACHE
from segkit.memory.holders.roots import running_variables
from segkit.memory.measure.heap import held_in, objects_of

_CODE = {types.FunctionType, types.CellType, types.BuiltinFunctionType, type, types.ModuleType, type(None)}
CONTAINERS = (list, dict, set, collections.deque)
"""The types of what a census follows."""
_FEW = 200  # instances of a class, entries of a dict; where there are more, they are data and no names


class NamedValue(NamedTuple):
    """A value, and the place that holds it; a place is the same at every census, whatever value is there."""

    place: Hashable
    value: Any


def objects_by_kind(modules: Collection[str]) -> dict[type, list[Any]]:
    """What a census asks for, of all that the garbage collector sees: containers, classes, cells, the user's objects.

    Most objects are tuples and functions, and belong to libraries: they are passed over at once.

    Args:
        modules: The names of the user's modules.
    """
    objects = objects_of(lambda kind: _is_wanted(kind, modules))
    out: dict[type, list[Any]] = defaultdict(list)
    for kind, each in zip(map(type, objects), objects, strict=True):
        out[kind].append(each)
    return out


def _is_wanted(kind: type, modules: Collection[str]) -> bool:
    known = kind is types.CellType or kind is LRU_CACHE or issubclass(kind, (*CONTAINERS, type))
    return known or str(kind.__module__) in modules


def named_values(objects: dict[type, list[Any]], modules: Collection[str]) -> list[NamedValue]:
    """Values that the user's code has names for.

    Args:
        objects: From ``objects_by_kind``.
        modules: The names of the user's modules.
    """
    out: list[NamedValue] = []
    for name in modules:
        out += _in_namespace(name, vars(sys.modules[name]))
    out += [NamedValue((function, name), value) for function, name, value in running_variables()]
    cells = held_in(objects.get(types.CellType, []))
    out += [NamedValue((id(cell), "cell"), value) for cell, value in cells if type(value) not in _CODE]
    for kind, those in objects.items():
        if len(those) <= _FEW and str(kind.__module__) in modules:
            for each in those:
                out += _attributes(each)
        if issubclass(kind, type):
            for each in those:
                if str(each.__module__) in modules:
                    out += _in_namespace(id(each), vars(each))
    small = [named.value for named in out if type(named.value) is dict and len(named.value) < _FEW]
    for each in {id(each): each for each in small}.values():
        out += _in_namespace(id(each), each)
    return out


def untracked_dicts(
    objects: dict[type, list[Any]], named: Iterable[NamedValue], modules: Collection[str]
) -> list[dict[Any, Any]]:
    """Dicts of plain values, which the garbage collector leaves out: those within reach of the user's names."""
    candidates = [each.value for each in named]
    for kind, those in objects.items():
        if kind is LRU_CACHE or str(kind.__module__) in modules:
            candidates += gc.get_referents(*those)
    found = {id(each): each for each in candidates if type(each) is dict and not gc.is_tracked(each)}
    return list(found.values())


def _in_namespace(owner: Hashable, names: Any) -> list[NamedValue]:
    return [NamedValue((owner, name), value) for name, value in list(names.items()) if isinstance(name, Hashable)]


def _attributes(instance: Any) -> list[NamedValue]:
    try:
        names = object.__getattribute__(instance, "__dict__")
    except AttributeError:  # slots
        slots = getattr(type(instance), "__slots__", ())
        names = {name: getattr(instance, name, None) for name in ((slots,) if isinstance(slots, str) else slots)}
    return _in_namespace(id(instance), names)
