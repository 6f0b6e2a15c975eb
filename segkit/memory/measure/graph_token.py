"""An object in a step's autograd graph whose life shows whether the graph was kept."""

from typing import Any

LEAVES = ("AccumulateGrad", "TBackward0", "TransposeBackward0")  # nodes that lead to parameters, and nowhere else

_TOKEN = "segkit"


class GraphToken:
    """Is owned by a node of a step's graph: while it lives, something keeps the graph."""

    __slots__ = ("__weakref__",)


def deepest(node: Any) -> Any:
    """The last node on one path through the graph: what keeps any node of this path keeps the last one."""
    for _ in range(2000):
        inner = [each for each, _ in node.next_functions if each is not None and type(each).__name__ not in LEAVES]
        if not inner:
            break
        node = inner[0]
    return node


def token_of(node: Any) -> object | None:
    """The token that a node owns."""
    token: object | None = node.metadata.get(_TOKEN)
    return token


def attach_token(node: Any) -> GraphToken | None:
    """Let a node own a new token, which lives exactly as long as the node; None if it has one."""
    if token_of(node) is not None:
        return None
    token = node.metadata[_TOKEN] = GraphToken()
    return token
