"""The objects that refer to others, with those that the garbage collector leaves out."""

import gc
import itertools
from typing import Any

from segkit.memory.holders.roots import running_variables
from segkit.memory.measure.heap import of_types, references_of

_MANY = 300  # objects from which on one pass over all references is faster than gc.get_referrers


def referrers_of(objects: list[Any]) -> list[Any]:
    """What refers to any of some objects."""
    if not objects:
        return []
    if len(objects) < _MANY:
        found = gc.get_referrers(*objects)
    else:  # gc.get_referrers compares every reference with every one of them
        ids = {id(each) for each in objects}
        found = [each for each in gc.get_objects() if any(id(child) in ids for child in gc.get_referents(each))]
    return found + _untracked_referrers([each for each in objects if not gc.is_tracked(each)])


def _untracked_referrers(objects: list[Any]) -> list[Any]:
    """Dicts and tuples that refer to any of some objects, and that the garbage collector leaves out.

    It leaves them out where nothing in them can be part of a cycle: a dict of arrays is such a one, and so may be the
    attributes of an object.
    """
    if not objects:
        return []
    ids = {id(each) for each in objects}
    out: dict[int, Any] = {}
    variables = [value for _, _, value in running_variables()]  # to which no object refers
    for parts in itertools.chain([variables], references_of(gc.get_objects())):
        untracked = itertools.filterfalse(gc.is_tracked, of_types(parts, lambda kind: kind in (dict, tuple)))
        for each in {id(each): each for each in untracked}.values():
            if not ids.isdisjoint(map(id, each.values() if type(each) is dict else each)):
                out[id(each)] = each
    return list(out.values())
