"""An ONNX file with weights, and where images to calibrate on are given also activations, in 8 bits.

By ``onnxruntime.quantization``: static, a scale for every channel of a layer's weights, as pairs of QuantizeLinear and
DequantizeLinear that runtimes fold into kernels of 8 bits. Weights have 7 of the 8 bits: processors without VNNI add
pairs of products in 16 bits, which overflow otherwise, and nobody would see it.
"""

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime import quantization
from onnxruntime.quantization.calibrate import create_calibrator
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor

_LAYERS = ("Conv", "Gemm", "MatMul")
_BETWEEN = ("Add", "MaxPool")  # of features, so that they stay in 8 bits from layer to layer
_GROUP = re.compile(r"/(?:model/)*(?P<group>(?:backbone/)?(?:body|decoder)/[^/]+|backbone/fpn|[^/]+)/")


class _Images(quantization.CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime has no types
    """Images one by one."""

    def __init__(self, name: str, images: Sequence[Tensor]) -> None:
        self._left: Iterator[dict[str, Any]] = iter(
            [{name: np.ascontiguousarray((each if name == "image" else each[None]).numpy())} for each in images]
        )

    def get_next(self) -> dict[str, Any] | None:
        """The next one."""
        return next(self._left, None)


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A graph whose ranges of values are known.

    Attributes:
        path: The graph, prepared.
        ranges: Of its tensors.
        groups: The names of the nodes that can be in 8 bits, by the part of the model that they are in.
    """

    path: Path
    ranges: Any
    groups: dict[str, list[str]]


def calibrate(path: Path, images: Sequence[Tensor]) -> Calibrated:
    """Run a graph on images, and note the ranges of its tensors.

    Args:
        path: The ONNX file; others are written beside it.
        images: uint8 [3, H, W] each.
    """
    prepared, augmented = path.with_suffix(".prepared.onnx"), path.with_suffix(".augmented.onnx")
    _quietly(quant_pre_process, str(path), str(prepared), skip_symbolic_shape=True)
    proto = onnx.load(str(prepared))
    groups = _groups(proto)
    calibrator = _quietly(create_calibrator, str(prepared), [*_LAYERS, *_BETWEEN], str(augmented))
    # One image at a time: the ranges of all are kept until they are put together.
    for start in range(0, len(images), 8):
        calibrator.collect_data(_Images(proto.graph.input[0].name, images[start : start + 8]))
    ranges = calibrator.compute_data()
    augmented.unlink(missing_ok=True)
    return Calibrated(prepared, ranges, groups)


def quantise(calibrated: Calibrated, left_out: Sequence[str], out: Path) -> None:
    """Write a graph in 8 bits.

    Args:
        calibrated: The graph.
        left_out: The parts that stay as they are.
        out: File to write.
    """
    nodes = [name for group, names in calibrated.groups.items() if group not in left_out for name in names]
    quantizer = quantization.QDQQuantizer(
        onnx.load(str(calibrated.path)),
        True,  # per channel
        True,  # 7 bits
        quantization.QuantType.QInt8,
        quantization.QuantType.QUInt8,
        calibrated.ranges,
        nodes,
        [],
        [*_LAYERS, *_BETWEEN],
        {},
    )
    _quietly(quantizer.quantize_model)
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


def _groups(proto: Any) -> dict[str, list[str]]:
    """The nodes that can be in 8 bits, by the part of the model that they are in, in the order of the graph."""
    weights = {each.name for each in proto.graph.initializer}
    groups: dict[str, list[str]] = {}
    for node in proto.graph.node:
        is_layer = node.op_type in _LAYERS and bool(weights & set(node.input))
        inside = re.match(r"/(model/)*(backbone|body|decoder)/", node.name) is not None
        if (is_layer or (node.op_type in _BETWEEN and inside)) and (match := _GROUP.match(node.name)):
            groups.setdefault(match["group"], []).append(node.name)
    return groups


def _quietly(function: Any, *arguments: Any, **named: Any) -> Any:
    """Call a function without its advice in the log."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        return function(*arguments, **named)
    finally:
        logging.disable(disabled)
