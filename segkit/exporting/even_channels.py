"""Channels of one size, before features are rounded to 8 bits.

The features between a layer and a depthwise convolution have one scale for all channels, and the largest channel sets
it: a channel that reaches a sixteenth of that has 16 of the 256 values. A depthwise convolution reads each channel by
itself, so its weights can take back a factor that the layer before has given (cross-layer equalization: Nagel et al.
2019, https://arxiv.org/abs/1906.04721). Weights have a scale for each channel, and do not notice. ReLU lets any factor
pass. A Clip then cuts off at the largest value that was seen of each channel, as the end of a range does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from segkit.exporting.eight_bits import readers_of

_LARGEST_FACTOR = 64.0  # of channels that hardly tell anything
Values = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Pair:
    """A convolution, and the depthwise one after it.

    Attributes:
        before: ONNX's node of the first.
        after: Of the second.
        features: What is between them, after the activation.
        limit: Where the activation cuts off; None: nowhere.
    """

    before: Any
    after: Any
    features: str
    limit: float | None


def pairs_of(graph: Any) -> list[Pair]:
    """The pairs of a graph between which there is nothing but an activation."""
    values = {each.name: each for each in graph.initializer}
    readers = readers_of(graph)
    outputs = {each.name for each in graph.output}
    pairs = []
    for node in graph.node:
        if node.op_type != "Conv" or node.input[1] not in values:
            continue
        activation = _only_reader(node.output[0], readers, outputs)
        if activation is None or activation.op_type not in ("Relu", "Clip"):
            continue
        after = _only_reader(activation.output[0], readers, outputs)
        limit = _limit(activation, values)
        if after is not None and limit != 0 and _is_depthwise(after, values):
            pairs.append(Pair(node, after, activation.output[0], limit))
    return pairs


def even_out(graph: Any, pairs: Sequence[Pair], largest: dict[str, Values]) -> None:
    """Give every channel between two layers the same largest value.

    Args:
        graph: ONNX's; it is changed.
        pairs: Its pairs.
        largest: The largest value of each channel that was seen, by the name of the features.
    """
    for pair in pairs:
        seen = largest[pair.features]
        aim = pair.limit if pair.limit is not None else float(seen.max())
        least = max(aim / _LARGEST_FACTOR, 1e-30)
        factors = np.where(seen > 0, aim / np.maximum(seen, least), 1).astype(np.float32)
        _scale(graph, pair.before, 1, factors)
        if len(pair.before.input) > 2:
            _scale(graph, pair.before, 2, factors)
        _scale(graph, pair.after, 1, np.reciprocal(factors))


def _only_reader(name: str, readers: dict[str, list[Any]], outputs: set[str]) -> Any:
    """The node that alone reads a tensor."""
    found = readers.get(name, [])
    return found[0] if len(found) == 1 and name not in outputs and found[0].input[0] == name else None


def _limit(activation: Any, values: dict[str, Any]) -> float | None:
    """Where an activation cuts off; None: nowhere; 0: not as is needed here."""
    if activation.op_type == "Relu":
        return None
    ends = [values.get(name) for name in activation.input[1:]]
    if len(ends) != 2 or any(each is None for each in ends):
        return 0.0
    low, high = (float(onnx.numpy_helper.to_array(each)) for each in ends)
    return high if low == 0 else 0.0


def _is_depthwise(node: Any, values: dict[str, Any]) -> bool:
    """Whether a node is a convolution with a filter for each channel."""
    if node.op_type != "Conv" or node.input[1] not in values:
        return False
    groups = next((int(each.i) for each in node.attribute if each.name == "group"), 1)
    shape = list(values[node.input[1]].dims)
    return shape[:2] == [groups, 1]


def _scale(graph: Any, node: Any, place: int, factors: Values) -> None:
    """Give a node constants of its own, multiplied by a factor for each output."""
    old = next(each for each in graph.initializer if each.name == node.input[place])
    array = onnx.numpy_helper.to_array(old)
    name = f"{node.name}_even_{place}"
    # A layer may stand between two pairs, and be scaled twice.
    name = name if old.name != name else f"{name}_again"
    scaled = (array * factors.reshape(-1, *[1] * (array.ndim - 1))).astype(np.float32)
    graph.initializer.append(onnx.numpy_helper.from_array(scaled, name))
    node.input[place] = name
