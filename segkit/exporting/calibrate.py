"""What a graph in 8 bits needs to know of the graph: the ranges of its features, and its weights, rounded.

Both by its own values on images. Ranges are those of ``segkit.models.quantised.range_of``; weights are rounded in
``segkit.exporting.rounded_weights``, after channels were made equally large (``segkit.exporting.even_channels``).
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import torch
from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor

from segkit.exporting.eight_bits import Nodes, nodes_for_8_bits
from segkit.exporting.even_channels import even_out, pairs_of
from segkit.exporting.rounded_weights import Inputs, Layer, Rounded, rounded
from segkit.models.quantised import LEAST_SCALE, Sample, extremes_of, range_of, sample_of

_MOST_SIDE = 640  # pixels; of larger images the middle is looked at, as all features are in memory at once
_FOR_WEIGHTS = 16  # images
_LITTLE = 64  # pixels


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A graph whose ranges of values are known, and its weights in 8 bits.

    Attributes:
        path: The graph, prepared: norms are folded into the layers before them.
        nodes: Those that can be in 8 bits.
        ranges: Of its tensors.
        weights: By the name of the weights.
    """

    path: Path
    nodes: Nodes
    ranges: Any
    weights: dict[str, Rounded]


def calibrate(path: Path, images: Sequence[Tensor]) -> Calibrated:
    """Run a graph on images, note the ranges of its tensors, and round its weights.

    Args:
        path: The ONNX file; another is written beside it.
        images: uint8 [C, H, W] each.
    """
    prepared = path.with_suffix(".prepared.onnx")
    quietly(quant_pre_process, str(path), str(prepared), skip_symbolic_shape=True)
    proto = onnx.load(str(prepared))
    _name_constants(proto.graph)
    _with_even_channels(proto, images)
    onnx.save(proto, str(prepared))
    nodes = nodes_for_8_bits(proto.graph)
    layers = layers_of(proto, nodes)
    names = list(dict.fromkeys([*nodes.tensors(), *(each.node.input[0] for each in layers)]))
    samples: dict[str, list[Sample]] = {name: [] for name in names}
    inputs = {each.node.input[1]: Inputs() for each in layers}
    session = session_of(proto, names)
    every = -(-len(images) // _FOR_WEIGHTS)
    generator = torch.Generator().manual_seed(0)
    for number, image in enumerate(images):
        values = run(session, names, image)
        for name, value in values.items():
            samples[name] += [sample_of(torch.from_numpy(value))] if value.size else []
        for layer in layers if number % every == 0 else ():
            x = torch.from_numpy(values[layer.node.input[0]])
            if x.numel():
                inputs[layer.node.input[1]].add(layer.patches(x, generator))
    for number in (0, 255):  # a picture may have any value, and with the whole range some backbones round none
        values = run(session, names, torch.full((len(images[0]), _LITTLE, _LITTLE), number, dtype=torch.uint8))
        for name in nodes.of_images():
            samples[name].append(sample_of(torch.from_numpy(values[name])))
    by_name = {each.node.input[1]: each for each in layers}
    weights = {name: rounded(each, inputs[name]) for name, each in by_name.items()}
    return Calibrated(prepared, nodes, _ranges(nodes, samples), weights)


def _name_constants(graph: Any) -> None:
    """Turn nodes that are constants into named ones, which are looked for; ONNX Runtime before 1.32 leaves some."""
    nodes = []
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            named = onnx.TensorProto()
            named.CopyFrom(node.attribute[0].t)
            named.name = node.output[0]
            graph.initializer.append(named)
        else:
            nodes.append(onnx.NodeProto.FromString(node.SerializeToString()))
    del graph.node[:]
    graph.node.extend(nodes)


def _with_even_channels(proto: Any, images: Sequence[Tensor]) -> None:
    """Make channels between layers equally large, by those of images."""
    pairs = pairs_of(proto.graph)
    if not pairs:
        return
    names = [each.features for each in pairs]
    session = session_of(proto, names)
    largest: dict[str, npt.NDArray[np.float32]] = {}
    for image in images:
        for name, value in run(session, names, image).items():
            found = np.moveaxis(value, 1, 0).reshape(value.shape[1], -1).max(1, initial=0)
            largest[name] = np.maximum(largest[name], found) if name in largest else found
    even_out(proto.graph, pairs, largest)


def layers_of(proto: Any, nodes: Nodes) -> list[Layer]:
    """The layers of a graph that can be in 8 bits."""
    names = {name for part in nodes.parts.values() for name in part}
    values = {each.name: each for each in proto.graph.initializer}
    return [
        Layer(node, onnx.numpy_helper.to_array(values[node.input[1]]))
        for node in proto.graph.node
        if node.name in names
    ]


def session_of(proto: Any, names: Sequence[str] | None) -> ort.InferenceSession:
    """A graph, ready to give tensors inside it; None: its outputs."""
    inside = onnx.ModelProto()
    inside.CopyFrom(proto)
    if names is not None:
        infos = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names]
        del inside.graph.output[:]
        inside.graph.output.extend(infos)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(inside.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(session: ort.InferenceSession, names: Sequence[str], image: Tensor) -> dict[str, npt.NDArray[Any]]:
    """The tensors of one image, uint8 [C, H, W]; of a large one those of its middle."""
    top, left = (max(0, side - _MOST_SIDE) // 2 for side in image.shape[-2:])
    image = image[:, top : top + _MOST_SIDE, left : left + _MOST_SIDE]
    name = session.get_inputs()[0].name
    given = np.ascontiguousarray((image if name == "image" else image[None]).numpy())
    return dict(zip(names, session.run(list(names), {name: given}), strict=True))


def _ranges(nodes: Nodes, samples: dict[str, list[Sample]]) -> Any:
    """ONNX Runtime's record of ranges; what an activation cuts off needs none, and has its range."""
    found = {}
    whole = set(nodes.of_images())
    for name, values in samples.items():
        low, high = extremes_of(values) if name in whole else range_of(values)
        found[name] = (np.float32(low), np.float32(max(high, low + LEAST_SCALE)))
    for before, after in nodes.activated().items():
        found[before] = found[after]
    return TensorsData(CalibrationMethod.MinMax, found)


def quietly(function: Any, *arguments: Any, **named: Any) -> Any:
    """Call a function without its advice in the log."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        return function(*arguments, **named)
    finally:
        logging.disable(disabled)
