"""Weights in 8 bits, each chosen with regard to those that are rounded before it.

By the inputs that a layer has on calibration images: what the rounding of one weight changes in the layer's outputs is
made good by the weights that are not rounded yet (GPTQ: Frantar et al. 2022, https://arxiv.org/abs/2210.17323), and the
mean of what is left goes into the bias (Nagel et al. 2019, https://arxiv.org/abs/1906.04721). Weights have 7 of the 8
bits, for the reason in ``segkit.exporting.quantise``.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.models.quantised import LARGEST_WEIGHT, LEAST_SCALE

_MOST_INPUTS = (
    1300  # of an output value, up to which inputs are compared with each other: the work grows with their cube
)
_PATCHES = 1000  # of an image
_DAMPING = 0.01  # of the mean second moment, as in the reference


@dataclass(slots=True)
class Inputs:
    """Moments of the inputs of a layer's output values, from random places of images.

    Attributes:
        count: Number of places.
        total: Sum of the inputs, [G, K]: groups, inputs of an output value.
        products: Sum of the products of any two, [G, K, K]; None where K is too large.
    """

    count: int = 0
    total: Tensor | None = None
    products: Tensor | None = None

    def add(self, patches: Tensor) -> None:
        """Count inputs [G, K, N] of N places."""
        total = patches.sum(2).double()
        self.count += patches.shape[2]
        self.total = total if self.total is None else self.total + total
        if patches.shape[1] <= _MOST_INPUTS:
            products = (patches @ patches.transpose(1, 2)).double()
            self.products = products if self.products is None else self.products + products


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer with weights.

    Attributes:
        node: ONNX's.
        weight: Its weights, as in the graph.
    """

    node: Any
    weight: npt.NDArray[np.float32]
    attributes: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        found = {each.name: onnx.helper.get_attribute_value(each) for each in self.node.attribute}
        object.__setattr__(self, "attributes", found)

    @property
    def axis(self) -> int:
        """The axis of the outputs in the weights."""
        if self.node.op_type == "Conv" or (self.node.op_type == "Gemm" and self.attributes.get("transB")):
            return 0
        return 1

    @property
    def groups(self) -> int:
        """Number of groups of channels."""
        return int(self.attributes.get("group", 1))

    def rows(self) -> Tensor:
        """The weights of each output value, [G, O, K]."""
        weight = torch.from_numpy(np.moveaxis(self.weight, self.axis, 0).copy())
        return weight.reshape(self.groups, len(weight) // self.groups, -1)

    def from_rows(self, rows: Tensor) -> npt.NDArray[np.float32]:
        """Weights as in the graph."""
        moved = np.moveaxis(self.weight, self.axis, 0).shape
        return np.ascontiguousarray(np.moveaxis(rows.reshape(moved).float().numpy(), 0, self.axis))

    def patches(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """The inputs of output values at random places, [G, K, N]."""
        if self.node.op_type != "Conv":
            flat = x.reshape(-1, x.shape[-1])
            return flat[torch.randint(0, len(flat), (min(_PATCHES, len(flat)),), generator=generator)].T[None]
        (down, across), (high, wide) = self.attributes.get("strides", (1, 1)), self.weight.shape[2:]
        dilation = self.attributes.get("dilations", (1, 1))
        top, left, bottom, right = self.attributes.get("pads", (0, 0, 0, 0))
        x = F.pad(x, (left, right, top, bottom))
        rows = (x.shape[2] - dilation[0] * (high - 1) - 1) // down + 1
        columns = (x.shape[3] - dilation[1] * (wide - 1) - 1) // across + 1
        places = len(x) * rows * columns
        chosen = torch.randint(0, places, (min(_PATCHES, places),), generator=generator)
        image, row, column = chosen // (rows * columns), chosen // columns % rows * down, chosen % columns * across
        cells = [
            x[image, :, row + i * dilation[0], column + j * dilation[1]] for i in range(high) for j in range(wide)
        ]  # [N, C] each
        return torch.stack(cells, 2).reshape(len(chosen), self.groups, -1).permute(1, 2, 0)


@dataclass(frozen=True, slots=True)
class Rounded:
    """A layer's weights, rounded.

    Attributes:
        weight: As in the graph; multiples of ``scales``.
        scales: Of each output.
        bias: What is added to each output.
    """

    weight: npt.NDArray[np.float32]
    scales: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]


def rounded(layer: Layer, inputs: Inputs) -> Rounded:
    """Round a layer's weights.

    Args:
        layer: The layer.
        inputs: Of it, on calibration images.
    """
    whole = layer.rows().double()  # [G, O, K]
    scales = (whole.abs().amax(2) / LARGEST_WEIGHT).clamp(min=LEAST_SCALE).float().double()
    if inputs.total is None:  # it was given nothing: a head without a region
        weight, bias = _nearest(whole, scales), torch.zeros_like(scales)
    else:
        mean = inputs.total / inputs.count  # [G, K]
        if inputs.products is None:
            weight = _nearest(whole, scales)
        else:
            covariance = inputs.products / inputs.count - mean[:, :, None] * mean[:, None]
            weight = _one_by_one(whole, covariance, scales)
        bias = ((whole - weight) * mean[:, None]).sum(2)
    return Rounded(layer.from_rows(weight), *(each.flatten().float().numpy() for each in (scales, bias)))


def _nearest(weight: Tensor, scales: Tensor) -> Tensor:
    return (weight / scales[..., None]).round().clamp(-LARGEST_WEIGHT, LARGEST_WEIGHT) * scales[..., None]


def _one_by_one(weight: Tensor, covariance: Tensor, scales: Tensor) -> Tensor:
    """Round weights [G, O, K] column by column; the later ones make good what is lost, by the covariance [G, K, K]."""
    variance = covariance.diagonal(dim1=1, dim2=2)
    order = variance.argsort(1, descending=True)  # [G, K]
    damping = _DAMPING * variance.mean(1, keepdim=True) + LEAST_SCALE
    ordered = covariance + torch.diag_embed(damping.expand_as(variance))
    ordered = ordered.gather(1, order[:, :, None].expand_as(ordered)).gather(2, order[:, None].expand_as(ordered))
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(ordered))
    factor = torch.linalg.cholesky(inverse, upper=True)  # [G, K, K]
    columns = order[:, None].expand_as(weight)
    left, out = weight.gather(2, columns), torch.empty_like(weight)
    for k in range(weight.shape[2]):
        out[..., k] = _nearest(left[..., k : k + 1], scales)[..., 0]
        lost = (left[..., k] - out[..., k]) / factor[:, k, k, None]
        left[..., k + 1 :] -= lost[..., None] * factor[:, None, k, k + 1 :]
    return torch.empty_like(weight).scatter_(2, columns, out)
