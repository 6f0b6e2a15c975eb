"""Which parts of a model lose most in 8 bits: each one's own error, of the inputs that it has in 32 bits.

What a whole model loses would have to be measured for every part on all images of a dataset, which took ten minutes;
this takes two runs of the model on a few images, one of them part by part.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from torch import Tensor

from segkit.exporting.eight_bits import readers_of
from segkit.exporting.quantise import Calibrated, run, session_of

_IMAGES = 4


def ranked_parts(calibrated: Calibrated, whole: Path, images: Sequence[Tensor]) -> list[str]:
    """Parts, the one with the largest error first.

    The error is that of the outputs of a part, squared, relative to their squares.

    Args:
        calibrated: The graph.
        whole: It in 8 bits, with no part left out.
        images: uint8 [C, H, W] each, of which some are looked at.
    """
    source, eight = onnx.load(str(calibrated.path)), onnx.load(str(whole))
    known = {name for node in source.graph.node for name in node.output}
    parts = {part: _cut_out(eight.graph, set(names), known) for part, names in calibrated.nodes.parts.items()}
    parts = {part: cut for part, cut in parts.items() if cut[2]}
    names = sorted({name for _, *ends in parts.values() for each in ends for name in each})
    session = session_of(source, names)
    seen = [run(session, names, image) for image in images[:: -(-len(images) // _IMAGES)]]
    errors = {part: _error(eight, *cut, seen) for part, cut in parts.items()}
    return sorted(errors, key=lambda part: errors[part], reverse=True)


def _cut_out(graph: Any, layers: set[str], known: set[str]) -> tuple[list[Any], list[str], dict[str, str]]:
    """The nodes of a part, what others give to it, and what it gives to others.

    Both are tensors of the graph in 32 bits, the last with what they are in 8: an activation that was removed is only
    in the rounding of its outputs, which cuts them off.
    """
    readers = readers_of(graph)
    own = {name for node in graph.node if node.name in layers for name in node.output if name in known}
    ends = [name for name in sorted(own) if _is_read_outside(name, readers, layers)]
    outputs = {name: _rounded_form(name, graph, readers) for name in ends}
    makers = {name: node for node in graph.node for name in node.output}
    nodes: dict[str, Any] = {}
    given: dict[str, None] = {}
    left = list(outputs.values())
    while left:
        name = left.pop()
        node = makers.get(name)
        if node is None:
            continue  # a constant
        if name in known and name not in own:
            given[name] = None
        elif node.output[0] not in nodes:
            nodes[node.output[0]] = node
            left += node.input
    ordered = [node for node in graph.node if node.output[0] in nodes]
    return ordered, list(given), outputs


def _rounded_form(name: str, graph: Any, readers: dict[str, list[Any]]) -> str:
    """The tensor that is read in the place of another one: it after rounding, where it is rounded.

    Where only nodes in 8 bits read it, a node that makes floating point numbers of it is added to the graph.
    """
    rounding = next((each for each in readers.get(name, ()) if each.op_type == "QuantizeLinear"), None)
    if rounding is None:
        return name
    whole = f"{name}_rounded"
    graph.node.append(
        onnx.helper.make_node("DequantizeLinear", [rounding.output[0], *rounding.input[1:]], [whole], whole)
    )
    return whole


def _is_read_outside(name: str, readers: dict[str, list[Any]], layers: set[str]) -> bool:
    """Whether other nodes than the part's own layers read a tensor, rounded or not."""
    for reader in readers.get(name, ()):
        if reader.op_type in ("QuantizeLinear", "DequantizeLinear"):
            if _is_read_outside(reader.output[0], readers, layers):
                return True
        elif reader.name not in layers:
            return True
    return False


def _error(
    whole: Any, nodes: list[Any], given: list[str], outputs: dict[str, str], seen: Sequence[dict[str, Any]]
) -> float:
    """The largest of the relative errors of a part's outputs."""
    infos = [
        [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names]
        for names in (given, outputs.values())
    ]
    graph = onnx.helper.make_graph(nodes, "part", *infos, whole.graph.initializer)
    part = onnx.helper.make_model(graph, opset_imports=whole.opset_import, ir_version=whole.ir_version)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(part.SerializeToString(), options, providers=["CPUExecutionProvider"])
    lost, power = np.zeros(len(outputs)), np.full(len(outputs), 1e-12)
    for values in seen:
        found = session.run(list(outputs.values()), {name: values[name] for name in given})
        for place, (name, value) in enumerate(zip(outputs, found, strict=True)):
            lost[place] += np.square(value - values[name], dtype=np.float64).sum()
            power[place] += np.square(values[name], dtype=np.float64).sum()
    return float((lost / power).max())
