"""A semantic branch on a feature pyramid: Panoptic FPN (Kirillov et al. 2019, https://arxiv.org/abs/1901.02446).

Each map of the pyramid is brought to the stride of the finest one by stages of a 3x3 convolution, a group norm, ReLU
and upsampling by 2; the sum goes through a 1x1 convolution and is upsampled to the pixels of the image.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

_WIDTH, _GROUPS = 128, 32  # channels of the branch, as in the paper


class SemanticBranch(nn.Module):
    """Logits of classes from the maps of a pyramid.

    Attributes:
        stride: Of the logits, in pixels of the image.
    """

    def __init__(self, channels: int, levels: Sequence[int], num_classes: int) -> None:
        """Build with random weights.

        Args:
            channels: Of each map.
            levels: Of the pyramid, one after the other; the stride of level n is 2 to the power of n.
            num_classes: Logits of each place.
        """
        super().__init__()
        self.stride = 2 ** levels[0]
        self.scales = nn.ModuleList(_stages(channels, level - levels[0]) for level in levels)
        self.predictor = nn.Conv2d(_WIDTH, num_classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits [B, C, h, w] at the stride of the first map, of maps [B, channels, h, w] from fine to coarse."""
        total: Tensor = self.scales[0](maps[0])
        for scale, each in zip(list(self.scales)[1:], maps[1:], strict=True):
            total = total + scale(each)
        logits: Tensor = self.predictor(total)
        return logits.float()

    def in_pixels(self, logits: Tensor) -> Tensor:
        """Logits [B, C, h, w] in the pixels of the frame, [B, C, H, W]."""
        return F.interpolate(logits, scale_factor=float(self.stride), mode="bilinear", align_corners=False)


def _stages(channels: int, doublings: int) -> nn.Sequential:
    """From a map to one of twice the size as often as said; without, a stage that keeps it."""
    layers: list[nn.Module] = []
    for place in range(max(1, doublings)):
        convolution = nn.Conv2d(channels if place == 0 else _WIDTH, _WIDTH, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
        layers += [convolution, nn.GroupNorm(_GROUPS, _WIDTH), nn.ReLU(inplace=True)]
        if doublings:
            layers.append(nn.Upsample(scale_factor=2.0, mode="bilinear", align_corners=False))
    return nn.Sequential(*layers)
