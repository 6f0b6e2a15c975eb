"""Which nodes of an ONNX graph are computed in 8 bits, and what each is part of.

Layers with weights are, and between them what only moves, joins or cuts off features, so that these stay in 8 bits from
layer to layer. Results are not: logits rounded to 256 values have ties, and boxes need places between them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

LAYERS = ("Conv", "Gemm", "MatMul")
BETWEEN = ("Add", "MaxPool", "Relu", "Clip", "Resize", "Concat")
_LAYERS_IN_FP32 = ("ConvTranspose",)  # which end a search for results as other layers do
_CHOICES = ("TopK", "NonMaxSuppression", "NonZero", "ArgMax")  # what is made of results, beside outputs
_PART = re.compile(r"/(?:model/)*(?P<part>(?:backbone/)?(?:body|decoder)/[^/]+|backbone/fpn|[^/]+)/")


@dataclass(frozen=True, slots=True)
class Nodes:
    """The nodes of a graph that can be in 8 bits.

    Attributes:
        graph: ONNX's.
        parts: The names of its layers with weights that give no results, by the part of the model that they are in, in
            the order of the graph.
    """

    graph: Any
    parts: dict[str, list[str]]

    def chosen(self, left_out: Sequence[str] = ()) -> list[str]:
        """The nodes to put in 8 bits, in the order of the graph.

        Args:
            left_out: Parts whose layers stay as they are.
        """
        layers = {name for part, names in self.parts.items() if part not in left_out for name in names}
        rounded: set[str] = set()  # tensors
        names = []
        for node in self.graph.node:
            if node.name in layers or _passes(node, rounded):
                names.append(node.name)
                rounded.update(node.output)
        return names

    def tensors(self) -> list[str]:
        """The features whose ranges are needed."""
        chosen, names = set(self.chosen()), dict[str, None]()
        for node in self.graph.node:
            if node.name in chosen:
                inputs = node.input if node.op_type in ("Add", "Concat") else node.input[:1]
                names |= dict.fromkeys((*inputs, *node.output))
        return [name for name in names if name not in self.activated()]

    def of_images(self) -> list[str]:
        """Those of them that no layer has made: the values of pixels."""
        made = set[str]()
        for node in self.graph.node:
            if node.op_type in (*LAYERS, *_LAYERS_IN_FP32) or made & set(node.input):
                made.update(node.output)
        return [name for name in self.tensors() if name not in made]

    def activated(self) -> dict[str, str]:
        """Features that only an activation reads, and its outputs: these have their range, and the activation goes."""
        readers = readers_of(self.graph)
        chosen = set(self.chosen())
        return {
            node.input[0]: node.output[0]
            for node in self.graph.node
            if node.name in chosen and node.op_type in ("Relu", "Clip") and len(readers[node.input[0]]) == 1
        }


def nodes_for_8_bits(graph: Any) -> Nodes:
    """Find the nodes of a graph that can be in 8 bits."""
    weights = {each.name: len(each.dims) for each in graph.initializer}
    readers = readers_of(graph)
    outputs = {each.name for each in graph.output}
    parts: dict[str, list[str]] = {}
    for node in graph.node:
        match = _PART.match(node.name)
        if match and _is_layer(node, weights) and not _gives_results(node, readers, outputs, weights):
            parts.setdefault(match["part"], []).append(node.name)
    return Nodes(graph, parts)


def readers_of(graph: Any) -> dict[str, list[Any]]:
    """The nodes that read each tensor."""
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return readers


def _is_layer(node: Any, weights: dict[str, int]) -> bool:
    """Whether a node has weights that are known: those of a 2D convolution, or a matrix."""
    return node.op_type in LAYERS and weights.get(node.input[1]) == (4 if node.op_type == "Conv" else 2)


def _passes(node: Any, rounded: set[str]) -> bool:
    """Whether a node only passes on features that are in 8 bits."""
    match node.op_type:
        case "Relu" | "Clip" | "MaxPool":
            return node.input[0] in rounded
        case "Resize":
            return node.input[0] in rounded and _is_nearest(node)
        case "Add" | "Concat":
            return all(name in rounded for name in node.input)
    return False


def _is_nearest(node: Any) -> bool:
    return next((each.s for each in node.attribute if each.name == "mode"), b"nearest") == b"nearest"


def _gives_results(node: Any, readers: dict[str, list[Any]], outputs: set[str], weights: dict[str, int]) -> bool:
    """Whether a choice is made of a layer's output, or it leaves the graph, before another layer reads it."""
    seen, left = set[str](), list(node.output)
    while left:
        name = left.pop()
        if name in outputs:
            return True
        for reader in readers.get(name, ()):
            if reader.op_type in _CHOICES:
                return True
            ends = reader.op_type in (*_LAYERS_IN_FP32, "Shape") or _is_layer(reader, weights)
            if not ends:
                left += [each for each in reader.output if each not in seen]
                seen.update(reader.output)
    return False
