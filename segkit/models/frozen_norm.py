"""Frozen batch norms that are folded into the convolutions before them.

A frozen norm multiplies each channel by a constant and adds another. torchvision computes that in fp32 on the maps,
which under autocast turns every map of bfloat16 into one of fp32: it keeps more for the backward pass than without
autocast. The same factors can be multiplied into the weights of the convolution instead (Markuš 2018,
https://nenadmarkus.com/p/fusing-batchnorm-and-conv/): nothing is computed on maps, and they stay as small as they are.
Parameters and buffers keep their names and values.

In evaluation in fp32 nothing is folded: predictions equal torchvision's to the last bit.
"""

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d


class FrozenNorm(FrozenBatchNorm2d):  # type: ignore[misc]  # torchvision has no types
    """torchvision's frozen batch norm, which may leave its work to the convolution before it.

    Attributes:
        folded: Whether there is one (``fold_norms``).
    """

    folded = False

    def factors(self) -> tuple[Tensor, Tensor]:
        """What each channel is multiplied by, and what is added then: [C] each."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        return scale, self.bias - self.running_mean * scale

    def forward(self, x: Tensor) -> Tensor:
        """Normalise [B, C, H, W], if the convolution did not."""
        if self.folded and _folds(self, x):
            return x
        out: Tensor = super().forward(x)
        return out


class FoldingConv2d(nn.Conv2d):
    """A convolution that does the work of the frozen norm after it."""

    def __init__(self, convolution: nn.Conv2d, norm: FrozenNorm) -> None:
        """Take the place of a convolution without bias; its weight stays the same parameter.

        Args:
            convolution: The convolution.
            norm: The norm after it.
        """
        each = convolution
        super().__init__(
            each.in_channels, each.out_channels, each.kernel_size, each.stride, each.padding, each.dilation,  # type: ignore[arg-type]
            each.groups, bias=False, device="meta",
        )  # fmt: skip
        self.weight = convolution.weight
        self._norm = (norm,)  # in a tuple, so that its buffers do not become this layer's, too

    def forward(self, input: Tensor) -> Tensor:
        """Convolve [B, C, H, W], and normalise."""
        if not _folds(self, input):
            return super().forward(input)
        scale, shift = self._norm[0].factors()
        how: tuple[Any, ...] = (self.stride, self.padding, self.dilation, self.groups)
        if torch.compiler.is_compiling():  # it chooses itself what to keep
            return F.conv2d(input, self.weight * scale[:, None, None, None], shift, *how)
        kind = input.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else input.dtype
        out: Tensor = _Folded.apply(input, self.weight, scale, shift, dtype, how)
        return out


def _folds(layer: nn.Module, x: Tensor) -> bool:
    return layer.training or torch.is_autocast_enabled(x.device.type)


class _Folded(torch.autograd.Function):
    """A convolution with scaled weights; for backward it keeps its input, and scales the weights again.

    Autograd would keep the scaled weights, and under autocast those in bfloat16 as well: 94 and 47 MB in a ResNet-50.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, scale: Tensor, shift: Tensor, dtype: torch.dtype, how: tuple[Any, ...]
    ) -> Tensor:
        x = x.to(dtype)
        ctx.save_for_backward(x, weight, scale)
        ctx.how = how
        return F.conv2d(x, _scaled(weight, scale, dtype), shift.to(dtype), *how)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        x, weight, scale = ctx.saved_tensors
        (gradient,) = gradients
        stride, padding, dilation, groups = ctx.how
        wanted = [ctx.needs_input_grad[0], ctx.needs_input_grad[1], False]
        of_input, of_weight, _ = torch.ops.aten.convolution_backward(
            gradient.to(x.dtype), x, _scaled(weight, scale, x.dtype), None, stride, padding, dilation, False, [0, 0],
            groups, wanted,
        )  # fmt: skip
        if of_weight is not None:
            of_weight = of_weight.to(weight.dtype) * scale[:, None, None, None]
        return of_input, of_weight, None, None, None, None


def _scaled(weight: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    return (weight * scale[:, None, None, None]).to(dtype)


def fold_norms(network: nn.Module) -> None:
    """Let every convolution that is followed by a frozen norm do its work.

    Args:
        network: A network in which the order of children is the order in which they are applied, as in torchvision's.
    """
    for parent in list(network.modules()):
        for (name, convolution), (_, norm) in pairwise(list(parent.named_children())):
            follows = isinstance(norm, FrozenNorm) and type(convolution) is nn.Conv2d
            if follows and convolution.bias is None and convolution.padding_mode == "zeros":
                setattr(parent, name, FoldingConv2d(convolution, norm))
                norm.folded = True
