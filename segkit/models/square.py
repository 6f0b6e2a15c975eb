"""Images of any size as squares of one size, with their instances, by products of matrices that a graph can hold."""

from typing import Any

import torch
from torch import Tensor

from segkit.models.image_masks import masks_in_boxes
from segkit.models.tensors import Target


def as_square(image: Tensor, size: int) -> Tensor:
    """An image [C, H, W] as [C, S, S]: interpolated linearly; where it becomes smaller, over what a pixel covers."""
    down, across = (_interpolation(size, side, image.device) for side in image.shape[-2:])
    with torch.autocast(image.device.type, enabled=False):
        square: Tensor = down @ image @ across.T
    return square


def _interpolation(cells: int, pixels: Any, device: torch.device) -> Tensor:
    """The shares of pixels in cells [cells, pixels], which add up to 1; a number is a tensor while it is traced."""
    scale = pixels / cells
    reach = scale.clamp(min=1.0) if isinstance(scale, Tensor) else max(scale, 1.0)
    centres = (torch.arange(cells, device=device) + 0.5) * scale
    shares = (1 - (torch.arange(pixels, device=device) + 0.5 - centres[:, None]).abs() / reach).clamp(min=0)
    out: Tensor = shares / shares.sum(dim=1, keepdim=True)
    return out


def square_target(target: Target, image: Tensor, cells: int) -> dict[str, Any]:
    """The instances of an image as transformers' losses of DETR take them.

    Args:
        target: The instances, with masks of the whole image or cut to their boxes.
        image: The image [C, H, W].
        cells: Rows and columns of a mask of the whole image.

    Returns:
        ``class_labels`` int64 [N], ``boxes`` [N, 4] (centre and sides as shares of the image), ``masks`` [N, cells,
        cells] (the share of each cell that is covered), and the ``seed`` of random choices, if there is one.
    """
    height, width = image.shape[-2:]
    boxes = target["boxes"]
    low, high = boxes[:, :2], boxes[:, 2:]
    sides = _of_image(width, height, boxes)
    out = {
        "class_labels": target["labels"],
        "boxes": torch.cat([(low + high) / 2 / sides, (high - low) / sides], dim=1),
        "masks": _covered(target, height, width, cells),
    }
    return out | ({"seed": target["seed"]} if "seed" in target else {})


def _of_image(width: int, height: int, boxes: Tensor) -> Tensor:
    """Width and height [2], filled in on the device, as the host would wait for a copy."""
    return torch.cat([boxes.new_full((1,), width), boxes.new_full((1,), height)])


def _covered(target: Target, height: int, width: int, cells: int) -> Tensor:
    """The share of each cell of the image that masks cover [N, cells, cells]."""
    device = target["labels"].device
    out = torch.zeros(len(target["labels"]), cells, cells, device=device)
    down, across = _overlaps(cells, height, device), _overlaps(cells, width, device)
    for number, ((x1, y1, x2, y2), mask) in enumerate(masks_in_boxes(target)):
        out[number] = down[:, y1:y2] @ mask.float() @ across[:, x1:x2].T
    return out


def _overlaps(cells: int, pixels: int, device: torch.device) -> Tensor:
    """The share of each cell that each pixel covers [cells, pixels]."""
    scale = pixels / cells
    first, left = torch.arange(cells, device=device)[:, None] * scale, torch.arange(pixels, device=device)
    both = torch.minimum(first + scale, left + 1.0) - torch.maximum(first, left.float())
    return both.clamp(min=0) / scale
