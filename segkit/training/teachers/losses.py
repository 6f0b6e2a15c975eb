"""How far a student is from its teacher; every loss is zero where both are equal, and a mean over images."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

TEMPERATURE = 2.0
_ATTENTION = 0.5  # temperature of attention, and the weights of foreground, background and attention, as in FGD
_FOREGROUND, _BACKGROUND, _ALIKE = 5e-5, 2.5e-5, 5e-5


def soft_labels(student: Tensor, teacher: Tensor) -> Tensor:
    """The divergence of label distributions, softened (Hinton et al. 2015, https://arxiv.org/abs/1503.02531).

    Its gradient is scaled by the square of the temperature, so that its weight does not depend on it.

    Args:
        student: Logits [..., K + 1].
        teacher: Logits of the same dimensions.

    Returns:
        One value for each distribution, [...].
    """
    own, soft = (F.log_softmax(each.float() / TEMPERATURE, -1) for each in (student, teacher))
    return F.kl_div(own, soft, reduction="none", log_target=True).sum(-1) * TEMPERATURE**2


def soft_masks(student: Tensor, teacher: Tensor) -> Tensor:
    """The divergence of the probability of every pixel of masks, [...].

    Args:
        student: Logits [...].
        teacher: Logits of the same dimensions.
    """
    own, sure = student.float(), teacher.float()
    probability = torch.sigmoid(sure)
    entropy = F.binary_cross_entropy_with_logits(sure, probability, reduction="none")
    return F.binary_cross_entropy_with_logits(own, probability, reduction="none") - entropy


def attention_transfer(student: Tensor, teacher: Tensor) -> Tensor:
    """The distance of where two feature maps are strong (Zagoruyko and Komodakis 2017, arXiv:1612.03928).

    Args:
        student: [B, C, H, W].
        teacher: [B, D, H, W]; channels need not be as many.

    Returns:
        One value from 0 to 2 for each image, [B].
    """
    own, wanted = (F.normalize(each.float().square().mean(1).flatten(1), dim=1) for each in (student, teacher))
    return (own - wanted).square().sum(1)


def focal_features(student: Tensor, teacher: Tensor, weights: Tensor) -> Tensor:
    """The distance of feature maps, focused on instances and on what the teacher looks at.

    Focal distillation (Yang et al. 2022, https://arxiv.org/abs/2111.11837), without its global part, whose layers
    would have to be learnt beside the student. Losses and their weights are those for two-stage detectors.

    Args:
        student: [B, C, H, W].
        teacher: [B, C, H, W].
        weights: Of each pixel, [B, 2, H, W]: in the foreground and in the background.

    Returns:
        One value for each image, [B].
    """
    own, wanted = student.float(), teacher.float()
    where, which = attention(wanted)
    distance = ((own - wanted).square() * which[:, :, None, None]).sum(1) * where  # [B, H, W]
    focal = (distance * (_FOREGROUND * weights[:, 0] + _BACKGROUND * weights[:, 1])).sum((1, 2))
    own_where, own_which = attention(own)
    alike = (own_where - where).abs().sum((1, 2)) + (own_which - which).abs().sum(1)
    return focal + _ALIKE * alike


def attention(features: Tensor) -> tuple[Tensor, Tensor]:
    """How strong features [B, C, H, W] are at each place, [B, H, W], and in each channel, [B, C]; 1 on average."""
    strength = features.abs()
    places, channels = strength.mean(1), strength.mean((2, 3))
    where = torch.softmax(places.flatten(1) / _ATTENTION, 1).view_as(places) * places[0].numel()
    which = torch.softmax(channels / _ATTENTION, 1) * channels.shape[1]
    return where, which


def focus(boxes: Sequence[Sequence[float]], height: int, width: int, stride: int, like: Tensor) -> Tensor:
    """The weight of each pixel of a feature map in the foreground and in the background, [2, H, W].

    Every instance has the same weight in all, whatever its size, and so has the background.

    Args:
        boxes: xyxy in the frame of the image.
        height: Rows of the feature map.
        width: Its columns.
        stride: Pixels of the image to a pixel of the map.
        like: Has the device.
    """
    weights = like.new_zeros((2, height, width), dtype=torch.float32)
    areas = []
    for x1, y1, x2, y2 in boxes:
        left, top = min(int(x1 / stride), width - 1), min(int(y1 / stride), height - 1)
        right, bottom = (max(int(-(-high // stride)), low + 1) for high, low in ((x2, left), (y2, top)))
        areas.append(((min(bottom, height) - top) * (min(right, width) - left), left, top, right, bottom))
    for area, left, top, right, bottom in sorted(areas, reverse=True):  # the smaller over the larger
        weights[0, top:bottom, left:right] = 1 / area
    outside = weights[0] == 0
    weights[1] = outside / outside.sum().clamp(min=1)
    return weights
