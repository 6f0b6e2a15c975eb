"""Memory that autograd graphs keep alive, and the tensors that keep the graphs.

A tensor with a ``grad_fn`` keeps every node below it, and with them the saved tensors, to which no Python object
refers. After a backward pass the saved tensors are gone and the nodes stay: about half a kilobyte each of host memory.
"""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from segkit.memory.measure.budget import Deadline
from segkit.memory.measure.graph_token import LEAVES, token_of
from segkit.memory.measure.torch_private import saved_attributes, storage_address

NODE_BYTES = 500  # measured: a Mask R-CNN step keeps 230 to 254 KB in 509 nodes
_NODES, _SECONDS = 200_000, 1.0


@dataclass(frozen=True, slots=True)
class GraphRoot:
    """A tensor that keeps targets alive through its graph.

    Attributes:
        root: The tensor.
        nodes: Nodes of its graph.
        reached: Indices of the targets that it keeps.
    """

    root: torch.Tensor
    nodes: int
    reached: frozenset[int]


def find_graph_roots(
    roots: Sequence[torch.Tensor], wanted: dict[int, int], tokens: dict[int, int], deadline: Deadline | None = None
) -> list[GraphRoot]:
    """The roots whose graphs reach a target, each with the targets that it reaches.

    Args:
        roots: Tensors with a graph.
        wanted: Target by the address of its storage.
        tokens: Target by the identity of an object that a node owns.
        deadline: When to end; by default after a second.
    """
    walk = _Walk(wanted, tokens, deadline or Deadline(_SECONDS))
    out = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for root in roots:
            nodes, reached = walk.below(root.grad_fn)
            if reached:
                out.append(GraphRoot(root, nodes, frozenset(reached)))
    return out


class _Walk:
    """Visits each node once, however many roots there are."""

    def __init__(self, wanted: dict[int, int], tokens: dict[int, int], deadline: Deadline) -> None:
        self.wanted, self.tokens, self.deadline = wanted, tokens, deadline
        self.children: dict[Any, list[Any]] = {}
        self.targets: dict[Any, tuple[int, ...]] = {}
        self.names: dict[type, tuple[str, ...]] = {}

    def below(self, top: Any) -> tuple[int, set[int]]:
        seen, stack, reached = {top}, [top], set[int]()
        while stack and len(seen) < _NODES and not self.deadline.is_over:
            node = stack.pop()
            if node not in self.children:
                self.children[node] = [each for each, _ in node.next_functions if each is not None]
                self.targets[node] = tuple(self._targets(node))
            reached.update(self.targets[node])
            for child in self.children[node]:
                if child not in seen:
                    seen.add(child)
                    stack.append(child)
        return len(seen), reached

    def _targets(self, node: Any) -> Iterable[int]:
        if self.tokens and all(type(child).__name__ in LEAVES for child in self.children[node]):
            token = token_of(node)
            if token is not None and id(token) in self.tokens:
                yield self.tokens[id(token)]
        for tensor in _saved(node, self.names):
            key = storage_address(tensor)
            if key in self.wanted:
                yield self.wanted[key]


def _saved(node: Any, names: dict[type, tuple[str, ...]]) -> Iterable[torch.Tensor]:
    """Tensors that a node saved for backward, and those that a custom function keeps on its ``ctx``."""
    kind = type(node)
    if kind not in names:
        names[kind] = saved_attributes(kind)
    values: list[Any] = []
    for name in names[kind]:
        try:
            values.append(getattr(node, name))
        except (RuntimeError, AttributeError):  # freed by a backward pass
            continue
    values += list(getattr(node, "__dict__", {}).values())
    for value in values:
        for each in value if isinstance(value, tuple | list) else (value,):
            if isinstance(each, torch.Tensor):
                yield each
