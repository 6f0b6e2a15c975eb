"""Non-maximum suppression of boxes in groups that lie one after the other."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import nms

TOGETHER_ON_CPU, TOGETHER_ON_GPU = 1000, 25_000
"""Boxes up to which all groups are suppressed at once, as in torchvision. A CPU compares each box with all that
are kept; a GPU keeps a bit for each pair (75 MB), and the host waits for every call."""


def suppress(boxes: Tensor, scores: Tensor, groups: Sequence[int], threshold: float, together: int) -> Tensor:
    """The places of the boxes that remain, by falling score, as torchvision's ``batched_nms`` gives them.

    It looks for the boxes of each group, for which a GPU has to be waited for; here their numbers are known.

    Args:
        boxes: Boxes [N, 4], with coordinates that are not negative.
        scores: Their scores [N].
        groups: Boxes in each group; only boxes of one group suppress each other.
        threshold: Of two boxes with a higher IoU, the one with the lower score goes.
        together: Boxes up to which all groups are suppressed at once, each moved to a place of its own.
    """
    kept: Tensor
    if len(boxes) <= together:
        if not len(boxes):
            return torch.empty(0, dtype=torch.int64, device=boxes.device)
        side = boxes.max() + 1
        moved = torch.cat([part + number * side for number, part in enumerate(torch.split(boxes, list(groups)))])
        kept = nms(moved, scores, threshold)
        return kept
    first, parts = 0, []
    for own, values in zip(torch.split(boxes, list(groups)), torch.split(scores, list(groups)), strict=True):
        parts.append(nms(own, values, threshold).sort().values + first)
        first += len(own)
    kept = torch.cat(parts)
    return kept[scores[kept].sort(descending=True, stable=True).indices]
