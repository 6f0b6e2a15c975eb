"""A graph in 8 bits, so that ONNX Runtime computes what it says, and without detours.

What is changed here does not change a value, but for what ONNX Runtime would have rounded unasked.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

from segkit.exporting.eight_bits import readers_of

_AFTER_ROWS = (2, 4)  # the new dimensions of features [B, H, 1, W, 1, C]
_TWICE = (1, 1, 2, 1, 2, 1)  # their sizes
_SCALES = (1.0, 1.0, 2.0, 2.0)  # of a Resize


def make_fast(proto: Any) -> None:
    """Keep ONNX Runtime from rounding layers that are in 32 bits, and from its slow way of enlarging.

    Args:
        proto: A graph with pairs of QuantizeLinear and DequantizeLinear; it is changed.
    """
    _keep_in_fp32(proto)
    _repeat_in_8_bits(proto)
    _drop_unread(proto)


def _keep_in_fp32(proto: Any) -> None:
    """Keep ONNX Runtime from rounding the weights of layers that are left out.

    When it opens a file, it puts the weights of every Conv, ConvTranspose and Gemm behind a DequantizeLinear in 8 bits,
    with one scale for all channels (its WeightBiasQuantization) - unless that node has a scale for each channel.
    """
    values = {each.name: each for each in proto.graph.initializer}
    makers = {node.output[0]: node for node in proto.graph.node}
    nodes = []
    for node in proto.graph.node:
        before = makers.get(node.input[0]) if node.input else None
        is_left_out = node.op_type in ("Conv", "ConvTranspose", "Gemm") and node.input[1] in values
        if is_left_out and before is not None and before.op_type == "DequantizeLinear":
            channels = _inputs_of(node, values[node.input[1]].dims)
            names = [f"{node.name}_{what}" for what in ("scale", "zero", "input")]
            for name, old in zip(names, before.input[1:], strict=False):
                one = onnx.numpy_helper.to_array(values[old])
                proto.graph.initializer.append(onnx.numpy_helper.from_array(np.full(channels, one), name))
            nodes.append(
                onnx.helper.make_node("DequantizeLinear", [before.input[0], *names[:2]], names[2:], names[2], axis=1)
            )
            node.input[0] = names[2]
        nodes.append(node)
    _replace_nodes(proto.graph, nodes)


def _inputs_of(node: Any, shape: Sequence[int]) -> int:
    """The number of channels that a layer reads, by the shape of its weights."""
    found: dict[str, int] = {each.name: each.i for each in node.attribute}
    if node.op_type == "Conv":
        return shape[1] * found.get("group", 1)
    return shape[1] if node.op_type == "Gemm" and found.get("transB") else shape[0]


def _repeat_in_8_bits(proto: Any) -> None:
    """Enlarge features in 8 bits to twice their sides by repeating whole pixels.

    Layers in 8 bits have channels last. There ONNX Runtime's Resize looks up every value by itself, six times as slowly
    as a pixel with all its channels is copied.
    """
    graph = proto.graph
    makers = {node.output[0]: node for node in graph.node}
    readers = readers_of(graph)
    values = {each.name: each for each in graph.initializer}
    replaced: dict[str, list[Any]] = {}  # by the output
    for node in graph.node:
        before, after = makers.get(node.input[0]) if node.input else None, readers.get(node.output[0], [])
        if (
            _doubles(node, values)
            and before is not None
            and before.op_type == "DequantizeLinear"
            and [each.op_type for each in after] == ["QuantizeLinear"]
            and _same_numbers(before.input[1:3], after[0].input[1:3], values)
        ):
            out = after[0].output[0]
            replaced[out] = _repeated(node.name, before.input[0], out)
    if replaced:
        for name, numbers in (("axes", _AFTER_ROWS), ("twice", _TWICE), ("sides", (1, 2, 2, 1))):
            graph.initializer.append(onnx.numpy_helper.from_array(np.array(numbers), f"repeat_{name}"))
        _replace_nodes(graph, [new for node in graph.node for new in replaced.get(node.output[0], [node])])


def _doubles(node: Any, values: dict[str, Any]) -> bool:
    """Whether a node gives each pixel of an image to four."""
    if node.op_type != "Resize" or len(node.input) < 3 or node.input[2] not in values:
        return False
    how = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    copies = how.get("mode", b"nearest") == b"nearest"
    whole = how.get("coordinate_transformation_mode") == b"asymmetric" and how.get("nearest_mode") == b"floor"
    return copies and whole and tuple(onnx.numpy_helper.to_array(values[node.input[2]])) == _SCALES


def _same_numbers(some: Sequence[str], others: Sequence[str], values: dict[str, Any]) -> bool:
    pairs = ([onnx.numpy_helper.to_array(values[name]) for name in pair] for pair in zip(some, others, strict=True))
    return all(np.array_equal(one, other) for one, other in pairs)


def _repeated(name: str, given: str, out: str) -> list[Any]:
    """The nodes that enlarge a tensor in 8 bits."""
    make, inside = onnx.helper.make_node, [f"{name}_{number}" for number in range(6)]
    return [
        make("Transpose", [given], inside[:1], inside[0], perm=[0, 2, 3, 1]),
        make("Shape", inside[:1], inside[1:2], inside[1]),
        make("Mul", [inside[1], "repeat_sides"], inside[2:3], inside[2]),
        make("Unsqueeze", [inside[0], "repeat_axes"], inside[3:4], inside[3]),
        make("Expand", [inside[3], "repeat_twice"], inside[4:5], inside[4]),
        make("Reshape", [inside[4], inside[2]], inside[5:], inside[5]),
        make("Transpose", inside[5:], [out], f"{name}_6", perm=[0, 3, 1, 2]),
    ]


def _drop_unread(proto: Any) -> None:
    """Drop nodes whose outputs nobody reads, which ONNX Runtime would run, and constants that nobody reads."""
    graph = proto.graph
    makers = {name: node for node in graph.node for name in node.output}
    read, left = set[str](), [each.name for each in graph.output]
    while left:
        name = left.pop()
        if name not in read and name in makers:
            left += _names_read(makers[name])
        read.add(name)
    _replace_nodes(graph, [node for node in graph.node if read & set(node.output)])
    constants = [each for each in graph.initializer if each.name in read]
    del graph.initializer[:]
    graph.initializer.extend(constants)


def _names_read(node: Any) -> list[str]:
    """The tensors that a node reads, also in graphs inside it."""
    inside = [inner for each in node.attribute for graph in (each.g, *each.graphs) for inner in graph.node]
    return [*node.input, *(name for inner in inside for name in _names_read(inner))]


def _replace_nodes(graph: Any, nodes: Sequence[Any]) -> None:
    kept = [onnx.NodeProto.FromString(each.SerializeToString()) for each in nodes]
    del graph.node[:]
    graph.node.extend(kept)
