"""A mark in a step's graph, by which it is told that the graph was kept."""

from typing import Any

from segkit.memory.measure.torch_private import attach_to_node, attached_to_node

_LEAVES = ("AccumulateGrad", "TBackward0", "TransposeBackward0")  # what leads to parameters, and nowhere else

_TOKEN = "segkit"


class GraphToken:
    """Owned by a node of a step's graph: while it lives, something keeps the graph."""

    __slots__ = ("__weakref__",)


def deepest(node: Any) -> Any:
    """The node nearest to the inputs on one way through the graph: whatever keeps any part of this way keeps it."""
    for _ in range(2000):
        following = next(
            (
                each for each, _ in node.next_functions
                if each is not None and type(each).__name__ not in _LEAVES
            ),
            None,
        )  # fmt: skip
        if following is None:
            return node
        node = following
    return node


def token_of(node: Any) -> object | None:
    """The token that a node owns."""
    return attached_to_node(node, _TOKEN)


def attach_token(node: Any) -> GraphToken | None:
    """Let a node own a token, unless it has one."""
    if token_of(node) is not None:
        return None
    token = GraphToken()
    return token if attach_to_node(node, _TOKEN, token) else None
