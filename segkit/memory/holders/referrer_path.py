"""What keeps a tensor that no name reaches: the path of its referrers, as far as Python knows them."""

import functools
import gc
import types
from collections import OrderedDict
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

import torch

from segkit.memory.measure.allocation import Allocation
from segkit.memory.measure.budget import Deadline
from segkit.memory.measure.user_code import is_own_object

_STEPS = 8
_PATHS = 3  # tensors whose referrers are followed: each step outwards costs a pass over the heap


class ReferrerPath(NamedTuple):
    """The path from a tensor that no name reaches to what refers to it.

    Attributes:
        kind: ``ctx cycle``, ``hook cycle`` or ``held by an extension``, if the path shows it; else empty.
        types: The types on it, from the tensor on.
        attribute: The attribute of ``ctx`` that is the tensor.
    """

    kind: str = ""
    types: str = ""
    attribute: str | None = None


def referrer_path(
    allocation: Allocation, by_storage: dict[int, list[torch.Tensor]], own: Collection[int]
) -> ReferrerPath:
    """Follow what refers to a tensor to the end.

    Args:
        allocation: That of its storage.
        by_storage: All tensors that Python knows, by the address of their storage.
        own: Identities of the tool's own objects.
    """
    tensors = by_storage.get(allocation.key, ())
    each: Any = tensors[0] if tensors else None
    names: list[str] = []
    way: list[Any] = []
    while each is not None and len(way) < _STEPS and not any(each is known for known in way):
        way.append(each)
        names.append(type(each).__qualname__)
        each = _holder_of(each, way, tensors, own)
    kind, attribute = _kind_of(way)
    way.clear()
    return ReferrerPath(kind, " <- ".join(names), attribute)


def paths_of_groups(
    allocations: Iterable[tuple[Allocation, int]],
    by_storage: dict[int, list[torch.Tensor]],
    own: Collection[int],
    deadline: Deadline,
) -> dict[int, ReferrerPath]:
    """What refers to a tensor of each group that is still there; of the first groups, as it takes long.

    Of one group in any case: it takes half a second, and nothing else tells what to do.

    Args:
        allocations: With their groups.
        by_storage: All tensors that Python knows, by the address of their storage.
        own: Identities of the tool's own objects.
        deadline: When time is over.
    """
    paths: dict[int, ReferrerPath] = {}
    for allocation, group in allocations:
        if len(paths) >= (1 if deadline.is_over else _PATHS):
            break
        if allocation() is not None and not paths.get(group, ReferrerPath()).kind:
            paths[group] = referrer_path(allocation, by_storage, own)
    return paths


def _holder_of(each: Any, way: list[Any], tensors: Any, own: Collection[int]) -> Any:
    for holder in gc.get_referrers(each):
        if not _is_passing(holder, way, tensors, own):
            return holder
    return None


def _is_passing(holder: Any, way: list[Any], tensors: Any, own: Collection[int]) -> bool:
    """Whether a referrer is one of the tool's own, or a function that runs now."""
    if holder is way or holder is tensors or id(holder) in own or type(holder) is types.FrameType:
        return True
    if type(holder) is types.CellType:  # of the closure of a running library function, as that around the collector
        return not any(isinstance(each, types.FunctionType) for each in gc.get_referrers(holder))
    return is_own_object(holder) or type(holder).__name__ == "list_iterator"


def _kind_of(way: list[Any]) -> tuple[str, str | None]:
    for index, each in enumerate(way):
        if isinstance(each, torch.autograd.function.FunctionCtx):
            held = vars(each) if hasattr(each, "__dict__") else {}
            name = next((key for key, value in held.items() if any(value is known for known in way[:index])), None)
            return "ctx cycle", name
    for index, each in enumerate(way):  # a tensor has an OrderedDict of hooks
        outwards = way[index + 1] if index + 1 < len(way) else OrderedDict()
        if index and isinstance(each, types.FunctionType) and isinstance(outwards, OrderedDict):
            return "hook cycle", None
    last = way[-1] if way else None
    if isinstance(last, functools.partial | types.FunctionType | types.MethodType) or (
        len(way) > 1 and type(last).__module__ not in ("builtins", "torch")
    ):
        return "held by an extension", None
    return "", None
