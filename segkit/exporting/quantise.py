"""An ONNX file with weights, and where images to calibrate on are given also activations, in 8 bits.

By ``onnxruntime.quantization``: static, a scale for every channel of a layer's weights, as pairs of QuantizeLinear and
DequantizeLinear that runtimes fold into kernels of 8 bits. Weights have 7 of the 8 bits: processors without VNNI add
pairs of products in 16 bits, which overflow otherwise, and nobody would see it. What is chosen here is which nodes are
in 8 bits (``segkit.exporting.eight_bits``), the ranges of activations (``segkit.models.quantised.range_of``), and the
weights (``segkit.exporting.rounded_weights``).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime import quantization

from segkit.exporting.calibrate import Calibrated, layers_of, quietly
from segkit.exporting.eight_bits import BETWEEN, LAYERS
from segkit.exporting.fast_eight_bits import make_fast

_OVERRIDES = "TensorQuantOverrides"  # an option of ONNX Runtime's quantizer


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
    quietly(quantizer.quantize_model)
    make_fast(quantizer.model.model)
    quantizer.model.save_model_to_file(str(out), False)


def quantise_weights(path: Path, out: Path) -> None:
    """Write a graph whose fully connected layers have weights in 8 bits; activations are quantised as they come."""
    quietly(
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


def _add_to_bias(proto: Any, initial: dict[str, Any], node: Any, more: npt.NDArray[np.float32]) -> None:
    """Give a layer a bias of its own; a MatMul has none."""
    if node.op_type == "MatMul":
        return
    old = onnx.numpy_helper.to_array(initial[node.input[2]]) if len(node.input) > 2 else np.zeros_like(more)
    name = f"{node.name}_bias"
    proto.graph.initializer.append(onnx.numpy_helper.from_array(old + more, name))
    del node.input[2:]
    node.input.append(name)
