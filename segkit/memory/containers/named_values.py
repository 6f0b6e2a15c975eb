"""Values that the user's code has names for: variables, attributes, values in closures and in small dicts."""

import collections
import gc
import sys
import types
from collections import defaultdict
from collections.abc import Hashable, Iterable
from typing import Any, NamedTuple

from segkit.memory.holders.edges import LRU_CACHE
from segkit.memory.holders.roots import is_user_class, running_variables
from segkit.memory.measure.user_code import USER_CODE

_CODE = {types.FunctionType, types.CellType, types.BuiltinFunctionType, type, types.ModuleType, type(None)}
CONTAINERS = (list, dict, set, collections.deque)
"""The types of what a census follows."""
_FEW = 200  # instances of a class, entries of a dict; where there are more, they are data and no names


class NamedValue(NamedTuple):
    """A value, and the place that holds it; a place is the same at every census, whatever value is there."""

    place: Hashable
    value: Any


def objects_by_kind() -> dict[type, list[Any]]:
    """What a census asks for, of all that the garbage collector sees: containers, classes, cells, the user's objects.

    Most objects are tuples and functions, and belong to libraries: they are passed over at once.
    """
    objects = gc.get_objects()
    wanted = {kind for kind in set(map(type, objects)) if _is_wanted(kind)}
    out: dict[type, list[Any]] = defaultdict(list)
    for each in [each for each in objects if type(each) in wanted]:
        out[type(each)].append(each)
    return out


def _is_wanted(kind: type) -> bool:
    known = kind is types.CellType or kind is LRU_CACHE or issubclass(kind, (*CONTAINERS, type))
    return known or is_user_class(kind)


def named_values(objects: dict[type, list[Any]]) -> list[NamedValue]:
    """Values that the user's code has names for.

    Args:
        objects: From ``objects_by_kind``.
    """
    out: list[NamedValue] = []
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name == "__main__" or (file is not None and USER_CODE.owns(file)):
            out += _in_namespace(name, vars(module))
    out += [NamedValue((function, name), value) for function, name, value in running_variables()]
    for cell in objects.get(types.CellType, ()):
        out += [NamedValue((id(cell), "cell"), value) for value in gc.get_referents(cell) if type(value) not in _CODE]
    for kind, those in objects.items():
        if len(those) <= _FEW and is_user_class(kind):
            for each in those:
                out += _attributes(each)
        if issubclass(kind, type):
            for each in those:
                if is_user_class(each):
                    out += _in_namespace(id(each), vars(each))
    small = [named.value for named in out if type(named.value) is dict and len(named.value) < _FEW]
    for each in {id(each): each for each in small}.values():
        out += _in_namespace(id(each), each)
    return out


def untracked_dicts(objects: dict[type, list[Any]], named: Iterable[NamedValue]) -> list[dict[Any, Any]]:
    """Dicts of plain values, which the garbage collector leaves out: those within reach of the user's names."""
    candidates = [each.value for each in named]
    for kind, those in objects.items():
        if kind is LRU_CACHE or is_user_class(kind):
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
