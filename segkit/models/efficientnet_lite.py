"""EfficientNet-Lite (https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite), 2020.

EfficientNet (Tan and Le 2019, https://arxiv.org/abs/1905.11946) for phones: ReLU6, no squeeze and excitation, a stem
that does not grow. Parameters have the names of the reference in PyTorch, in which its ImageNet weights are published.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from segkit.models.input_channels import statistics

_STEM = 32
MEAN, STD = 127 / 255, 128 / 255  # what the published weights expect images to be normalised with


@dataclass(frozen=True, slots=True)
class _Stage:
    """Blocks of one width; the first has the stride."""

    repeats: int
    kernel: int
    stride: int
    expand: int
    channels: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16), _Stage(2, 3, 2, 6, 24), _Stage(2, 5, 2, 6, 40), _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112), _Stage(4, 5, 2, 6, 192), _Stage(1, 3, 1, 6, 320),
)  # fmt: skip
SCALES = {"efficientnet_lite0": (1.0, 1.0), "efficientnet_lite2": (1.1, 1.2)}
"""How much wider and deeper than the first each network is."""


class Renormalise(nn.Module):
    """Changes images that are normalised as torchvision's weights expect it, to what these weights expect."""

    def forward(self, x: Tensor) -> Tensor:
        """Change images [B, C, H, W]."""
        mean, std = (x.new_tensor(each)[:, None, None] for each in statistics(int(x.shape[1])))
        scale, shift = std / STD, (mean - MEAN) / STD
        out: Tensor = x * scale + shift
        return out


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution without bias, and with the padding of ``SAME`` where it does not need ``_padding``."""
    return nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2 * (stride == 1), groups=groups, bias=False)


def _padding(kernel: int, stride: int) -> nn.Module:
    """TensorFlow's padding ``SAME`` of even sides before a convolution of stride 2: one more at the end."""
    return nn.ZeroPad2d([(kernel - 2) // 2, (kernel - 1) // 2] * 2) if stride == 2 else nn.Identity()  # type: ignore[arg-type]


class Block(nn.Module):
    """An inverted residual: wider by a convolution of 1x1, depthwise, and narrow again."""

    def __init__(self, inputs: int, stage: _Stage, stride: int, outputs: int, norm: Callable[[int], nn.Module]) -> None:
        """Build with random weights."""
        super().__init__()
        self._pad = _padding(stage.kernel, stride)
        wide = inputs * stage.expand
        if stage.expand > 1:
            self._expand_conv = _convolution(inputs, wide, 1)
            self._bn0 = norm(wide)
            self._relu0 = nn.ReLU6(inplace=True)
        self._depthwise_conv = _convolution(wide, wide, stage.kernel, stride, groups=wide)
        self._bn1 = norm(wide)
        self._relu1 = nn.ReLU6(inplace=True)
        self._project_conv = _convolution(wide, outputs, 1)
        self._bn2 = norm(outputs)
        self._adds = stride == 1 and inputs == outputs
        self._expands = stage.expand > 1

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, C', H', W'] of maps [B, C, H, W]."""
        y = self._relu0(self._bn0(self._expand_conv(x))) if self._expands else x
        y = self._relu1(self._bn1(self._depthwise_conv(self._pad(y))))
        out: Tensor = self._bn2(self._project_conv(y))
        return x + out if self._adds else out


class EfficientNetLite(nn.Module):
    """The network with its classifier, so that published weights load as a whole."""

    def __init__(self, name: str, norm: Callable[[int], nn.Module], num_classes: int = 1000) -> None:
        """Build with random weights.

        Args:
            name: One of ``SCALES``.
            norm: Makes a norm for a number of channels.
            num_classes: Outputs of the classifier.
        """
        super().__init__()
        wide, deep = SCALES[name]
        self._input, self._pad = Renormalise(), _padding(3, 2)
        self._conv_stem, self._bn0, self._relu = _convolution(3, _STEM, 3, 2), norm(_STEM), nn.ReLU6(inplace=True)
        blocks: list[Block] = []
        inputs = _STEM
        self.last_blocks: list[int] = []
        self.widths: list[int] = []
        for number, stage in enumerate(_STAGES):
            outputs = rounded(stage.channels * wide)
            fixed = number in (0, len(_STAGES) - 1)
            for repeat in range(stage.repeats if fixed else math.ceil(stage.repeats * deep)):
                blocks.append(Block(inputs, stage, stage.stride if repeat == 0 else 1, outputs, norm))
                inputs = outputs
            self.last_blocks.append(len(blocks) - 1)
            self.widths.append(outputs)
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = _convolution(inputs, 1280, 1), norm(1280)
        self._fc = nn.Linear(1280, num_classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:
        """Scores of classes [B, N] of images [B, 3, H, W], normalised by ImageNet's mean and deviation."""
        x = self._relu(self._bn0(self._conv_stem(self._pad(self._input(x)))))
        for block in self._blocks:
            x = block(x)
        x = F.relu6(self._bn1(self._conv_head(x)))
        out: Tensor = self._fc(x.mean((2, 3)))
        return out


def rounded(channels: float, divisor: int = 8) -> int:
    """A number of channels as the reference rounds it: to a multiple of 8, and not down by more than a tenth."""
    out = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return out + divisor if out < 0.9 * channels else out
