"""Losses of regions: by the overlap of each label's pixels with those of its target.

Each is a mean over the labels that occur in an image, then over images. Pixels of label 255 are in no region.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.data.label_maps import IGNORED

_FALSE_POSITIVES, _FALSE_NEGATIVES = 0.3, 0.7  # alpha and beta that were best in the paper of the Tversky loss
_ERODED = 5  # times: lines of up to twice as many pixels, and one, have a skeleton


def dice(logits: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """One minus the soft Dice score (Milletari et al. 2016, https://arxiv.org/abs/1606.04797).

    Args:
        logits: [B, K + 1, H, W].
        target: int64 [B, H, W], 255 where pixels are ignored.
        weights: Of labels in the mean, [K + 1].
    """
    probabilities, truth = _regions(logits, target)
    both, each = (probabilities * truth).sum((2, 3)), (probabilities + truth).sum((2, 3))  # [B, K + 1]
    return _mean(1 - 2 * both / each.clamp(min=1e-6), truth, weights)


def tversky(logits: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """One minus the Tversky index, which counts what is missed more than what is too much.

    TP / (TP + 0.3 FP + 0.7 FN), after Salehi et al. 2017 (https://arxiv.org/abs/1706.05721).

    Args:
        logits: [B, K + 1, H, W].
        target: int64 [B, H, W], 255 where pixels are ignored.
        weights: Of labels in the mean, [K + 1].
    """
    probabilities, truth = _regions(logits, target)
    both = (probabilities * truth).sum((2, 3))  # [B, K + 1]
    too_much, missed = probabilities.sum((2, 3)) - both, truth.sum((2, 3)) - both
    index = both / (both + _FALSE_POSITIVES * too_much + _FALSE_NEGATIVES * missed).clamp(min=1e-6)
    return _mean(1 - index, truth, weights)


def lovasz(logits: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """The Lovasz extension of one minus the IoU (Berman et al. 2018, https://arxiv.org/abs/1705.08790, Lovasz-Softmax).

    Args:
        logits: [B, K + 1, H, W].
        target: int64 [B, H, W], 255 where pixels are ignored.
        weights: Of labels in the mean, [K + 1].
    """
    probabilities, truth = _regions(logits, target)
    errors = (truth - probabilities).abs().flatten(2)  # [B, K + 1, HW]; 0 where ignored, which adds nothing
    with torch.no_grad():  # the order is no function that has a gradient
        order = errors.argsort(dim=2, descending=True)
        inside = truth.flatten(2).gather(2, order).long()  # sums of whole numbers are exact, in every order
        total = inside.sum(2, keepdim=True)
        intersection, union = total - inside.cumsum(2), total + (1 - inside).cumsum(2)
        losses = 1 - intersection / union
        slopes = torch.cat([losses[:, :, :1], losses[:, :, 1:] - losses[:, :, :-1]], dim=2)
        slopes = torch.zeros_like(slopes).scatter(2, order, slopes)
    return _mean((errors * slopes).sum(2), truth, weights)


def cldice(logits: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """One minus the centreline Dice score, which a gap in a thin line costs much (Shit et al. 2021).

    The harmonic mean of two shares: of the predicted skeleton in the target, and of the target's skeleton in the
    prediction (https://arxiv.org/abs/2003.07311). Background has no skeleton and does not count.

    Args:
        logits: [B, K + 1, H, W].
        target: int64 [B, H, W], 255 where pixels are ignored.
        weights: Of labels in the mean, [K + 1].
    """
    probabilities, truth = (each[:, 1:] for each in _regions(logits, target))
    truth = truth.to(probabilities)
    lines, true_lines = soft_skeleton(probabilities), soft_skeleton(truth)
    precision = ((lines * truth).sum((2, 3)) + 1) / (lines.sum((2, 3)) + 1)  # the paper's own terms for empty lines
    recall = ((true_lines * probabilities).sum((2, 3)) + 1) / (true_lines.sum((2, 3)) + 1)
    score = 2 * precision * recall / (precision + recall)
    return _mean(1 - score, truth, None if weights is None else weights[1:])


def soft_skeleton(regions: Tensor, times: int = _ERODED) -> Tensor:
    """The skeletons of regions with soft edges: what erosion and dilation by one pixel do not bring back.

    Args:
        regions: From 0 to 1, [B, K, H, W].
        times: How often they are eroded: half the width of the widest line.
    """
    skeleton = F.relu(regions - _dilated(_eroded(regions)))
    for _ in range(times):
        regions = _eroded(regions)
        lost = F.relu(regions - _dilated(_eroded(regions)))
        skeleton = skeleton + F.relu(lost - skeleton * lost)
    return skeleton


def _eroded(regions: Tensor) -> Tensor:
    down = -F.max_pool2d(-regions, (3, 1), (1, 1), (1, 0))
    across = -F.max_pool2d(-regions, (1, 3), (1, 1), (0, 1))
    return torch.minimum(down, across)


def _dilated(regions: Tensor) -> Tensor:
    return F.max_pool2d(regions, 3, 1, 1)


def _regions(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities and the target's labels as regions, [B, K + 1, H, W] each, both 0 where pixels are ignored."""
    counted = (target != IGNORED)[:, None]
    probabilities = logits.softmax(1) * counted
    truth = F.one_hot(target.where(target != IGNORED, 0), logits.shape[1]).movedim(-1, 1) * counted
    return probabilities, truth


def _mean(losses: Tensor, truth: Tensor, weights: Tensor | None) -> Tensor:
    """The mean of losses [B, labels] over labels that occur, then over images; 0 where none does."""
    occurs = truth.sum((2, 3)) > 0
    if weights is None:
        return ((losses * occurs).sum(1) / occurs.sum(1).clamp(min=1)).mean()
    share = weights * occurs
    return ((losses * share).sum(1) / share.sum(1).clamp(min=1e-6)).mean()
