"""Masks of whole images at a stride: their targets, their loss, and what becomes of them in boxes."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import clip_boxes_to_image, roi_align

from segkit.models.tensors import Prediction, Target

_THRESHOLD = 0.5


def masks_in_boxes(target: Target) -> Iterator[tuple[tuple[int, int, int, int], Tensor]]:
    """Each instance's box in whole pixels (xyxy), and its mask there [h, w].

    Args:
        target: The instances of an image, with masks of the whole image or cut to their boxes.
    """
    end = 0
    for number, (x1, y1, x2, y2) in enumerate(target["boxes"].long().tolist()):
        if "masks" in target:
            yield (x1, y1, x2, y2), target["masks"][number, y1:y2, x1:x2]
        else:
            begin, end = end, end + (y2 - y1) * (x2 - x1)
            yield (x1, y1, x2, y2), target["box_masks"][begin:end].view(y2 - y1, x2 - x1)


def stride_masks(target: Target, height: int, width: int, stride: int) -> Tensor:
    """The share of each cell that a mask covers, in 255ths: uint8 [N, h, w].

    Args:
        target: The instances of an image, with masks of the whole image or cut to their boxes.
        height: Of the maps, in cells.
        width: Likewise.
        stride: Pixels to a cell.
    """
    out = torch.zeros(len(target["labels"]), height, width, dtype=torch.uint8, device=target["labels"].device)
    for number, ((x1, y1, x2, y2), mask) in enumerate(masks_in_boxes(target)):
        left, top = x1 % stride, y1 % stride
        padded = F.pad(mask, (left, -x2 % stride, top, -y2 % stride)).float()
        cells = F.avg_pool2d(padded[None], stride)[0].mul_(255).round_()
        row, column = y1 // stride, x1 // stride
        out[number, row : row + cells.shape[0], column : column + cells.shape[1]] = cells.to(torch.uint8)
    return out


# segkit.memory.simulate.detector_bounds knows this function by its name.
@torch.no_grad()
def taught_places(matches: Tensor, scores: Tensor, target: Target, most: int) -> Tensor:
    """The places of an image whose masks are taught, at most ``most``: of each instance the best, then the second best.

    Args:
        matches: The instance of each place [A], -1 where there is none.
        scores: Of each place [A]; the best has the highest.
        target: The instances; its seed decides between them where there are too many.
        most: How many are chosen.
    """
    places = torch.where(matches >= 0)[0]
    generator = torch.Generator(places.device).manual_seed(target["seed"]) if "seed" in target else None
    lots = torch.rand(len(target["labels"]), generator=generator, device=places.device)
    places = places[scores[places].argsort(descending=True, stable=True)]
    instances, order = matches[places].sort(stable=True)
    rank = torch.arange(len(places), device=places.device) - torch.searchsorted(instances, instances)
    return places[order][(rank + lots[instances]).argsort()[:most]]


def dice_losses(logits: Tensor, truth: Tensor) -> Tensor:
    """One minus the Dice coefficient of Milletari et al. 2016, with squares in the denominator, of each mask [N].

    Args:
        logits: [N, h, w].
        truth: [N, h, w], from 0 to 1.
    """
    found, truth = logits.sigmoid().flatten(1), truth.flatten(1)
    both, squares = (found * truth).sum(1), (found**2).sum(1) + (truth**2).sum(1)
    return 1 - 2 * both / (squares + 1e-5)


def in_boxes(
    masks: Tensor, stride: int, size: int, image_size: tuple[int, int], otherwise: Tensor
) -> tuple[Tensor, Tensor]:
    """Masks of an image as a ``Prediction`` has them: their tight boxes, and what is in them.

    Args:
        masks: Probabilities [N, h, w] in the cells of the image.
        stride: Pixels to a cell.
        size: Rows and columns of the output.
        image_size: Height and width of the image.
        otherwise: Boxes [N, 4] of empty masks.

    Returns:
        Boxes [N, 4] in pixels, and probabilities [N, S, S] in them.
    """
    boxes = clip_boxes_to_image(tight_boxes(masks, otherwise / stride) * stride, image_size)
    numbers = torch.arange(boxes.shape[0], device=boxes.device, dtype=boxes.dtype)[:, None]
    places = torch.cat([numbers, boxes], dim=1)
    inside = roi_align(masks[:, None], places, (size, size), 1 / stride, sampling_ratio=1, aligned=True)
    return boxes, inside[:, 0]


def not_empty(prediction: Prediction) -> Prediction:
    """A prediction without boxes that have no area: those of masks beyond the border of the image."""
    sides = prediction["boxes"][:, 2:] - prediction["boxes"][:, :2]
    kept = torch.where((sides > 0).all(dim=1))[0]
    return {
        "boxes": prediction["boxes"][kept], "labels": prediction["labels"][kept],
        "scores": prediction["scores"][kept], "masks": prediction["masks"][kept],
    }  # fmt: skip


def tight_boxes(masks: Tensor, otherwise: Tensor) -> Tensor:
    """Where masks are more than 0.5, boxes [N, 4] in cells: between the centres of cells, values are interpolated."""
    x1, x2, any_column = _ends(masks.amax(dim=1))
    y1, y2, _ = _ends(masks.amax(dim=2))
    return torch.where(any_column[:, None], torch.stack([x1, y1, x2, y2], dim=1), otherwise)


def _ends(profile: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where each of some lines of cells [N, n] first and last crosses 0.5, and whether it does."""
    index = torch.arange(profile.shape[1], device=profile.device).expand_as(profile)
    inside, end = profile > _THRESHOLD, index[:, -1:]
    first = torch.where(inside, index, end).amin(dim=1, keepdim=True)
    last = torch.where(inside, index, 0).amax(dim=1, keepdim=True)
    beside = torch.cat([profile[:, :1], profile, profile[:, -1:]], dim=1)  # with a cell more on both sides
    here, there = (profile.gather(1, cells) for cells in (first, last))
    before, after = beside.gather(1, first), beside.gather(1, last + 2)
    low = torch.where(first > 0, first + 0.5 - _share(here, before), 0.0)
    high = torch.where(last < end, last + 0.5 + _share(there, after), end + 1.0)
    return low[:, 0], high[:, 0], inside.any(dim=1)


def _share(inside: Tensor, outside: Tensor) -> Tensor:
    """How far from the centre of a cell inside to that of its neighbour outside 0.5 is crossed, by their values."""
    return (inside - _THRESHOLD) / (inside - outside).clamp(min=1e-6)
