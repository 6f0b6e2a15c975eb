"""What kind of leak a cause is: a key of ``fixes.FIXES``."""

import collections
import contextlib
import types
import weakref
from collections.abc import Sequence
from typing import Any

import torch

from segkit.memory.holders.causes import Cause
from segkit.memory.holders.edges import LRU_CACHE
from segkit.memory.holders.reference_chains import ReferenceChain
from segkit.memory.holders.referrer_path import ReferrerPath
from segkit.memory.holders.roots import ITERATORS
from segkit.memory.measure.allocation import GRAPH, Allocation
from segkit.memory.measure.torch_private import HOOK_DICTS, MODULE_DICTS

_SURE = {
    "optimizer state", "registered again", "hook", "hooks registered again", "lru_cache", "generator", "traceback",
    "thread", "queue", "iterator that keeps", "atexit callback", "task or future", "exit stack", "finalizer",
}  # fmt: skip
"""Kinds that explain more than that what is kept has a graph."""
_LINKS = 5  # objects of one type, one in another


def kind_of_unnamed(allocations: Sequence[Allocation], path: ReferrerPath, double_backward: bool) -> str:
    """The kind of leak where no Python name reaches any of the allocations of a site, after garbage was collected."""
    freed = sum(allocation() is None for allocation in allocations)
    if freed * 2 > len(allocations):
        return "reference cycle"
    if path.kind:
        return path.kind
    of_graph = any(each.site.operation == GRAPH or each.saved or each.phase == "backward" for each in allocations)
    return "C++ cycle" if of_graph and double_backward else "held by an extension"


def kind_of(cause: Cause, target: Any) -> str:
    """The key of ``fixes.FIXES`` that fits.

    Args:
        cause: All that is known but the kind.
        target: The kept object.
    """
    by_chain = kind_by_chain(cause.chain, cause.container)
    if by_chain in _SURE:
        return str(by_chain)
    if cause.concatenated:
        return "growing tensor"
    if cause.spans_steps:
        operation = type(getattr(target, "grad_fn", None)).__name__
        return "graph of a sum" if operation.startswith("Add") and target.numel() == 1 else "graph over steps"
    if cause.via_graph or getattr(target, "grad_fn", None) is not None:
        return "kept graph" if cause.saved or not cause.via_graph else "graph kept after backward"
    if by_chain in (None, "dict without bound") and cause.chain is not None and _copies_a_model(cause.chain):
        return "copies of a model"
    if by_chain is not None:
        return by_chain
    if cause.chain is not None and is_linked(cause.chain.objects):
        return "linked records"
    if _is_small_part(target):
        return "part of a larger tensor"
    return "kept outputs" if cause.phase == "eval" else "kept tensors"


def is_linked(objects: Sequence[Any]) -> bool:
    """Whether a chain goes through records of which each refers to the one before."""
    kinds = collections.Counter(type(each) for each in objects[:-1] if not isinstance(each, dict | torch.nn.Module))
    return any(count >= _LINKS for count in kinds.values())


def _copies_a_model(chain: ReferenceChain) -> bool:
    """Whether each entry of what grows is a model of its own, or what ``state_dict`` has returned."""
    if chain.container is None or any(isinstance(each, torch.nn.Module) for each in chain.objects[: chain.container]):
        return False
    inner = chain.objects[chain.container + 1 : -1]
    return any(isinstance(each, torch.nn.Module) or hasattr(each, "_metadata") for each in inner)


def _is_small_part(target: Any) -> bool:
    """Whether a tensor keeps the memory of a much larger one, of which it is a view."""
    if not isinstance(target, torch.Tensor) or target.layout != torch.strided:
        return False
    return 2 * target.numel() * target.element_size() <= target.untyped_storage().nbytes()


def kind_by_chain(chain: ReferenceChain | None, container: Any) -> str | None:
    """The kind of leak that a chain of references shows by itself; None where it shows none.

    Args:
        chain: From the root to the kept object.
        container: What grows in it.
    """
    if chain is None:
        return None
    if any(hook in chain.path for hook in HOOK_DICTS):
        modules = [each for each in chain.objects if hasattr(type(each), "register_forward_hook")]
        return "hooks registered again" if _is_attribute(container, modules, HOOK_DICTS) else "hook"
    by_type = _kind_by_types(chain.objects, container)
    if by_type is not None:
        return by_type
    if _is_default(container, chain.objects):
        return "default argument"
    if chain.kind in ("thread", "atexit"):
        return "thread" if chain.kind == "thread" else "atexit callback"
    if isinstance(container, collections.deque):
        return "deque without bound"
    if any(isinstance(each, types.CellType) for each in chain.objects):
        return "closure"
    if _is_attribute(container, chain.objects, MODULE_DICTS):
        return "registered again"
    if isinstance(container, dict) and not _is_namespace(container):
        return "dict without bound"
    return "class attribute" if chain.kind == "class" else None


def _kind_by_types(objects: tuple[Any, ...], container: Any) -> str | None:
    """The kind that the first object of a special type in a chain stands for."""
    if objects and type(objects[0]) in ITERATORS:
        return "iterator that keeps"
    traces = any(isinstance(each, types.TracebackType) for each in objects)
    for each in objects:
        if isinstance(each, torch.optim.Optimizer) and _is_of_optimizer(container, each):
            return "optimizer state"
        if isinstance(each, LRU_CACHE):
            return "lru_cache"
        if _is_future(type(each)) or isinstance(each, types.CoroutineType):
            return "task or future"
        if isinstance(each, types.GeneratorType):
            return "generator"
        if isinstance(each, types.TracebackType | BaseException):
            return "traceback" if traces else "exception"
        if hasattr(type(each), "put_nowait") and hasattr(type(each), "get_nowait"):
            return "queue"
        if isinstance(each, contextlib.ExitStack | contextlib.AsyncExitStack):
            return "exit stack"
        if each is getattr(weakref.finalize, "_registry", None):
            return "finalizer"
    return None


def _is_of_optimizer(container: Any, optimizer: torch.optim.Optimizer) -> bool:
    """Whether a container has an entry for every parameter that an optimiser got; not what is kept for one of them."""
    groups = optimizer.param_groups
    return any(container is each for each in (optimizer.state, groups, *(group["params"] for group in groups)))


def _is_future(kind: type) -> bool:
    return kind.__module__ in ("_asyncio", "asyncio.futures", "asyncio.tasks", "concurrent.futures._base")


def _is_default(container: Any, objects: Sequence[Any]) -> bool:
    """Whether a container is the default value of an argument."""
    functions = [each for each in objects if isinstance(each, types.FunctionType)]
    defaults = [(*(each.__defaults__ or ()), *(each.__kwdefaults__ or {}).values()) for each in functions]
    return container is not None and any(container is value for values in defaults for value in values)


def _is_attribute(container: Any, objects: Sequence[Any], names: Sequence[str]) -> bool:
    """Whether a dict is one of some attributes of some objects."""
    return isinstance(container, dict) and any(
        container is getattr(each, name, None) for each in objects for name in names
    )


def _is_namespace(container: dict[Any, Any]) -> bool:
    return all(isinstance(key, str) for key in container) and len(container) < 6
