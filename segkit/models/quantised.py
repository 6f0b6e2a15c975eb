"""Layers that compute as a file in 8 bits does, and can be trained so: quantisation-aware training.

Weights and activations are rounded to the values that 8 bits hold, and stay floating point numbers ("fake
quantisation", Jacob et al. 2018, https://arxiv.org/abs/1712.05877); backward takes rounding for the identity inside the
range (straight-through estimator). Weights have a scale for each output channel, activations one for all
(Krishnamoorthi 2018, https://arxiv.org/abs/1806.08342). Norms are folded into the convolutions before them, as
exporters do. Weights have 7 of the 8 bits, and ranges are chosen, as ``segkit.exporting.quantise`` has it, too.

Ranges of activations are measured once (``measure_ranges``) and fixed: averages over batches would make a step depend
on its micro-batches and ranks, and would be updated twice where activations are computed again.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck
from torchvision.ops import FrozenBatchNorm2d

LARGEST_WEIGHT = 63
LEAST_SCALE = 1e-8
_LEVELS = 255  # of activations
_SAMPLE = 2048  # values of an activation of an image
_SHARES, _LEAST_SHARE = 33, 0.2  # of the whole range that are tried
_FOLDED = (nn.BatchNorm2d, nn.SyncBatchNorm, FrozenBatchNorm2d)
_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.SiLU)
_RESULTS = ("head", "distance", "cls_logits", "bbox_pred", "mask_fcn_logits")  # their outputs are not rounded


class Sample(NamedTuple):
    """What an activation was in one image: its least and largest value, and some of its values [N]."""

    low: Tensor
    high: Tensor
    values: Tensor


def sample_of(x: Tensor) -> Sample:
    """Evenly spread values of an activation that is not empty, and its extremes."""
    flat = x.detach().flatten().float()
    step = max(1, len(flat) // _SAMPLE) | 1  # odd, so that not all are of the same columns
    return Sample(flat.amin(), flat.amax(), flat[::step].clone())


def range_of(samples: Sequence[Sample]) -> tuple[float, float]:
    """The range whose 256 values are nearest to an activation's, by the mean of the squared differences.

    Few values lie far out: cutting them off makes all others finer. The range includes 0.
    """
    if not samples:  # a head that was never given a region
        return 0.0, 0.0
    low, high = extremes_of(samples)
    values = torch.cat([each.values for each in samples])
    shares = torch.linspace(1, _LEAST_SHARE, _SHARES).tolist()
    errors = []
    for share in shares:
        scale = max((high - low) * share / _LEVELS, LEAST_SCALE)
        zero = round(-low * share / scale)
        found = ((values / scale).round_().clamp_(-zero, _LEVELS - zero)).mul_(scale)
        errors.append(found.sub_(values).square_().mean())
    share = shares[int(torch.stack(errors).argmin())]
    return low * share, high * share


def extremes_of(samples: Sequence[Sample]) -> tuple[float, float]:
    """The range of all values, and 0."""
    return min(0.0, *(float(each.low) for each in samples)), max(0.0, *(float(each.high) for each in samples))


class Rounding(nn.Module):
    """Activations rounded to 256 values of a fixed range, which includes 0."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Buffer(torch.ones(()))
        self.zero = nn.Buffer(torch.zeros((), dtype=torch.int32))
        self.seen: list[Sample] | None = None  # while ranges are measured

    def forward(self, x: Tensor) -> Tensor:
        """Round; or only note values."""
        if self.seen is not None:
            self.seen += [sample_of(x)] if x.numel() else []
            return x
        if torch.onnx.is_in_onnx_export():
            out: Tensor = _RoundingNodes.apply(x, float(self.scale), int(self.zero))
            return out
        return torch.fake_quantize_per_tensor_affine(x.float(), self.scale, self.zero, 0, _LEVELS).to(x.dtype)

    def fix(self) -> None:
        """Take the range of the values that were noted."""
        low, high = range_of(self.seen or ())
        scale = max((high - low) / _LEVELS, LEAST_SCALE)
        self.scale.fill_(scale)
        self.zero.fill_(min(max(round(-low / scale), 0), _LEVELS))
        self.seen = None


