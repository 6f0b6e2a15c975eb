"""FCOS: a box, its labels and its centre-ness at every place of a pyramid, without anchors, with torchvision's parts.

Tian et al. 2019 (https://arxiv.org/abs/1904.01355). Places, matching, losses and boxes are torchvision's, so that its
weights have the same meaning; labels are counted as there, and row 0 (background) of the classification is never used.
One thing is changed: the losses are computed for each image, and their mean over images is taken.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.fcos import FCOSClassificationHead, FCOSRegressionHead
from torchvision.ops import batched_nms, clip_boxes_to_image, sigmoid_focal_loss

from segkit.models.tensors import Target

_RADIUS = 1.5  # strides around the centre of an instance
_SIZES = (4, 8)  # strides: the largest distance to a side of the box, for each level
_MIN_SCORE = 0.05
_CANDIDATES = 1000  # of a level
SLOWER = 0.1
"""The factor of what a layer predicts that are weights themselves; its own weights begin that much larger.

The sum is the paper's. But an adaptive optimiser moves each weight alike, and moved all of 2304 inputs at once: masks
were empty after ten steps, with a loss without a gradient.
"""
_BLOCK = 2**22  # pairs of a place and an instance that are compared at a time


class Places(NamedTuple):
    """The places of all levels of a pyramid, one after the other.

    Attributes:
        points: x and y in pixels [A, 2].
        strides: Of their levels [A].
        counts: Places of each level.
    """

    points: Tensor
    strides: Tensor
    counts: list[int]


class Outputs(NamedTuple):
    """What heads give at the places of all levels: logits [B, A, K + 1], box offsets [B, A, 4], centre-ness [B, A]."""

    logits: Tensor
    offsets: Tensor
    centerness: Tensor
    extra: Tensor  # [B, A, P]: what a further layer of the regression's features gives


class FCOSHead(nn.Module):
    """torchvision's heads, with its parameter names, and a further layer over the features of the regression."""

    def __init__(self, channels: int, num_classes: int, extra: int) -> None:
        super().__init__()
        self.classification_head = FCOSClassificationHead(channels, 1, num_classes)
        self.regression_head = FCOSRegressionHead(channels, 1)
        self.controller = nn.Conv2d(channels, extra, 3, padding=1)
        nn.init.normal_(self.controller.weight, std=0.01 / SLOWER)
        nn.init.constant_(self.controller.bias, 0.0)  # type: ignore[arg-type]  # a bias may be None

    def forward(self, maps: Sequence[Tensor]) -> Outputs:
        """The outputs of maps [B, C, h, w] of all levels."""
        logits, regression, parts = self.classification_head(list(maps)), self.regression_head, []
        for features in maps:
            x = regression.conv(features)
            each = F.relu(regression.bbox_reg(x)), regression.bbox_ctrness(x), SLOWER * self.controller(x)
            parts.append(torch.cat(each, dim=1).flatten(2).transpose(1, 2))  # [B, h w, 5 + P]
        sides = [4, 1, self.controller.out_channels]
        offsets, centerness, extra = torch.split(torch.cat(parts, dim=1).float(), sides, dim=2)
        return Outputs(logits.float(), offsets, centerness[..., 0], extra)


def places_of(maps: Sequence[Tensor], strides: Sequence[int]) -> Places:
    """The places of maps [B, C, h, w]; as torchvision's, they are at the corners of cells."""
    points, by_place = [], []
    for features, stride in zip(maps, strides, strict=True):
        height, width = features.shape[-2:]
        x, y = (torch.arange(side, device=features.device, dtype=torch.float32) * stride for side in (width, height))
        points.append(torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).flatten(0, 1))
        by_place.append(torch.full_like(points[-1][:, 0], stride))
    return Places(torch.cat(points), torch.cat(by_place), [each.shape[0] for each in points])


