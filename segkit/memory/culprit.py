"""What a diagnosis comes to: the sites whose tensors one thing keeps, and that thing."""

from dataclasses import dataclass, field
from typing import Any

from segkit.memory.holders.search import Holding
from segkit.memory.measure.tracker import Site


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
