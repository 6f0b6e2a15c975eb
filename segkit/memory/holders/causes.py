"""What keeps the tensors of some sites."""

from dataclasses import dataclass
from typing import Any

from segkit.memory.holders.graph_roots import GraphRoot
from segkit.memory.holders.reference_chains import ReferenceChain
from segkit.memory.holders.roots import with_scope
from segkit.memory.measure.allocation import GRAPH, Site


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