def boxes_at(offsets: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """Boxes [N, 4] of offsets [N, 4] (left, top, right, bottom, in strides) at points [N, 2]."""
    scaled = offsets * strides[:, None]
    return torch.cat([points - scaled[:, :2], points + scaled[:, 2:]], dim=1)


def match_places(places: Places, boxes: Tensor) -> Tensor:
    """The instance of each place [A], -1 where there is none: the smallest whose centre is near (section 3.2).

    A few instances are compared at a time: a table of all of them with all places has a GiB in crowded images.
    """
    best, matches = torch.full_like(places.strides, torch.inf), torch.full_like(places.strides, -1, dtype=torch.int64)
    lower = torch.cat([torch.zeros_like(s) if i == 0 else _SIZES[0] * s for i, s in enumerate(_by_level(places))])
    levels = len(places.counts)
    upper = torch.cat(
        [torch.full_like(s, torch.inf) if i == levels - 1 else _SIZES[1] * s for i, s in enumerate(_by_level(places))]
    )
    rows = max(1, _BLOCK // max(1, len(places.points)))
    for first in range(0, len(boxes), rows):
        some = boxes[first : first + rows]
        low, high = places.points[:, None] - some[None, :, :2], some[None, :, 2:] - places.points[:, None]
        aside = ((low - high) / 2).abs().amax(dim=2)  # from the centre [A, n]
        nearest, farthest = torch.minimum(low, high).amin(dim=2), torch.maximum(low, high).amax(dim=2)
        fits = (aside < _RADIUS * places.strides[:, None]) & (nearest > 0)
        fits &= (farthest > lower[:, None]) & (farthest < upper[:, None])
        areas = torch.where(fits, ((some[:, 2] - some[:, 0]) * (some[:, 3] - some[:, 1]))[None], torch.inf)
        smallest, which = areas.min(dim=1)
        better = smallest < best
        matches = torch.where(better, which + first, matches)
        best = torch.minimum(best, smallest)
    return matches


def _by_level(places: Places) -> tuple[Tensor, ...]:
    return tuple(torch.split(places.strides, places.counts))


def fcos_losses(outputs: Outputs, image: int, places: Places, matches: Tensor, target: Target) -> dict[str, Tensor]:
    """The losses of one image: focal, generalised IoU, and centre-ness, each over its positive places.

    Args:
        outputs: Of all images.
        image: Which one.
        places: The places.
        matches: The instance of each (``match_places``).
        target: The instances.
    """
    logits, offsets, centerness = outputs.logits[image], outputs.offsets[image], outputs.centerness[image]
    positive = matches >= 0
    count = positive.sum().clamp(min=1)
    around = torch.cat([places.points - places.strides[:, None], places.points + places.strides[:, None]], dim=1)
    if not len(target["boxes"]):
        truth, kinds = around, torch.zeros_like(matches)
    else:
        chosen = matches.clamp(min=0)
        truth = torch.where(positive[:, None], target["boxes"][chosen], around)  # of the others any box
        kinds = torch.where(positive, target["labels"][chosen], 0)
    one_hot = F.one_hot(kinds, logits.shape[1]).to(logits.dtype) * positive[:, None]
    boxes = boxes_at(offsets, places.points, places.strides)
    overlap = giou_losses(boxes, truth)
    low, high = places.points - truth[:, :2], truth[:, 2:] - places.points
    ratio = torch.minimum(low, high) / torch.maximum(low, high).clamp(min=1e-6)
    central = ratio.clamp(min=0).prod(dim=1).sqrt()
    of_centre = F.binary_cross_entropy_with_logits(centerness, central, reduction="none")
    return {
        "loss_classifier": sigmoid_focal_loss(logits, one_hot, reduction="sum") / count,
        "loss_box_reg": torch.where(positive, overlap, 0.0).sum() / count,
        "loss_centerness": torch.where(positive, of_centre, 0.0).sum() / count,
    }


def giou_losses(boxes: Tensor, truth: Tensor, eps: float = 1e-7) -> Tensor:
    """One minus the generalised IoU of pairs of boxes [N, 4] (Rezatofighi et al. 2019): [N].

    The same as torchvision's, whose boxes that overlap are chosen by values: a GPU has to be waited for.
    """
    both = (torch.minimum(boxes[:, 2:], truth[:, 2:]) - torch.maximum(boxes[:, :2], truth[:, :2])).clamp(min=0).prod(1)
    around = (torch.maximum(boxes[:, 2:], truth[:, 2:]) - torch.minimum(boxes[:, :2], truth[:, :2])).prod(1)
    union = (boxes[:, 2:] - boxes[:, :2]).prod(1) + (truth[:, 2:] - truth[:, :2]).prod(1) - both
    return 1 - both / (union + eps) + (around - union) / (around + eps)


class Found(NamedTuple):
    """Detections of an image: boxes [N, 4], scores [N], labels [N], and the places [N] that gave them."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    places: Tensor


def detections(outputs: Outputs, image: int, places: Places, size: tuple[int, int], nms: float, most: int) -> Found:
    """The detections of an image, by falling score, the root of the label's probability times centre-ness.

    Args:
        outputs: Of all images.
        image: Which one.
        places: The places.
        size: Height and width of the image.
        nms: Of two of a label with a higher IoU, one is dropped.
        most: The best so many are kept.
    """
    probabilities = outputs.logits[image].sigmoid() * outputs.centerness[image].sigmoid()[:, None]
    scores = probabilities[:, 1:].sqrt()  # [A, K]
    parts, first = [], 0
    for each in torch.split(scores, places.counts):
        best, places_here, kinds = _best_of_level(each)
        parts.append((best, places_here + first, kinds))
        first += each.shape[0]
    score, place, label = (torch.cat(each) for each in zip(*parts, strict=True))
    boxes = boxes_at(outputs.offsets[image][place], places.points[place], places.strides[place])
    boxes = clip_boxes_to_image(boxes, size)
    keep = batched_nms(boxes, score, label, nms)[:most]
    return Found(boxes[keep], score[keep], label[keep], place[keep])


def highest(scores: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """The highest of scores [N] and their places; a traced graph takes other numbers of scores, too, unlike topk."""
    values, places = scores.sort(descending=True)
    return values[:most], places[:most]


# segkit.memory.simulate.detector_bounds knows this function by its name.
def _best_of_level(scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The best candidates among scores [A, K] of a level: their scores, places and labels from 1."""
    kinds = scores.shape[1]
    flat = scores.flatten()
    where = torch.where(flat > _MIN_SCORE)[0]
    kept = flat[where]
    best, order = highest(kept, _CANDIDATES)
    chosen = where[order]
    return best, chosen.div(kinds, rounding_mode="floor"), chosen % kinds + 1
