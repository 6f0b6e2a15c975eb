"""RoIAlign as two matrix products, for training on CPUs that compute in bfloat16.

Bilinear sampling on a regular grid is separable: an output cell is a weighted sum of rows of a weighted sum of
columns. torchvision's CPU kernel works point by point in fp32 and takes a quarter of a training step; the same sums as
products of small matrices run on the hardware's bf16 units. Everywhere else torchvision's own kernel is used.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign, roi_align
from torchvision.ops.poolers import LevelMapper

from segkit.models.host_counts import on_host
from segkit.models.pooled_rows import pool_rows

_LEVELS = (2, 3, 4, 5)  # of the feature pyramid: strides 4 to 32


class PyramidRoIAlign(MultiScaleRoIAlign):  # type: ignore[misc]  # torchvision has no types
    """``MultiScaleRoIAlign`` over the maps of a pyramid, with matrix products where they are faster.

    torchvision infers the strides from the first image that it sees, by its size before padding, and keeps them: a
    small or odd first image would shift every region of the run. Here they are given.

    Attributes:
        products: Whether matrix products are used where they are faster.
        by_rows: Whether predictions in float32 on a CPU are pooled as sums of rows (``segkit.models.pooled_rows``).
        rows_first: Whether such regions are [R, n * n, C] then.
    """

    products = True
    by_rows = False
    rows_first = False

    def __init__(self, output_size: int, levels: Sequence[int] = _LEVELS, sampling: int = 2) -> None:
        """Pool from the levels of a pyramid.

        Args:
            output_size: Rows and columns of a region.
            levels: The levels, one after the other; the stride of level n is 2 to the power of n.
            sampling: Points in each direction that a cell is the mean of.
        """
        super().__init__([str(number) for number in range(len(levels))], output_size, sampling_ratio=sampling)
        self.scales = [1 / 2**level for level in levels]
        self.map_levels = LevelMapper(levels[0], levels[-1], self.canonical_scale, self.canonical_level)

    def forward(self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]) -> Tensor:
        """See torchvision. In training under CPU autocast to bf16, regions [R, C, n, n] come from products."""
        levels = [features for name, features in x.items() if name in self.featmap_names]
        if self.by_rows and not self.training:
            return self._by_rows(levels, boxes)
        faster = self.training and levels[0].device.type == "cpu" and levels[0].dtype is torch.bfloat16
        if not self.training or len(levels) == 1:
            out: Tensor = super().forward(x, boxes, image_shapes)
            return out
        if not (self.products and faster):
            return self._by_levels(levels, boxes)
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

    def _by_levels(self, levels: list[Tensor], boxes: list[Tensor]) -> Tensor:
        """What torchvision gives, with one wait for a GPU: it looks for the regions of one level after the other."""
        level_of = self.map_levels(boxes)
        counts = on_host((level_of[:, None] == torch.arange(len(levels), device=level_of.device)).sum(dim=0))
        order = level_of.argsort(stable=True)
        images = torch.cat([torch.full_like(each[:, :1], image) for image, each in enumerate(boxes)])
        places = torch.split(torch.cat([images, torch.cat(boxes)], dim=1)[order], counts)
        parts = [
            roi_align(features, own, self.output_size, scale, self.sampling_ratio)
            for features, own, scale in zip(levels, places, self.scales, strict=True)
            if len(own)
        ]
        if not parts:
            return levels[0].new_zeros((0, levels[0].shape[1], *self.output_size))
        whole = torch.cat(parts)
        del parts
        return whole[order.argsort()]

    def _by_rows(self, levels: list[Tensor], boxes: list[Tensor]) -> Tensor:
        """Regions as sums of rows: [R, C, n, n], or [R, n * n, C] where they are wanted so."""
        cells, level_of = self.output_size[0], self.map_levels(boxes).split([len(each) for each in boxes])
        parts = [
            pool_rows([level[i] for level in levels], self.scales, each, level, cells, self.sampling_ratio)
            for i, (each, level) in enumerate(zip(boxes, level_of, strict=True))
        ]
        rows = torch.cat(parts)
        return rows if self.rows_first else rows.transpose(1, 2).reshape(len(rows), rows.shape[2], cells, cells)

    def _pool(self, features: Tensor, boxes: Tensor) -> Tensor:
        """Regions [R, C, n, m] of features [C, H, W] in boxes [R, 4] of feature coordinates."""
        channels, height, width = features.shape
        rows = self._weights(boxes[:, 1], boxes[:, 3], self.output_size[0], height).to(features.dtype)  # [R, n, H]
        columns = self._weights(boxes[:, 0], boxes[:, 2], self.output_size[1], width).to(features.dtype)  # [R, m, W]
        flat = features.permute(1, 2, 0).reshape(height, width * channels)
        strips = (rows.reshape(-1, height) @ flat).view(len(boxes), -1, width, channels)  # [R, n, W, C]
        return torch.matmul(columns[:, None], strips).permute(0, 3, 1, 2)

    def _weights(self, low: Tensor, high: Tensor, cells: int, length: int) -> Tensor:
        """The weight of each of ``length`` positions in each cell between two borders: [R, cells, length].

        A cell is the mean of ``sampling_ratio`` points. A point is interpolated between its two neighbours; a point
        more than one position outside is zero, as in torchvision's kernel.
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
