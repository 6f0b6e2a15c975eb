"""Losses of label maps: means over images; pixels of label 255 are ignored."""

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.config.parsers import loss_terms
from segkit.data.label_maps import IGNORED
from segkit.models.region_losses import cldice, dice, lovasz, tversky

_GAMMA = 2.0  # of the focal loss, as in its paper


def semantic_losses(
    kind: str, logits: Tensor, target: Tensor, weights: Tensor | None = None, smoothing: float = 0.0
) -> dict[str, Tensor]:
    """The losses of a sum, each by its own name and times its factor.

    Args:
        kind: Such as ``ce+0.5*dice``.
        logits: [B, K + 1, H, W].
        target: int64 [B, H, W], 255 where pixels are ignored.
        weights: How much each label counts, [K + 1]; None: all alike.
        smoothing: Of the labels, for cross entropy alone.
    """
    losses = {
        "ce": lambda: cross_entropy(logits, target, weights, smoothing),
        "focal": lambda: focal(logits, target, weights),
        "dice": lambda: dice(logits, target, weights),
        "tversky": lambda: tversky(logits, target, weights),
        "lovasz": lambda: lovasz(logits, target, weights),
        "cldice": lambda: cldice(logits, target, weights),
    }
    return {name: losses[name]() * factor for name, factor in loss_terms(kind).items()}


def cross_entropy(logits: Tensor, target: Tensor, weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
    """Cross entropy: the mean over an image's counted pixels (0 where there are none), averaged over images.

    Args:
        logits: [B, K + 1, H, W].
        target: int64 [B, H, W], 255 where pixels are ignored.
        weights: Of labels: the mean over pixels is weighted, as that of ``torch.nn.functional.cross_entropy`` is.
        smoothing: The share of the target that is spread evenly over all labels (Szegedy et al. 2016,
            https://arxiv.org/abs/1512.00567).
    """
    log_probabilities = logits.log_softmax(1)
    loss = _of_pixels(log_probabilities, target)
    if weights is not None:
        loss = loss * _weight_of_pixels(weights, target)
    if smoothing:
        each = log_probabilities if weights is None else log_probabilities * weights[:, None, None]
        spread = torch.where(target != IGNORED, -each.mean(1), 0.0)
        loss = (1 - smoothing) * loss + smoothing * spread
    return _mean(loss, target, weights)


def focal(logits: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross entropy weighted by (1 - p)^2 (Lin et al. 2017, https://arxiv.org/abs/1708.02002).

    Args:
        logits: [B, K + 1, H, W].
        target: int64 [B, H, W], 255 where pixels are ignored.
        weights: Of labels, the paper's alpha; the mean over pixels is weighted.
    """
    loss = _of_pixels(logits.log_softmax(1), target)
    loss = loss * (1 - torch.exp(-loss)) ** _GAMMA
    return _mean(loss if weights is None else loss * _weight_of_pixels(weights, target), target, weights)


def distance_loss(logits: Tensor, distances: Tensor, target: Tensor) -> Tensor:
    """Binary cross entropy of normalised distances (``segkit.data.touching``), less its least value.

    The gradient is that of binary cross entropy, as StarDist uses it for the same distances (Schmidt et al. 2018,
    https://arxiv.org/abs/1806.03535); without its least value, perfect distances have a loss of 0.

    Args:
        logits: [B, H, W].
        distances: From 0 to 1, [B, H, W].
        target: int64 [B, H, W], 255 where pixels are ignored.
    """
    counted = target != IGNORED
    least = torch.special.entr(distances) + torch.special.entr(1 - distances)
    loss = F.binary_cross_entropy_with_logits(logits, distances, reduction="none") - least
    return _mean(torch.where(counted, loss, 0.0), target)


def _of_pixels(log_probabilities: Tensor, target: Tensor) -> Tensor:
    """Cross entropy of every pixel [B, H, W], 0 where it is ignored.

    ``F.cross_entropy`` is not used: its kernel for images has no deterministic form on CUDA.
    """
    counted = target != IGNORED
    chosen = log_probabilities.gather(1, target.where(counted, 0)[:, None])[:, 0]
    return torch.where(counted, -chosen, 0.0)


def _weight_of_pixels(weights: Tensor, target: Tensor) -> Tensor:
    """The weight of every pixel's label [B, H, W], 0 where it is ignored."""
    counted = target != IGNORED
    return weights[target.where(counted, 0)] * counted


def _mean(losses: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    if weights is None:
        total = (target != IGNORED).sum((1, 2)).clamp(min=1)
    else:
        total = _weight_of_pixels(weights, target).sum((1, 2)).clamp(min=1e-6)
    return (losses.sum((1, 2)) / total).mean()
