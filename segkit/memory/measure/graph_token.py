"""An object in a step's autograd graph whose life shows whether the graph was kept."""

from typing import Any

from segkit.memory.measure.torch_private import attach_to_node, attached_to_node

_LEAVES = ("AccumulateGrad", "TBackward0", "TransposeBackward0")  # nodes that lead to parameters, and nowhere else

_TOKEN = "segkit"


class GraphToken:
    """Is owned by a node of a step's graph: while it lives, something keeps the graph."""

    __slots__ = ("__weakref__",)


def deepest(node: Any) -> Any:
    """The last node on one path through the graph: what keeps any node of this path keeps the last one."""
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
    """Let a node own a new token; None if it has one, or cannot own one."""
    if token_of(node) is not None:
        return None
    token = GraphToken()
    return token if attach_to_node(node, _TOKEN, token) else None
