"""Losses of label maps; pixels of label 255 count for nothing."""

from typing import assert_never

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.config.train import UnetLoss

IGNORED = 255


def semantic_losses(kind: UnetLoss, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
    """The losses that a name stands for.

    Args:
        kind: Which.
        logits: [B, K + 1, H, W].
        target: int64 [B, H, W], 255 where nothing may be learnt.
    """
    match kind:
        case "ce":
            return {"ce": cross_entropy(logits, target)}
        case "dice":
            return {"dice": dice(logits, target)}
        case "ce+dice":
            return {"ce": cross_entropy(logits, target), "dice": dice(logits, target)}
        case "focal":
            return {"focal": focal(logits, target)}
        case _:
            assert_never(kind)


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over the counted pixels; 0 where there are none."""
    total = F.cross_entropy(logits, target, ignore_index=IGNORED, reduction="sum")
    return total / (target != IGNORED).sum().clamp(min=1)


def focal(logits: Tensor, target: Tensor, gamma: float = 2.0) -> Tensor:
    """Cross entropy weighted by (1 - p)^gamma (Lin et al. 2017, https://arxiv.org/abs/1708.02002)."""
    loss = F.cross_entropy(logits, target, ignore_index=IGNORED, reduction="none")
    counted = target != IGNORED
    return (loss * (1 - torch.exp(-loss)) ** gamma)[counted].sum() / counted.sum().clamp(min=1)


def dice(logits: Tensor, target: Tensor) -> Tensor:
    """One minus the soft Dice score, averaged over the labels that occur (Milletari et al. 2016)."""
    counted = (target != IGNORED)[:, None]
    probabilities = logits.softmax(1) * counted
    truth = F.one_hot(target.where(target != IGNORED, 0), logits.shape[1]).movedim(-1, 1) * counted
    axes = (0, 2, 3)
    both, each = (probabilities * truth).sum(axes), probabilities.sum(axes) + truth.sum(axes)
    occurs = truth.sum(axes) > 0
    scores = (2 * both / each.clamp(min=1e-6))[occurs]
    return 1 - scores.mean() if occurs.any() else logits.sum() * 0.0
