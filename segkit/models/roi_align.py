"""RoIAlign as two matrix products, for training on CPUs that compute in bfloat16.

Bilinear sampling on a regular grid is separable: an output cell is a weighted sum of rows of a weighted sum of
columns. torchvision's CPU kernel works point by point in fp32 and takes a quarter of a training step; the same sums
as products of small matrices run on the hardware's bf16 units. Everywhere else torchvision's own kernel is used.
"""

from typing import Any

import torch
from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign


class MatrixRoIAlign(MultiScaleRoIAlign):  # type: ignore[misc]  # torchvision has no types
    """``MultiScaleRoIAlign`` that takes the short cut where it is one; same parameters, same results."""

    def forward(self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]) -> Tensor:
        """See torchvision. In training under CPU autocast to bf16, regions [R, C, n, n] come from products."""
        levels = [features for name, features in x.items() if name in self.featmap_names]
        shortcut = self.training and levels[0].device.type == "cpu" and levels[0].dtype is torch.bfloat16
        if not shortcut or self.map_levels is None or self.scales is None:
            out: Tensor = super().forward(x, boxes, image_shapes)
            return out
        level_of = self.map_levels(boxes).split([len(each) for each in boxes])
        regions, places, first = [], [], 0
        for image, (each, level) in enumerate(zip(boxes, level_of, strict=True)):
            for number, (features, scale) in enumerate(zip(levels, self.scales, strict=True)):
                chosen = torch.where(level == number)[0]
                if len(chosen):
                    regions.append(self._pool(features[image], each[chosen] * scale))
                    places.append(chosen + first)
            first += len(each)
        if not regions:
            return levels[0].new_zeros((0, levels[0].shape[1], *self.output_size))
        return torch.cat(regions)[torch.cat(places).argsort()]

    def _pool(self, features: Tensor, boxes: Tensor) -> Tensor:
        """Regions [R, C, n, m] of features [C, H, W] in boxes [R, 4] of feature coordinates."""
        channels, height, width = features.shape
        rows = self._weights(boxes[:, 1], boxes[:, 3], self.output_size[0], height).to(features.dtype)  # [R, n, H]
        columns = self._weights(boxes[:, 0], boxes[:, 2], self.output_size[1], width).to(features.dtype)  # [R, m, W]
        flat = features.permute(1, 2, 0).reshape(height, width * channels)
        strips = (rows.reshape(-1, height) @ flat).view(len(boxes), -1, width, channels)  # [R, n, W, C]
        return torch.matmul(columns[:, None], strips).permute(0, 3, 1, 2)

    def _weights(self, low: Tensor, high: Tensor, cells: int, length: int) -> Tensor:
        """How much each of ``length`` positions counts in each cell between two borders: [R, cells, length].

        A cell is the mean of ``sampling_ratio`` points; a point is interpolated between its two neighbours, and one
        more than a position outside counts as zero, as in torchvision's kernel.
        """
        cell = (high - low).clamp(min=1.0)[:, None] / cells
        points = cells * self.sampling_ratio
        offsets = (torch.arange(points, device=low.device) + 0.5) / self.sampling_ratio
        where = low[:, None] + offsets * cell  # [R, points]
        inside = ((where >= -1) & (where <= length)).to(low.dtype)
        where = where.clamp(0, length - 1)
        below = where.floor()
        share = (where - below) * inside
        out = torch.zeros(len(low), points, length, device=low.device)
        out.scatter_add_(2, below.long()[..., None], (inside - share)[..., None])
        out.scatter_add_(2, (below + 1).clamp(max=length - 1).long()[..., None], share[..., None])
        return out.view(len(low), cells, self.sampling_ratio, length).mean(2)


def use_matrix_products(pool: Any) -> None:
    """Let a torchvision pooler take the short cut."""
    pool.__class__ = MatrixRoIAlign  # it has no state of its own, and torchvision's constructor takes the names only
