"""What keeps a tensor that no name reaches: the way from it outwards, as far as Python can see it."""

import functools
import gc
import types
from collections import OrderedDict
from collections.abc import Collection
from typing import Any, NamedTuple

import torch

from segkit.memory.measure.allocation import Allocation

_STEPS = 8


class ReferrerPath(NamedTuple):
    """The way from a tensor that nothing reaches.

    Attributes:
        kind: ``ctx cycle``, ``hook cycle`` or ``held by an extension``, where the way tells; else empty.
        types: What is on it, from the tensor on.
        attribute: What the tensor is called on ``ctx``.
    """

    kind: str = ""
    types: str = ""
    attribute: str | None = None


def referrer_path(
    allocation: Allocation, by_storage: dict[int, list[torch.Tensor]], ours: Collection[int]
) -> ReferrerPath:
    """Follow what refers to a tensor, until there is nothing more.

    Args:
        allocation: Of its storage.
        by_storage: All tensors that Python sees.
        ours: Identities of the tool's own objects.
    """
    tensors = by_storage.get(allocation.key, ())
    each: Any = tensors[0] if tensors else None
    names: list[str] = []
    way: list[Any] = []
    while each is not None and len(way) < _STEPS and not any(each is known for known in way):
        way.append(each)
        names.append(type(each).__qualname__)
        each = _holder_of(each, way, tensors, ours)
    kind, attribute = _kind_of(way)
    way.clear()
    return ReferrerPath(kind, " <- ".join(names), attribute)


def _holder_of(each: Any, way: list[Any], tensors: Any, ours: Collection[int]) -> Any:
    for holder in gc.get_referrers(each):
        if not _is_passing(holder, way, tensors, ours):
            return holder
    return None


def _is_passing(holder: Any, way: list[Any], tensors: Any, ours: Collection[int]) -> bool:
    """Whether a referrer is one of the tool's own, or a function that runs now."""
    if holder is way or holder is tensors or id(holder) in ours or type(holder) is types.FrameType:
        return True
    if type(holder) is types.CellType:  # of a library's closure that passes things on, as that around the collector
        return not any(isinstance(each, types.FunctionType) for each in gc.get_referrers(holder))
    module = str(type(holder).__module__)
    return module.startswith("segkit.memory") or type(holder).__name__ == "list_iterator"


def _kind_of(way: list[Any]) -> tuple[str, str | None]:
    for index, each in enumerate(way):
        if isinstance(each, torch.autograd.function.FunctionCtx):
            held = vars(each) if hasattr(each, "__dict__") else {}
            name = next((key for key, value in held.items() if any(value is known for known in way[:index])), None)
            return "ctx cycle", name
    for index, each in enumerate(way):  # a tensor's hooks are in an OrderedDict of its own
        outwards = way[index + 1] if index + 1 < len(way) else OrderedDict()
        if index and isinstance(each, types.FunctionType) and isinstance(outwards, OrderedDict):
            return "hook cycle", None
    last = way[-1] if way else None
    if isinstance(last, functools.partial | types.FunctionType | types.MethodType) or (
        len(way) > 1 and type(last).__module__ not in ("builtins", "torch")
    ):
        return "held by an extension", None
    return "", None
