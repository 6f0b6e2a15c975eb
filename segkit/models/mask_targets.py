"""What the mask head should answer: masks of instances, sampled inside regions."""

from collections import Counter
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import roi_align

from segkit.models.host_counts import on_host
from segkit.models.tensors import Target


# segkit.memory.simulate.detector_bounds knows this function by its name.
def mask_targets(
    target: Target,
    regions: Tensor,
    matched: Tensor,
    image_size: tuple[int, int],
    side: int,
    *,
    aligned: bool,
    known: Sequence[int] | None = None,
) -> Tensor:
    """The targets of the mask head: the mask of each region's instance, sampled inside the region, [R, side, side].

    Masks cut to their boxes give what is sampled from masks of the whole image, without N x H x W bytes: a mask is zero
    around its box, except at the border of the image, where the outermost pixels are repeated.

    Args:
        target: The instances of an image.
        regions: Boxes [R, 4] in the frame of the image.
        matched: The instance of each region [R].
        image_size: Height and width of the image.
        side: Rows and columns of the output.
        aligned: Take pixels to be at their centres; else as torchvision does, half a pixel right and below.
        known: ``matched`` on the host; None: wait for it.
    """
    if "masks" in target:
        places = torch.cat([matched[:, None].to(regions), regions], dim=1)
        whole = target["masks"][:, None].to(regions)
        sampled: Tensor = roi_align(whole, places, (side, side), 1.0, aligned=aligned)
        return sampled[:, 0]
    if not len(regions):
        return regions.new_zeros((0, side, side))
    corners = target["corners"] if "corners" in target else target["boxes"].long().tolist()
    order = matched.argsort(stable=True)
    instances = sorted(on_host(matched) if known is None else known)
    origins = target["boxes"][:, :2].trunc().repeat(1, 2) - 1  # of the masks with their borders
    moved = regions[order] - origins[matched[order]]
    ends = [0]
    for x1, y1, x2, y2 in corners:
        ends.append(ends[-1] + (y2 - y1) * (x2 - x1))
    parts, first = [], 0
    for instance, count in Counter(instances).items():
        cut = target["box_masks"][ends[instance] : ends[instance + 1]]
        mask = _bordered(cut.to(regions.dtype), corners[instance], image_size)
        here = moved[first : first + count]
        parts.append(roi_align(mask[None, None], [here], (side, side), 1.0, aligned=aligned)[:, 0])
        first += count
    return torch.cat(parts)[order.argsort()]


def _bordered(pixels: Tensor, corners: Sequence[int], image_size: tuple[int, int]) -> Tensor:
    """The mask [h + 2, w + 2] of an instance with a border of a pixel.

    Args:
        pixels: Its mask, cut to its box, row by row.
        corners: Its box.
        image_size: Height and width of the image.
    """
    x1, y1, x2, y2 = corners
    mask = F.pad(pixels.view(y2 - y1, x2 - x1), (1, 1, 1, 1))
    if y1 == 0:
        mask[0] = mask[1]
    if y2 == image_size[0]:
        mask[-1] = mask[-2]
    if x1 == 0:
        mask[:, 0] = mask[:, 1]
    if x2 == image_size[1]:
        mask[:, -1] = mask[:, -2]
    return mask
