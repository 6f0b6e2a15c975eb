"""The objects that Python's garbage collector knows, and what they refer to.

There are some hundreds of thousands. A loop over them in Python takes a tenth of a second and more, so what is done
with each of them is left to ``map``, ``compress`` and the collector, which are written in C.
"""

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import compress
from typing import Any

_AT_ONCE = 20_000  # objects whose references are listed together


def objects_of(is_wanted: Callable[[type], bool]) -> list[Any]:
    """All objects whose types are wanted; each type is asked for once."""
    return of_types(gc.get_objects(), is_wanted)


def of_types(objects: Sequence[Any], is_wanted: Callable[[type], bool]) -> list[Any]:
    """Those of some objects whose types are wanted; each type is asked for once."""
    kinds = list(map(type, objects))
    wanted = {kind for kind in set(kinds) if is_wanted(kind)}
    return list(compress(objects, map(wanted.__contains__, kinds)))


def references_of(holders: Sequence[Any]) -> Iterator[list[Any]]:
    """All that some objects refer to, in parts; an object comes once for each reference to it."""
    for at in range(0, len(holders), _AT_ONCE):
        yield gc.get_referents(*holders[at : at + _AT_ONCE])


def held_in(cells: Sequence[Any]) -> Iterable[tuple[Any, Any]]:
    """Objects that refer to one other at most, such as cells of closures, with that other."""
    parts = list(map(gc.get_referents, cells))
    return zip(compress(cells, parts), (part[0] for part in parts if part), strict=True)