class _Layer(nn.Module, ABC):
    """What quantised convolutions and fully connected layers share."""

    weight: Any
    bias: Any

    def _take(self, layer: nn.Conv2d | nn.Linear, norm: Any, rounds: bool) -> None:
        bias = layer.bias if layer.bias is not None else layer.weight.new_zeros(len(layer.weight))
        weight, bias = layer.weight.detach(), bias.detach()
        if norm is not None:
            scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
            weight = weight * scale.reshape(-1, *[1] * (weight.dim() - 1))
            bias = (bias - norm.running_mean) * scale + norm.bias
        learns = layer.weight.requires_grad
        self.weight, self.bias = nn.Parameter(weight.detach(), learns), nn.Parameter(bias.detach(), learns)
        self.before = Rounding()
        self.after = Rounding() if rounds else None

    def scales(self) -> Tensor:
        """The scale of each output channel's weights, [C]."""
        largest: Tensor = self.weight.detach().float().flatten(1).abs().amax(1)
        return (largest / LARGEST_WEIGHT).clamp(min=LEAST_SCALE)

    def rounded(self) -> tuple[Tensor, Tensor]:
        """Weights of 8 and biases of 32 bits, as floating point numbers."""
        scales, zeros = self.scales(), torch.zeros(len(self.weight), dtype=torch.int32, device=self.weight.device)
        weight = torch.fake_quantize_per_channel_affine(
            self.weight.float(), scales, zeros, 0, -LARGEST_WEIGHT, LARGEST_WEIGHT
        )
        steps = scales * self.before.scale
        bias = self.bias + ((self.bias / steps).round() * steps - self.bias).detach()
        return weight, bias

    def forward(self, x: Tensor) -> Tensor:
        """Round, compute, round."""
        x = self.before(x)
        if torch.onnx.is_in_onnx_export():
            out: Tensor = _LayerNodes.apply(x, self.weight, self.bias, self)
        else:
            out = self.compute(x, *((self.weight, self.bias) if self.before.seen is not None else self.rounded()))
        return out if self.after is None else self.after(out)

    @abstractmethod
    def compute(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The layer with these weights."""

    @abstractmethod
    def node(self) -> tuple[str, dict[str, Any]]:
        """The name and the attributes of ONNX's operator."""


class QuantisedConv2d(_Layer, nn.Conv2d):
    """A convolution, with the norm after it, of rounded weights and inputs."""

    def __init__(self, layer: nn.Conv2d, norm: nn.Module | None, rounds: bool) -> None:
        """Take the place of a convolution.

        Args:
            layer: The convolution.
            norm: The norm after it.
            rounds: Whether outputs are rounded, too: those that an activation changes are rounded after it.
        """
        # torch's types say tuples of one or two numbers where it keeps tuples of any length.
        nn.Conv2d.__init__(
            self, layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding,  # type: ignore[arg-type]
            layer.dilation, layer.groups, bias=False, device="meta",  # type: ignore[arg-type]
        )  # fmt: skip
        self._take(layer, norm, rounds)

    def compute(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """See ``_Layer``."""
        out: Tensor = self._conv_forward(x, weight, bias)
        return out

    def node(self) -> tuple[str, dict[str, Any]]:
        """See ``_Layer``."""
        pads = [int(each) for each in self.padding] * 2
        return "Conv", {
            "dilations_i": list(self.dilation), "group_i": self.groups, "kernel_shape_i": list(self.kernel_size),
            "pads_i": pads, "strides_i": list(self.stride),
        }  # fmt: skip


class QuantisedLinear(_Layer, nn.Linear):
    """A fully connected layer of rounded weights and inputs [N, C]."""

    def __init__(self, layer: nn.Linear) -> None:
        """Take the place of a layer."""
        nn.Linear.__init__(self, layer.in_features, layer.out_features, bias=False, device="meta")
        self._take(layer, None, rounds=False)

    def compute(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """See ``_Layer``."""
        return F.linear(x, weight, bias)

    def node(self) -> tuple[str, dict[str, Any]]:
        """See ``_Layer``."""
        return "Gemm", {"transB_i": 1}


class _Rounded(nn.Module):
    """An activation function whose outputs are rounded."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation, self.after = activation, Rounding()

    def forward(self, x: Tensor) -> Tensor:
        """Apply it, and round."""
        out: Tensor = self.after(self.activation(x))
        return out


def quantise_layers(model: nn.Module) -> None:
    """Let convolutions and fully connected layers of a model compute as in 8 bits; norms after them disappear.

    Args:
        model: A model in which the order of children is the order in which they are applied.
    """
    for parent in list(model.modules()):
        children = list(parent.named_children())
        for place, (name, layer) in enumerate(children):
            if type(layer) is nn.Linear:
                setattr(parent, name, QuantisedLinear(layer))
            if not isinstance(layer, nn.Conv2d):
                continue
            following = children[place + 1 :]
            norm = following[0][1] if following and isinstance(following[0][1], _FOLDED) else None
            after = following[1:] if norm is not None else following
            activated = bool(after) and isinstance(after[0][1], _ACTIVATIONS)
            if isinstance(parent, Bottleneck):  # its one activation is applied after each convolution, and the sum
                activated = name in ("conv1", "conv2")
            setattr(parent, name, QuantisedConv2d(layer, norm, not activated and name not in _RESULTS))
            if norm is not None:
                setattr(parent, following[0][0], nn.Identity())
        if any(isinstance(layer, nn.Conv2d) for _, layer in children):
            for name, layer in children:
                if isinstance(layer, _ACTIVATIONS):
                    setattr(parent, name, _Rounded(layer))


@contextmanager
def measure_ranges(model: nn.Module) -> Iterator[None]:
    """Note the ranges of activations of what is predicted inside, and fix them at the end; weights are whole there."""
    roundings = [each for each in model.modules() if isinstance(each, Rounding)]
    for each in roundings:
        each.seen = []
    yield
    for each in roundings:
        each.fix()


class _RoundingNodes(torch.autograd.Function):
    """Rounding in an ONNX file: a pair of nodes."""

    @staticmethod
    def forward(context: Any, x: Tensor, scale: float, zero: int) -> Tensor:
        return torch.fake_quantize_per_tensor_affine(x, scale, zero, 0, _LEVELS)

    @staticmethod
    def symbolic(graph: Any, x: Any, scale: float, zero: int) -> Any:
        how = (
            graph.op("Constant", value_t=torch.tensor(scale)),
            graph.op("Constant", value_t=torch.tensor(zero, dtype=torch.uint8)),
        )
        return graph.op("DequantizeLinear", graph.op("QuantizeLinear", x, *how), *how)


class _LayerNodes(torch.autograd.Function):
    """A layer in an ONNX file: its operator, with weights in 8 and biases in 32 bits."""

    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor, bias: Tensor, layer: _Layer) -> Tensor:
        return layer.compute(x, weight, bias)  # only its dimensions are used

    @staticmethod
    def symbolic(graph: Any, x: Any, _weight: Any, _bias: Any, layer: _Layer) -> Any:
        scales = layer.scales()
        steps = scales * layer.before.scale
        weight, bias = (each.detach() for each in layer.rounded())  # what the model computes with, also at a tie
        whole = (weight / scales.reshape(-1, *[1] * (weight.dim() - 1))).round().to(torch.int8)
        bias = (bias / steps).round().to(torch.int32)
        parts = []
        for values, scale in ((whole, scales), (bias, steps)):
            constants = (values.contiguous(), scale, torch.zeros(len(scale), dtype=values.dtype))
            nodes = [graph.op("Constant", value_t=each) for each in constants]
            parts.append(graph.op("DequantizeLinear", *nodes, axis_i=0))
        operator, attributes = layer.node()
        return graph.op(operator, x, *parts, **attributes)
