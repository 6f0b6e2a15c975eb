"""RoIAlign as weighted sums of rows, for predictions on CPUs.

torchvision's kernel walks through a map channel by channel. Where the channels of a pixel are beside each other, an
output cell is a weighted sum of a few rows (four corners of each point), which PyTorch's ``embedding_bag`` computes.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def pool_rows(levels: Sequence[Tensor], scales: Sequence[float], boxes: Tensor, level_of: Tensor, cells: int,
              sampling: int) -> Tensor:  # fmt: skip
    """Regions [R, n * n, C] of an image.

    Args:
        levels: Maps [C, H, W] of the image.
        scales: Pixels of each map in a pixel of the image.
        boxes: [R, 4] in pixels of the image.
        level_of: The map that each region is taken from, [R].
        cells: Rows and columns of a region, n.
        sampling: Points in each direction that a cell is the mean of.
    """
    if not len(boxes):
        return boxes.new_zeros((0, cells * cells, levels[0].shape[0]))
    table = torch.cat([each.flatten(1).t() for each in levels])  # [pixels of all maps, C]
    sizes = [each.shape[-2:] for each in levels]
    firsts = [0]
    for rows_here, columns_here in sizes[:-1]:
        firsts.append(firsts[-1] + rows_here * columns_here)
    first, height, width = (
        torch.tensor(values)[level_of] for values in (firsts, [h for h, _ in sizes], [w for _, w in sizes])
    )
    scaled = boxes * torch.tensor(scales)[level_of][:, None]
    rows, down = _corners(scaled[:, 1], scaled[:, 3], height, cells, sampling)
    columns, across = _corners(scaled[:, 0], scaled[:, 2], width, cells, sampling)
    rows = first[:, None, None] + rows * width[:, None, None]
    where = rows[:, :, None, :, None] + columns[:, None, :, None, :]  # [R, n, n, 2 * sampling, 2 * sampling]
    weights = down[:, :, None, :, None] * across[:, None, :, None, :]
    each = (2 * sampling) ** 2
    out = F.embedding_bag(
        where.reshape(-1, each), table, mode="sum", per_sample_weights=weights.reshape(-1, each)
    )  # [R * n * n, C]
    return out.view(len(boxes), cells * cells, -1)


def _corners(low: Tensor, high: Tensor, length: Tensor, cells: int, sampling: int) -> tuple[Tensor, Tensor]:
    """The positions that each cell between two borders is a sum of, and their weights: [R, cells, 2 * sampling] each.

    A cell is the mean of ``sampling`` points. A point is interpolated between its two neighbours; a point more than one
    position outside is zero, as in torchvision's kernel.
    """
    cell = (high - low).clamp(min=1.0)[:, None] / cells
    offsets = (torch.arange(cells * sampling) + 0.5) / sampling
    point = low[:, None] + offsets * cell
    last = length[:, None]
    inside = ((point >= -1) & (point <= last)).to(point.dtype)
    point = torch.minimum(point.clamp(min=0), last - 1.0)
    below = point.floor()
    share = (point - below) * inside
    positions = torch.stack([below.long(), torch.minimum(below.long() + 1, last - 1)], dim=-1)
    weights = torch.stack([inside - share, share], dim=-1) / sampling
    return positions.view(len(low), cells, -1), weights.view(len(low), cells, -1)
