"""Why an object is kept: the kind of leak, read from the chain of references that keeps it."""

import collections
import queue
import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from segkit.memory.holders.edges import LRU_CACHE
from segkit.memory.holders.graph_roots import GraphRoot
from segkit.memory.holders.reference_chains import ReferenceChain
from segkit.memory.holders.referrer_path import ReferrerPath
from segkit.memory.holders.roots import ITERATORS, with_scope
from segkit.memory.measure.allocation import GRAPH, Allocation, Site
from segkit.memory.measure.torch_private import HOOK_DICTS, MODULE_DICTS

_SURE = {
    "optimizer state", "registered again", "hook", "hooks registered again", "lru_cache", "generator", "traceback",
    "thread", "queue", "iterator that keeps", "atexit callback",
}  # fmt: skip
"""Kinds that explain more than that what is kept has a graph."""


@dataclass(slots=True)
class Cause:
    """What keeps the tensors of one or more sites.

    Attributes:
        kind: The kind of leak, a key of ``fixes.FIXES``.
        sites: The sites whose tensors it keeps, the largest first.
        made_at: Where the kept object was made.
        chain: The chain to one of the objects; None where no Python name reaches it.
        container: What grows; None where there is no such thing.
        container_expression: Python for it.
        phase: In which the kept tensors were made.
        via_graph: Whether a kept tensor keeps the others through its autograd graph.
        graph_nodes: Nodes of that graph.
        spans_steps: Whether that graph goes through several steps.
        saved: Whether it keeps tensors that were saved for backward.
        concatenated: Whether the tensor is joined to a longer one at every step.
        ctx_attribute: The attribute of ``ctx`` that keeps the tensor, in a cycle through a custom Function.
        note: More on it.
    """

    kind: str
    sites: list[Site]
    made_at: Site
    chain: ReferenceChain | None = None
    container: Any = None
    container_expression: str | None = None
    phase: str = ""
    via_graph: bool = False
    graph_nodes: int = 0
    spans_steps: bool = False
    saved: bool = False
    concatenated: bool = False
    ctx_attribute: str | None = None
    note: str = ""

    def add_graph(self, graph: GraphRoot, site: Site, spans_steps: bool) -> None:
        """Note that a graph keeps tensors of a site, and whether it goes through several steps."""
        self.via_graph = True
        self.graph_nodes = max(self.graph_nodes, graph.nodes)
        self.spans_steps |= spans_steps
        self.saved |= site.operation != GRAPH

    @property
    def key(self) -> str:
        """What distinguishes it from other causes."""
        if self.container_expression is not None:
            return with_scope(self.container_expression, self.chain.scope if self.chain is not None else None)
        return self.chain.expression if self.chain is not None else f"{self.kind} {self.made_at}"


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
    if by_chain is not None:
        return by_chain
    return "kept outputs" if cause.phase == "eval" else "kept tensors"


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
    for index, each in enumerate(objects):
        if isinstance(each, torch.optim.Optimizer) and any(container is inner for inner in objects[index + 1 :]):
            return "optimizer state"
        if isinstance(each, LRU_CACHE):
            return "lru_cache"
        if isinstance(each, types.GeneratorType | types.CoroutineType):
            return "generator"
        if isinstance(each, types.TracebackType | BaseException):
            return "traceback"
        if isinstance(each, queue.Queue | queue.SimpleQueue):
            return "queue"
    return None


def _is_attribute(container: Any, objects: Sequence[Any], names: Sequence[str]) -> bool:
    """Whether a dict is one of some attributes of some objects."""
    return isinstance(container, dict) and any(
        container is getattr(each, name, None) for each in objects for name in names
    )


def _is_namespace(container: dict[Any, Any]) -> bool:
    return all(isinstance(key, str) for key in container) and len(container) < 6
