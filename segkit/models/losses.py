"""Losses of label maps: means over images; pixels of label 255 are ignored."""

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.choices import UnetLoss
from segkit.data.label_maps import IGNORED


def semantic_losses(kind: UnetLoss, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
    """The losses of a name, each by its own name.

    Args:
        kind: Names of losses, joined by plus signs.
        logits: [B, K + 1, H, W].
        target: int64 [B, H, W], 255 where pixels are ignored.
    """
    losses = {"ce": cross_entropy, "dice": dice, "focal": focal}
    return {name: losses[name](logits, target) for name in kind.split("+")}


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross entropy: the mean over an image's counted pixels (0 where there are none), averaged over images."""
    return _mean(_of_pixels(logits, target), target)


def focal(logits: Tensor, target: Tensor, gamma: float = 2.0) -> Tensor:
    """Cross entropy weighted by (1 - p)^gamma (Lin et al. 2017, https://arxiv.org/abs/1708.02002)."""
    loss = _of_pixels(logits, target)
    return _mean(loss * (1 - torch.exp(-loss)) ** gamma, target)


def _of_pixels(logits: Tensor, target: Tensor) -> Tensor:
    """Cross entropy of every pixel [B, H, W], 0 where it is ignored.

    ``F.cross_entropy`` is not used: its kernel for images has no deterministic form on CUDA.
    """
    counted = target != IGNORED
    chosen = logits.log_softmax(1).gather(1, target.where(counted, 0)[:, None])[:, 0]
    return torch.where(counted, -chosen, 0.0)


def _mean(losses: Tensor, target: Tensor) -> Tensor:
    counted = (target != IGNORED).sum((1, 2)).clamp(min=1)
    return (losses.sum((1, 2)) / counted).mean()


def dice(logits: Tensor, target: Tensor) -> Tensor:
    """One minus the soft Dice score, averaged over an image's labels, then over images (Milletari et al. 2016)."""
    counted = (target != IGNORED)[:, None]
    probabilities = logits.softmax(1) * counted
    truth = F.one_hot(target.where(target != IGNORED, 0), logits.shape[1]).movedim(-1, 1) * counted
    both, each = (probabilities * truth).sum((2, 3)), (probabilities + truth).sum((2, 3))  # [B, K + 1]
    occurs = truth.sum((2, 3)) > 0
    losses = (1 - 2 * both / each.clamp(min=1e-6)) * occurs
    return (losses.sum(1) / occurs.sum(1).clamp(min=1)).mean()
