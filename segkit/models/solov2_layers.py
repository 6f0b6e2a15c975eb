"""The layers of SOLOv2 above its pyramid (``segkit.models.solov2``): the heads of grids, and the mask branch."""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.models.fcos import SLOWER

_KERNEL = 128  # numbers of a kernel, and maps of the mask branch


def _convs(channels: int, out: int, count: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for _ in range(count):
        layer = nn.Conv2d(channels, out, 3, padding=1, bias=False)
        nn.init.normal_(layer.weight, std=0.01)
        layers += [layer, nn.GroupNorm(32, out), nn.ReLU()]
        channels = out
    return layers


class GridHead(nn.Module):
    """Labels and kernels of the cells of a grid."""

    def __init__(self, channels: int, num_classes: int, width: int = 256, count: int = 2) -> None:
        super().__init__()
        self.label_tower = nn.Sequential(*_convs(channels, width, count))
        self.kernel_tower = nn.Sequential(*_convs(channels + 2, width, count))
        self.labels = nn.Conv2d(width, num_classes, 3, padding=1)
        self.kernels = nn.Conv2d(width, _KERNEL, 3, padding=1)
        for layer in (self.labels, self.kernels):
            nn.init.normal_(layer.weight, std=0.01)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.kernels.weight, std=0.01 / SLOWER)
        assert self.labels.bias is not None
        nn.init.constant_(self.labels.bias, -4.6)  # probabilities begin at 0.01 (RetinaNet)

    def forward(self, grid: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, K + 1, S, S] and kernels [B, 128, S, S] of features [B, C, S, S]."""
        side = (torch.arange(grid.shape[-1], device=grid.device) + 0.5) / grid.shape[-1] * 2 - 1
        where = torch.stack(torch.meshgrid(side, side, indexing="xy")).to(grid.dtype)
        placed = torch.cat([grid, where.expand(grid.shape[0], -1, -1, -1)], dim=1)
        return self.labels(self.label_tower(grid)).float(), SLOWER * self.kernels(self.kernel_tower(placed)).float()


class MaskFeatures(nn.Module):
    """Maps at stride 4 from those of strides 4 to 32; the last one gets the coordinates of the image."""

    def __init__(self, channels: int, width: int = 128) -> None:
        super().__init__()
        self.levels = nn.ModuleList()
        for level in range(4):
            first = channels + (2 if level == 3 else 0)
            self.levels.append(
                nn.ModuleList(
                    nn.Sequential(*_convs(first if n == 0 else width, width, 1)) for n in range(max(1, level))
                )
            )
        self.last = nn.Sequential(nn.Conv2d(width, _KERNEL, 1, bias=False), nn.GroupNorm(32, _KERNEL), nn.ReLU())

    def forward(self, maps: Sequence[Tensor], where: Tensor) -> Tensor:
        """Maps [B, 128, h, w]; ``where``: coordinates [B, 2, h / 8, w / 8]."""
        total = None
        for level, (convs, x) in enumerate(zip(self.levels, maps, strict=True)):
            x = torch.cat([x, where.to(x.dtype)], dim=1) if level == 3 else x
            for conv in cast(nn.ModuleList, convs):
                x = conv(x)
                if level:
                    x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            total = x if total is None else total + x
        out: Tensor = self.last(total)
        return out.float()
