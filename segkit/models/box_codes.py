"""Boxes as offsets from other boxes, as torchvision's ``BoxCoder`` has them, to the bit.

Its own puts constants into tensors of the device, for each of which a GPU has to be waited for.
"""

import math

import torch
from torch import Tensor

OF_ANCHORS, OF_REGIONS = (1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)
"""How much offsets count: of the RPN, and of the box head (Ren et al. 2015, https://arxiv.org/abs/1506.01497)."""

_MOST = math.log(1000 / 16)  # growth beyond it would overflow

Weights = tuple[float, float, float, float]


def encode_boxes(truth: Tensor, regions: Tensor, weights: Weights) -> Tensor:
    """The offsets [R, 4] of boxes [R, 4] from regions [R, 4]: of the centres, by the sides, and of the logarithms."""
    (x, y, width, height), (true_x, true_y, true_width, true_height) = _centred(regions), _centred(truth)
    parts = (
        weights[0] * (true_x - x) / width,
        weights[1] * (true_y - y) / height,
        weights[2] * torch.log(true_width / width),
        weights[3] * torch.log(true_height / height),
    )
    return torch.stack(parts, dim=-1)


def decode_boxes(codes: Tensor, regions: Tensor) -> Tensor:
    """The boxes [..., 4] that have offsets [..., 4] from regions [..., 4], of the RPN."""
    x, y, width, height = _centred(regions)
    x, y = codes[..., 0] * width + x, codes[..., 1] * height + y
    width = torch.exp(codes[..., 2].clamp(max=_MOST)) * width
    height = torch.exp(codes[..., 3].clamp(max=_MOST)) * height
    return torch.stack((x - 0.5 * width, y - 0.5 * height, x + 0.5 * width, y + 0.5 * height), dim=-1)


def _centred(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Centre x and y, width and height."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    width, height = x2 - x1, y2 - y1
    return x1 + 0.5 * width, y1 + 0.5 * height, width, height
