"""A holder in the words of the user's code, where the names that reach it belong to a library.

A trainer keeps the user's objects under names of its own, such as ``trainer.predict_loop._data_source.instance``. The
user knows them as ``self`` in the methods of a class, or as a variable that a function of theirs has from outside.
"""

import types
from collections.abc import Sequence
from typing import Any

from torch import nn

from segkit.memory.holders.roots import LIBRARYS, Root, is_user_class
from segkit.memory.measure.torch_private import MODULE_DICTS
from segkit.memory.measure.user_code import USER_CODE

_HOPS = 2  # objects of a library between the user's name and their object; from more on nobody writes it
_CLOSURE = 3  # from a function to what a variable of its closure holds: the tuple of cells, a cell, the value


def users_root(root: Root, chain: Sequence[Any], expressions: Sequence[str], container: int) -> tuple[Root, int] | None:
    """A name of the user's code that is nearer to a container than a root; None where the root's words are as good.

    Args:
        root: The best name that reaches the container.
        chain: The objects from there to what is kept.
        expressions: Python for each of them, from the root on.
        container: Index of what grows.

    Returns:
        The name, and the index of the object that it names.
    """
    if root.kind not in ("local", "global"):
        return None
    found = [(each, at) for index in range(1, container + 1) for each, at in _names(chain, index) if at <= container]
    better = [
        (each, at) for each, at in found
        if _is_plain(chain, expressions, at, container) and not _is_plain(chain, expressions, 0, at)
    ]  # fmt: skip
    if better:
        return better[0]
    return found[-1] if found and root.rank >= LIBRARYS else None


def _names(chain: Sequence[Any], index: int) -> list[tuple[Root, int]]:
    """What the user calls an object of a chain, or the variable of its closure that the chain goes through."""
    each = chain[index]
    if isinstance(each, types.FunctionType) and USER_CODE.owns(each.__code__.co_filename):
        cell = chain[index + 2] if index + _CLOSURE < len(chain) else None
        for name, own in zip(each.__code__.co_freevars, each.__closure__ or (), strict=False):
            if own is cell:
                scope = (
                    f"the closure of {each.__name__}() at {each.__code__.co_filename}:{each.__code__.co_firstlineno}"
                )
                return [(Root(name, scope, "closure", 1), index + _CLOSURE)]
    if isinstance(each, type) or not is_user_class(type(each)):
        return []
    return [(Root("self", f"the methods of {type(each).__qualname__}", "instance", 1), index)]


def _is_plain(chain: Sequence[Any], expressions: Sequence[str], first: int, last: int) -> bool:
    """Whether a part of a chain goes through few objects of a library, and through no private names of theirs."""
    hops = 0
    for index in range(first, last):
        each = chain[index]
        if not hasattr(each, "__dict__") or is_user_class(type(each)) or isinstance(each, type | types.FunctionType):
            continue
        through = index + 2 if chain[index + 1] is vars(each) else index + 1
        if through > last:
            continue
        piece = expressions[through].removeprefix(expressions[index])
        if piece.startswith("._") and not piece.startswith(tuple(f".{name}[" for name in MODULE_DICTS)):
            return False
        hops += not isinstance(each, nn.Module)
    return hops <= _HOPS
