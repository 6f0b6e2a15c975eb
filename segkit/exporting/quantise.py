"""An ONNX file with weights, and where images to calibrate on are given also activations, in 8 bits.

By ``onnxruntime.quantization``: static, a scale for every channel of a layer's weights, as pairs of QuantizeLinear and
DequantizeLinear that runtimes fold into kernels of 8 bits. Weights have 7 of the 8 bits: processors without VNNI add
pairs of products in 16 bits, which overflow otherwise, and nobody would see it. What is chosen here is which nodes are
in 8 bits (``segkit.exporting.eight_bits``), the ranges of activations (``segkit.models.quantised.range_of``), and the
weights (``segkit.exporting.rounded_weights``).
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
from onnxruntime import quantization
from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor

from segkit.exporting.eight_bits import BETWEEN, LAYERS, Nodes, nodes_for_8_bits
from segkit.exporting.fast_eight_bits import make_fast
from segkit.exporting.rounded_weights import Inputs, Layer, Rounded, rounded
from segkit.models.quantised import LEAST_SCALE, Sample, range_of, sample_of

_MOST_SIDE = 640  # pixels; of larger images the middle is looked at, as all features are in memory at once
_FOR_WEIGHTS = 16  # images
_OVERRIDES = "TensorQuantOverrides"  # an option of ONNX Runtime's quantizer


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
    _quietly(quant_pre_process, str(path), str(prepared), skip_symbolic_shape=True)
    proto = onnx.load(str(prepared))
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
    by_name = {each.node.input[1]: each for each in layers}
    weights = {name: rounded(each, inputs[name]) for name, each in by_name.items()}
    return Calibrated(prepared, nodes, _ranges(nodes, samples), weights)


def quantise(calibrated: Calibrated, left_out: Sequence[str], out: Path) -> None:
    """Write a graph in 8 bits.

    Args:
        calibrated: The graph.
        left_out: The parts that stay as they are.
        out: File to write.
    """
    proto = onnx.load(str(calibrated.path))
    chosen = calibrated.nodes.chosen(left_out)
    layers = [each for each in layers_of(proto, calibrated.nodes) if each.node.name in set(chosen)]
    initial = {each.name: each for each in proto.graph.initializer}
    for node in proto.graph.node:  # equal tensors are one, which PyTorch's exporter gives several names
        if node.op_type == "Identity" and node.input[0] in initial:
            initial[node.output[0]] = initial[node.input[0]]
    overrides = {}
    for name, layer in {each.node.input[1]: each for each in layers}.items():
        found = calibrated.weights[name]
        initial[name].CopyFrom(onnx.numpy_helper.from_array(found.weight, name))
        zero = {"zero_point": np.int8(0), "axis": layer.axis, "quant_type": quantization.QuantType.QInt8}
        overrides[name] = [{"scale": scale, **zero} for scale in found.scales]
    for layer in layers:
        _add_to_bias(proto, initial, layer.node, calibrated.weights[layer.node.input[1]].bias)
    quantizer = quantization.QDQQuantizer(
        proto,
        True,  # per channel
        True,  # 7 bits
        quantization.QuantType.QInt8,
        quantization.QuantType.QUInt8,
        calibrated.ranges,
        chosen,
        [],
        [*LAYERS, *BETWEEN],
        {_OVERRIDES: overrides},
    )
    _quietly(quantizer.quantize_model)
    make_fast(quantizer.model.model)
    quantizer.model.save_model_to_file(str(out), False)


def quantise_weights(path: Path, out: Path) -> None:
    """Write a graph whose fully connected layers have weights in 8 bits; activations are quantised as they come."""
    _quietly(
        quantization.quantize_dynamic,
        str(path),
        str(out),
        op_types_to_quantize=["MatMul", "Gemm"],
        per_channel=True,
        reduce_range=True,
        weight_type=quantization.QuantType.QInt8,
    )


def has_connected_layers(path: Path) -> bool:
    """Whether a graph has fully connected layers."""
    proto = onnx.load(str(path))
    weights = {each.name for each in proto.graph.initializer}
    return any(node.op_type in ("Gemm", "MatMul") and weights & set(node.input) for node in proto.graph.node)


def layers_of(proto: Any, nodes: Nodes) -> list[Layer]:
    """The layers of a graph that can be in 8 bits."""
    names = {name for part in nodes.parts.values() for name in part}
    values = {each.name: each for each in proto.graph.initializer}
    return [
        Layer(node, onnx.numpy_helper.to_array(values[node.input[1]]))
        for node in proto.graph.node
        if node.name in names
    ]


def session_of(proto: Any, names: Sequence[str]) -> ort.InferenceSession:
    """A graph, ready to give tensors inside it."""
    inside = onnx.ModelProto()
    inside.CopyFrom(proto)
    del inside.graph.output[:]
    inside.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(inside.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(session: ort.InferenceSession, names: Sequence[str], image: Tensor) -> dict[str, npt.NDArray[np.float32]]:
    """The tensors of one image, uint8 [C, H, W]; of a large one those of its middle."""
    top, left = (max(0, side - _MOST_SIDE) // 2 for side in image.shape[-2:])
    image = image[:, top : top + _MOST_SIDE, left : left + _MOST_SIDE]
    name = session.get_inputs()[0].name
    given = np.ascontiguousarray((image if name == "image" else image[None]).numpy())
    return dict(zip(names, session.run(list(names), {name: given}), strict=True))


def _ranges(nodes: Nodes, samples: dict[str, list[Sample]]) -> Any:
    """ONNX Runtime's record of ranges; what an activation cuts off needs none, and has its range."""
    found = {}
    for name, values in samples.items():
        low, high = range_of(values)
        found[name] = (np.float32(low), np.float32(max(high, low + LEAST_SCALE)))
    for before, after in nodes.activated().items():
        found[before] = found[after]
    return TensorsData(CalibrationMethod.MinMax, found)


def _add_to_bias(proto: Any, initial: dict[str, Any], node: Any, more: npt.NDArray[np.float32]) -> None:
    """Give a layer a bias of its own; a MatMul has none."""
    if node.op_type == "MatMul":
        return
    old = onnx.numpy_helper.to_array(initial[node.input[2]]) if len(node.input) > 2 else np.zeros_like(more)
    name = f"{node.name}_bias"
    proto.graph.initializer.append(onnx.numpy_helper.from_array(old + more, name))
    del node.input[2:]
    node.input.append(name)


def _quietly(function: Any, *arguments: Any, **named: Any) -> Any:
    """Call a function without its advice in the log."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        return function(*arguments, **named)
    finally:
        logging.disable(disabled)
