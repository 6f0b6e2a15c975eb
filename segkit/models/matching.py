"""Which instance each region belongs to, by overlap, without a table of all instances and all regions.

torchvision computes the IoU of every instance with every anchor at once, with some nine such tables in between: 5.5 GiB
for 500 instances in an image of 800 x 1333. Here a few instances are compared at a time. The IoU of a pair is the
same sum, so that matches are the same to the bit.
"""

import torch
from torch import Tensor

BELOW, BETWEEN = -1, -2
"""The matches of regions that are background, and of those that are neither background nor an instance."""

_BLOCK = 2**22  # pairs that are compared at a time: 16 MiB for each number of a pair


def match_regions(truth: Tensor, regions: Tensor, low: float, high: float, *, keep_best: bool) -> Tensor:
    """The instance of each region [R]: the one that it overlaps most; ``BELOW`` or ``BETWEEN`` where it has none.

    The same as torchvision's ``Matcher`` of ``box_iou``, without an operation that a GPU would have to wait for.

    Args:
        truth: Boxes of the instances [N, 4], N > 0.
        regions: Boxes [R, 4].
        low: A region of a lower IoU is background.
        high: A region of this IoU or a higher one belongs to an instance.
        keep_best: The regions that overlap an instance more than all others do belong to the instance that they
            overlap most, however little that is.
    """
    best = regions.new_full((len(regions),), -1.0)
    matches = torch.zeros(len(regions), dtype=torch.int64, device=regions.device)
    is_best = torch.zeros(len(regions), dtype=torch.bool, device=regions.device)
    rows, area = max(1, _BLOCK // max(1, len(regions))), _area(regions)
    for first in range(0, len(truth), rows):
        overlaps = _iou(truth[first : first + rows], regions, area)  # [n, R]
        values, places = overlaps.max(dim=0)
        better = values > best
        matches = torch.where(better, places + first, matches)
        best = torch.maximum(best, values)
        if keep_best:
            is_best |= (overlaps == overlaps.amax(dim=1, keepdim=True)).any(dim=0)
    found = torch.where(best < low, BELOW, torch.where(best < high, BETWEEN, matches))
    return torch.where(is_best, matches, found)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _iou(boxes: Tensor, regions: Tensor, area: Tensor) -> Tensor:
    """The IoU of boxes [n, 4] and regions [R, 4] with areas [R]: [n, R], as torchvision's ``box_iou``."""
    width = torch.minimum(boxes[:, 2, None], regions[:, 2]).sub_(torch.maximum(boxes[:, 0, None], regions[:, 0]))
    height = torch.minimum(boxes[:, 3, None], regions[:, 3]).sub_(torch.maximum(boxes[:, 1, None], regions[:, 1]))
    both = width.clamp_(min=0).mul_(height.clamp_(min=0))
    union = (_area(boxes)[:, None] + area).sub_(both)
    return both.div_(union)
