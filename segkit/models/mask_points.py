"""Features and masks at points: bilinear, between the centres of cells; beyond the outermost ones, these are repeated.

Both read single cells by their numbers. ``F.grid_sample`` is not used: its gradient has no deterministic form on CUDA,
and masks that are cut to their boxes are no maps.
"""

import torch
from torch import Tensor

from segkit.models.tensors import Target


def features_at(features: Tensor, points: Tensor) -> Tensor:
    """Features [R, P, C] of a map [C, h, w] at points [R, P, 2]: x and y in cells, 0.5 at the centre of the first."""
    height, width = features.shape[-2:]
    flat = features.flatten(1).t()  # [h w, C]
    x, y = ((points[..., axis] - 0.5).clamp(min=0) for axis in (0, 1))
    x, y = x.clamp(max=width - 1), y.clamp(max=height - 1)
    left, top = x.floor(), y.floor()
    right, down = (x - left)[..., None].to(flat.dtype), (y - top)[..., None].to(flat.dtype)
    x0, y0 = left.long(), top.long()
    x1, y1 = (x0 + 1).clamp(max=width - 1), (y0 + 1).clamp(max=height - 1)
    above = flat[y0 * width + x0] * (1 - right) + flat[y0 * width + x1] * right
    below = flat[y1 * width + x0] * (1 - right) + flat[y1 * width + x1] * right
    return above * (1 - down) + below * down


def mask_values(target: Target, instances: Tensor, points: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Masks of instances at points of the image, from 0 to 1, [R, P]; beyond its border, the last pixels are repeated.

    Args:
        target: The instances of an image, with masks of the whole image or cut to their boxes.
        instances: The instance of each row of points [R].
        points: [R, P, 2]: x and y in pixels; the first pixel has its centre at 0.5.
        image_size: Height and width of the image.
    """
    if "masks" in target:
        count, height, width = target["masks"].shape
        flat = target["masks"].reshape(-1)
        sides = torch.tensor([width, height], device=points.device).expand(count, 2)
        corners = torch.zeros_like(sides)
    else:
        flat, whole = target["box_masks"], target["boxes"].long()
        corners, sides = whole[:, :2], whole[:, 2:] - whole[:, :2]
    areas = sides.prod(dim=1)
    first = (areas.cumsum(0) - areas)[instances][:, None]  # where the mask of each row begins
    corner, side = corners[instances][:, None], sides[instances][:, None]  # [R, 1, 2]
    x, y = (points[..., axis].clamp(0.5, image_size[1 - axis] - 0.5) for axis in (0, 1))
    places = torch.stack([x, y], dim=-1) - 0.5 - corner
    low = places.floor()
    share = places - low
    out = points.new_zeros(points.shape[:2])
    for right in (0, 1):
        for down in (0, 1):
            cell = low.long() + torch.tensor([right, down], device=points.device)
            inside = ((cell >= 0) & (cell < side)).all(dim=-1)
            cell = torch.minimum(cell.clamp(min=0), side - 1)
            value = flat[first + cell[..., 1] * side[..., 0] + cell[..., 0]]
            weight = (share[..., 0] if right else 1 - share[..., 0]) * (share[..., 1] if down else 1 - share[..., 1])
            out = out + torch.where(inside, value.to(out.dtype), 0) * weight
    return out
