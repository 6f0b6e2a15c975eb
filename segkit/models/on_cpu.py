"""A trained model made ready for predictions on a CPU: the same network, in fewer operations.

Its answers are those of the model that was loaded, but for the rounding of float32. ``docs/decisions/0031`` says what
each of these is worth.

- Norms with fixed statistics are multiplied into the weights of the convolutions before them.
- 3x3 convolutions of large maps, and of many regions, are computed with fewer products (``ShortConv2d``).
- Regions are pooled as weighted sums of rows (``segkit.models.pooled_rows``), and the first layer of the box head takes
  them in that order.
- Products with large matrices keep the matrix in the order in which oneDNN reads it (``PackedLinear``).
"""

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.ops import FrozenBatchNorm2d

from segkit.models.frozen_norm import FoldingConv2d
from segkit.models.mask_predictor import MaskPredictor
from segkit.models.roi_align import PyramidRoIAlign
from segkit.runtime.torch_private import short_convolution

_LARGE = 2000  # pixels of a map from which fewer products are worth the transform of the weights
_MANY = 8000  # pixels of all maps of a batch, likewise
_CHANNELS = 32  # with fewer, transforms take as long as products


class ShortConv2d(nn.Conv2d):
    """A 3x3 convolution that needs fewer products where that is faster: in tiles, by Winograd's or Fourier's transform.

    Images of a batch with large maps are computed one after the other, so that each has the answer that it has alone.
    """

    def __init__(self, layer: nn.Conv2d, run: Any) -> None:
        """Take the place of a convolution; its parameters stay the same.

        Args:
            layer: 3x3, of stride 1 and padding 1.
            run: See ``short_convolution``.
        """
        super().__init__(layer.in_channels, layer.out_channels, 3, padding=1, device="meta")
        self.weight, self.bias = layer.weight, layer.bias
        self._run = run

    def forward(self, input: Tensor) -> Tensor:
        """Convolve [B, C, H, W]."""
        count, pixels = len(input), input.shape[-2] * input.shape[-1]
        if input.dtype is not torch.float32 or torch.is_grad_enabled():
            return super().forward(input)
        try:
            if pixels >= _LARGE:
                parts = [self._short(input[i : i + 1]) for i in range(count)]
                return parts[0] if count == 1 else torch.cat(parts)
            if count * pixels >= _MANY:
                return self._short(input)
        except RuntimeError:  # NNPACK declines, for example where it gets no memory
            pass
        return super().forward(input)

    def _short(self, x: Tensor) -> Tensor:
        out: Tensor = self._run(x.contiguous(), self.weight, self.bias, 1, 1)
        return out


class PackedLinear(nn.Module):
    """A product with a large matrix, which oneDNN keeps in an order of its own."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """Keep a copy.

        Args:
            weight: [outputs, inputs].
            bias: [outputs].
        """
        super().__init__()
        self._weight, self._bias = weight.to_mkldnn(), bias

    def forward(self, x: Tensor) -> Tensor:
        """The products of rows [R, inputs]."""
        if not len(x):
            return x.new_zeros(0, self._weight.shape[0])
        out: Tensor = F.linear(x.to_mkldnn(), self._weight).to_dense()
        return out if self._bias is None else out.add_(self._bias)


class ChannelsLastConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution of maps whose channels are beside each other, which oneDNN computes in half the time."""

    def __init__(self, layer: nn.ConvTranspose2d) -> None:
        """Take the place of one without padding; its parameters stay the same."""
        super().__init__(layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, device="meta")  # type: ignore[arg-type]  # a tuple of any length to mypy
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        """Convolve [B, C, H, W]."""
        return super().forward(input.contiguous(memory_format=torch.channels_last), output_size)


def prepare(module: nn.Module) -> None:
    """Make a model in evaluation mode ready; it is not to be trained or saved any more.

    Args:
        module: One of segkit's own networks, on a CPU, in which the order of children is the order in which they are
            applied.
    """
    with torch.no_grad():
        _fold(module)
        for part in module.modules():
            if isinstance(part, PyramidRoIAlign):
                part.by_rows = True
        heads = getattr(module, "roi_heads", None)
        if heads is not None and isinstance(heads.box_head, TwoMLPHead):
            heads.box_roi_pool.rows_first = True
            heads.box_head.fc6 = _taking_rows(heads.box_head.fc6, heads.box_roi_pool.output_size)
        mask_head = getattr(heads, "mask_predictor", None)
        if isinstance(mask_head, MaskPredictor):
            mask_head.conv5_mask = ChannelsLastConvTranspose2d(mask_head.conv5_mask).eval()
        run = short_convolution()
        if run is not None:
            _shorten(module, run)


def _taking_rows(layer: nn.Linear, cells: tuple[int, int]) -> nn.Module:
    """The first layer of a box head for regions [R, n * n * C] instead of [R, C * n * n]."""
    weight = layer.weight.view(layer.out_features, -1, cells[0] * cells[1])
    return _packed(weight.transpose(1, 2).reshape(layer.out_features, -1), layer.bias)


def _packed(weight: Tensor, bias: Tensor | None) -> nn.Module:
    if torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]  # torch has no types there
        return PackedLinear(weight, bias)
    plain = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    plain.weight = nn.Parameter(weight)
    if bias is not None:
        plain.bias = nn.Parameter(bias)
    return plain


def _fold(network: nn.Module) -> None:
    """Multiply norms with fixed statistics into the weights of the convolutions before them."""
    for parent in list(network.modules()):
        for (name, layer), (name_of_norm, norm) in pairwise(list(parent.named_children())):
            if type(layer) not in (nn.Conv2d, FoldingConv2d) or not isinstance(norm, _FIXED):
                continue
            setattr(parent, name, _folded(layer, norm))
            setattr(parent, name_of_norm, nn.Identity())


_FIXED = (nn.BatchNorm2d, nn.SyncBatchNorm, FrozenBatchNorm2d)


def _folded(layer: Any, norm: Any) -> nn.Conv2d:
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = norm.weight.double() * scale
    shift = -norm.running_mean.double() * scale
    if norm.bias is not None:
        shift = shift + norm.bias.double()
    if layer.bias is not None:
        shift = shift + layer.bias.double() * scale
    out = nn.Conv2d(
        layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding, layer.dilation,
        layer.groups, padding_mode=layer.padding_mode, device="meta",
    )  # fmt: skip
    weight = layer.weight.double() * scale[:, None, None, None]
    out.weight, out.bias = nn.Parameter(weight.float()), nn.Parameter(shift.float())
    return out.eval()


def _shorten(network: nn.Module, run: Any) -> None:
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is nn.Conv2d and _is_plain(layer):
                setattr(parent, name, ShortConv2d(layer, run).eval())


def _is_plain(layer: nn.Conv2d) -> bool:
    """Whether it is a 3x3 convolution of all channels, of stride 1 and padding 1."""
    geometry = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups, layer.padding_mode)
    wide = min(layer.in_channels, layer.out_channels) >= _CHANNELS
    return wide and geometry == ((3, 3), (1, 1), (1, 1), (1, 1), 1, "zeros")
