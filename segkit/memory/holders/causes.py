"""Why a thing is held: the cause, read from the chain of objects that holds it."""

import collections
import functools
import queue
import types
from dataclasses import dataclass, field
from typing import Any

import torch

from segkit.memory.holders.search import Holding
from segkit.memory.measure.torch_private import HOOK_DICTS, MODULE_DICTS
from segkit.memory.measure.tracker import Site

_LRU = type(functools.lru_cache(lambda: 0))


@dataclass(slots=True)
class Culprit:
    """What keeps the tensors of one or more sites.

    Attributes:
        kind: The cause, a key of ``taxonomy.FIXES``.
        sites: The sites whose tensors it keeps, the largest first.
        made_at: Where the object that is held was made.
        holding: The chain to one of the objects; None where no Python name reaches it.
        container: What grows, and the expression for it, where there is such a thing.
        graph_nodes: Nodes of the graph that one held tensor keeps, and the bytes of tensors saved in it, a step.
    """

    kind: str
    sites: list[Site]
    made_at: Site
    holding: Holding | None = None
    container: Any = None
    container_expression: str | None = None
    graph_nodes: int = 0
    via_graph: bool = False
    note: str = ""
    born_in: str = ""
    entries: int = 0
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What tells it from other culprits."""
        return self.container_expression or (self.holding.expression if self.holding else f"{self.kind} {self.made_at}")


def cause_of(culprit: Culprit, target: Any) -> str:
    """The key of ``taxonomy.FIXES`` that fits."""
    holding = culprit.holding
    by_chain = cause_in_chain(holding, culprit.container)
    graph = culprit.via_graph or getattr(target, "grad_fn", None) is not None
    if by_chain in (
        "optimizer state",
        "registered again",
        "hook",
        "hooks registered again",
        "lru_cache",
        "generator",
        "traceback",
        "thread",
        "queue",
    ):
        return by_chain
    if culprit.extra.get("joined"):
        return "growing tensor"
    if culprit.extra.get("carried"):
        operation = type(getattr(target, "grad_fn", None)).__name__
        return "graph of a sum" if operation.startswith("Add") and target.numel() == 1 else "graph over steps"
    if graph:
        return "kept graph" if culprit.extra.get("saved") or not culprit.via_graph else "graph kept after backward"
    if by_chain is not None:
        return by_chain
    if culprit.born_in == "eval":
        return "kept outputs"
    return "kept tensors"


def cause_in_chain(holding: Holding | None, container: Any) -> str | None:
    """What the chain itself says."""
    if holding is None:
        return None
    chain, path = holding.chain, holding.expressions[-1]
    if any(hook in path for hook in HOOK_DICTS):
        grows = isinstance(container, dict) and any(container is each for each in _hook_dicts(chain))
        return "hooks registered again" if grows else "hook"
    for index, each in enumerate(chain):
        if isinstance(each, torch.optim.Optimizer) and any(container is inner for inner in chain[index + 1 :]):
            return "optimizer state"
        if isinstance(each, _LRU):
            return "lru_cache"
        if isinstance(each, types.GeneratorType | types.CoroutineType):
            return "generator"
        if isinstance(each, types.TracebackType | BaseException):
            return "traceback"
        if isinstance(each, queue.Queue | queue.SimpleQueue):
            return "queue"
    if holding.kind == "thread":
        return "thread"
    if isinstance(container, collections.deque):
        return "deque without bound"
    if any(isinstance(each, types.CellType) for each in chain):
        return "closure"
    if isinstance(container, dict) and any(
        container is getattr(each, name, None) for each in chain for name in MODULE_DICTS
    ):
        return "registered again"
    if isinstance(container, dict) and not _is_namespace(container):
        return "dict without bound"
    if holding.kind == "class":
        return "class attribute"
    return None


def _hook_dicts(chain: tuple[Any, ...]) -> list[Any]:
    out = []
    for each in chain:
        for name in HOOK_DICTS:
            found = getattr(each, name, None) if hasattr(type(each), "register_forward_hook") else None
            if found is not None:
                out.append(found)
    return out


def _is_namespace(container: dict[Any, Any]) -> bool:
    return all(isinstance(key, str) for key in container) and len(container) < 6
