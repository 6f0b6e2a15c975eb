"""SOLOv2: an instance belongs to the cell of a grid in which its centre lies; there are neither boxes nor regions.

Wang et al. 2020 (https://arxiv.org/abs/2003.10152). Over each level of a pyramid lies a grid. Each of its cells
predicts the label of the instance whose centre lies there, and a kernel: 128 numbers, whose product with the 128 maps
of the mask branch is the mask. Predictions of one instance are suppressed by Matrix NMS, which lowers scores and drops
no boxes. The sizes are those of the paper's light models (two convolutions of 256 channels, kernels of 128). Grids and
coordinates span the image without its padding, so that they mean the same in a batch and alone.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import sigmoid_focal_loss

from segkit.choices import BackboneName, NormName
from segkit.models.detector_settings import DetectorSettings
from segkit.models.fcos import highest
from segkit.models.frozen_norm import fold_norms
from segkit.models.image_masks import dice_losses, in_boxes, not_empty, stride_masks, taught_places
from segkit.models.pyramid import Normalise, Pyramid
from segkit.models.solov2_layers import GridHead, MaskFeatures
from segkit.models.tensors import Prediction, Target

_STRIDES = (4, 8, 16, 32, 64)  # of the pyramid
_GRIDS = (40, 36, 24, 16, 12)  # cells to a side, for each level
_RANGES = ((1, 96), (48, 192), (96, 384), (192, 768), (384, 2048))  # sides of instances in an image of 800 pixels
_OF = 800
_CENTRE = 0.2  # of an instance: cells in this part around its centre have it
_STRIDE = 4  # of the masks
_MASK_SIZE = 56  # rows and columns in a box, where settings have none
_MASK_WEIGHT = 3.0
_MIN_LABEL, _MIN_SCORE = 0.1, 0.05  # of a cell, and of an instance after suppression
_CANDIDATES = 500
_AREAS = (8, 8, 16, 32, 32)  # cells that a mask of each level has at least
_SIGMA = 2.0
_TIE = 0.004


class Cells(NamedTuple):
    """What an image's cells of all grids predict: logits [A, K + 1] and kernels [A, 128]."""

    logits: Tensor
    kernels: Tensor


class SOLOv2(nn.Module):
    """SOLOv2; it is called as all models are (``ModelCard.build``).

    Attributes:
        rows_per_category: Layers with rows for each label, and how many.
        suppresses: Whether Matrix NMS is applied.
        detections: Instances of an image at most.
        rois: Cells of an image whose masks are taught, at most.
    """

    rows_per_category: ClassVar[dict[str, int]] = {"head.labels": 1}
    heads = "v1"

    def __init__(
        self,
        num_classes: int,
        backbone: BackboneName,
        norm: NormName,
        settings: DetectorSettings,
        norm_eps: float = 1e-5,
    ) -> None:
        """Build with random weights; the arguments are those of ``Detector``."""
        super().__init__()
        self.backbone = Pyramid(backbone, norm, norm_eps, settings)
        self.head = GridHead(Pyramid.out_channels, num_classes)
        self.mask_branch = MaskFeatures(Pyramid.out_channels)
        self.transform = Normalise()
        self.suppresses, self.detections, self.rois = True, settings.detections, settings.rois
        self.mask_size = settings.mask_size or _MASK_SIZE
        fold_norms(self.backbone.fpn)

    def limits(self) -> tuple[float, int]:
        """The IoU from which on detections are suppressed, 1 for none, and how many instances an image may have."""
        return 0.0 if self.suppresses else 1.0, self.detections

    def set_limits(self, nms: float, most: int) -> None:
        """Change them; Matrix NMS has no limit of its own."""
        self.suppresses, self.detections = nms < 1, most

    def forward(self, images: Sequence[Tensor], targets: Sequence[Target] | None = None) -> Any:
        """Losses of images and targets in training; a list of ``Prediction`` of images in evaluation."""
        batch = self.transform.padded(images, targets)
        maps = list(self.backbone(batch).values())
        sizes = [(image.shape[-2], image.shape[-1]) for image in images]
        where = torch.stack([_coordinates(maps[3], _STRIDES[3], size) for size in sizes])
        shared, cells = self.mask_branch(maps[:4], where), self._cells(maps, sizes)
        if self.training:
            assert targets is not None
            each = [
                self._losses(one, features, target, size)
                for one, features, target, size in zip(cells, shared, targets, sizes, strict=True)
            ]
            return {name: torch.stack([losses[name] for losses in each]).mean() for name in each[0]}
        return [self._predict(one, shared[i], sizes[i]) for i, one in enumerate(cells)]

    def _cells(self, maps: Sequence[Tensor], sizes: Sequence[tuple[int, int]]) -> list[Cells]:
        """What the cells of all grids predict, for each image."""
        logits, kernels = [], []
        for features, stride, side in zip(maps, _STRIDES, _GRIDS, strict=True):
            grids = torch.cat([
                F.interpolate(
                    features[i : i + 1, :, : (height + stride - 1) // stride, : (width + stride - 1) // stride],
                    size=(side, side), mode="bilinear", align_corners=False,
                )
                for i, (height, width) in enumerate(sizes)
            ])  # fmt: skip
            label, kernel = self.head(grids)
            if not self.training:
                label = label - _tie_break(side, label.device)
                highest = F.max_pool2d(label, 2, stride=1, padding=1)[:, :, :-1, :-1]
                label = label.sigmoid() * (highest == label)  # the best one of neighbours
            logits.append(label.flatten(2).transpose(1, 2))
            kernels.append(kernel.flatten(2).transpose(1, 2))
        return [Cells(*pair) for pair in zip(torch.cat(logits, dim=1), torch.cat(kernels, dim=1), strict=True)]

    def _losses(self, cells: Cells, features: Tensor, target: Target, size: tuple[int, int]) -> dict[str, Tensor]:
        height, width = features.shape[-2:]
        masks = stride_masks(target, height, width, _STRIDE)
        matches = match_cells(target["boxes"], _centres(masks), size)
        positive = matches >= 0
        if len(target["labels"]):
            kinds = torch.where(positive, target["labels"][matches.clamp(min=0)], 0)
        else:
            kinds = torch.zeros_like(matches)
        one_hot = F.one_hot(kinds, cells.logits.shape[1]).to(cells.logits.dtype) * positive[:, None]
        of_labels = sigmoid_focal_loss(cells.logits, one_hot, reduction="sum") / (positive.sum() + 1)
        chosen = taught_places(matches, cells.logits.detach().amax(dim=1), target, self.rois)
        if not len(chosen):
            return {"loss_classifier": of_labels, "loss_mask": (cells.kernels.sum() + features.sum()) * 0}
        logits = mask_logits(cells.kernels[chosen], features)
        of_masks = dice_losses(logits, masks[matches[chosen]].float() / 255).mean()
        return {"loss_classifier": of_labels, "loss_mask": _MASK_WEIGHT * of_masks}

    def _predict(self, cells: Cells, features: Tensor, size: tuple[int, int]) -> Prediction:
        rows, columns = ((side + _STRIDE - 1) // _STRIDE for side in size)  # without the padding
        scores, places, labels = _best_cells(cells.logits[:, 1:], max(_CANDIDATES, 2 * self.detections))
        masks = mask_logits(cells.kernels[places], features[:, :rows, :columns]).sigmoid()
        inside = (masks > 0.5).to(masks.dtype)
        area = inside.sum(dim=(1, 2))
        least = torch.cat([scores.new_full((side**2,), each) for side, each in zip(_GRIDS, _AREAS, strict=True)])
        certain = (masks * inside).sum(dim=(1, 2)) / area.clamp(min=1)
        scores = scores * certain * (area > least[places])
        scores, order = scores.topk(scores.shape[0])
        labels = labels[order]
        if self.suppresses:
            scores = scores * matrix_nms(inside[order].flatten(1), labels)
        kept = _kept(scores, self.detections)
        chosen = masks[order[kept]]
        boxes, found = in_boxes(chosen, _STRIDE, self.mask_size, size, chosen.new_zeros(chosen.shape[0], 4))
        return not_empty({"boxes": boxes, "labels": labels[kept], "scores": scores[kept], "masks": found})


def _tie_break(side: int, device: torch.device) -> Tensor:
    """What is taken from the logits of a grid [S, S], so that place decides between equal cells, and not rounding.

    In a picture of one colour, or of a few rows, many cells see the same. Neighbours differ by a ten thousandth.
    """
    index = torch.arange(side, device=device) / side
    return _TIE * (index[:, None] + index[None, :] / 3)


def _coordinates(features: Tensor, stride: int, size: tuple[int, int]) -> Tensor:
    """X and y of the cells of a map [B, C, h, w], from -1 to 1 over an image: [2, h, w]."""
    height, width = features.shape[-2:]
    device = features.device
    x, y = (
        (torch.arange(cells, device=device) + 0.5) * (2 * stride / side) - 1
        for cells, side in ((width, size[1]), (height, size[0]))
    )
    return torch.stack(torch.meshgrid(x, y, indexing="xy"))


def _centres(masks: Tensor) -> Tensor:
    """The centres of mass of masks [N, h, w] at stride 4, in pixels: x and y [N, 2]."""
    height, width = masks.shape[-2:]
    columns, rows = masks.sum(dim=1, dtype=torch.float32), masks.sum(dim=2, dtype=torch.float32)
    mass = columns.sum(dim=1).clamp(min=1)
    x, y = ((torch.arange(side, device=masks.device) + 0.5) * _STRIDE for side in (width, height))
    return torch.stack([columns @ x / mass, rows @ y / mass], dim=1)


def match_cells(boxes: Tensor, centres: Tensor, size: tuple[int, int]) -> Tensor:
    """The instance of each cell of all grids [A], -1 where there is none (section 3.2 of SOLO, 3.3 of SOLOv2).

    A grid has the instances whose size is in its range; a cell has the instance whose centre region, a fifth of its
    box around its centre of mass, reaches into it, and at most the cells beside that of the centre. Of several ones
    a cell has the smallest.

    Args:
        boxes: Of the instances [N, 4].
        centres: Their centres of mass [N, 2].
        size: Height and width of the image.
    """
    height, width = size
    if not len(boxes):
        return torch.full((sum(side**2 for side in _GRIDS),), -1, dtype=torch.int64, device=boxes.device)
    sides = boxes[:, 2:] - boxes[:, :2]
    sizes, half = sides.prod(dim=1).sqrt(), sides * _CENTRE / 2
    extent = boxes.new_tensor([width, height])
    out = []
    for side, (low, high) in zip(_GRIDS, _RANGES, strict=True):
        scale = min(height, width) / _OF
        fits = (sizes >= low * scale) & (sizes <= high * scale)
        middle, first, last = (
            (where / extent * side).floor().clamp(0, side - 1) for where in (centres, centres - half, centres + half)
        )
        first, last = torch.maximum(first, middle - 1), torch.minimum(last, middle + 1)  # [N, 2]
        index = torch.arange(side, device=boxes.device)
        across, down = ((index >= first[:, i, None]) & (index <= last[:, i, None]) for i in (0, 1))  # [N, S]
        has = (down[:, :, None] & across[:, None, :]).flatten(1) & fits[:, None]  # [N, S * S]
        smallest, which = torch.where(has, sizes[:, None], torch.inf).min(dim=0)
        out.append(torch.where(smallest.isfinite(), which, -1))
    return torch.cat(out)


def mask_logits(kernels: Tensor, features: Tensor) -> Tensor:
    """Masks [N, h, w]: kernels [N, 128] applied to features [128, h, w] as a 1x1 convolution, in fp32."""
    with torch.autocast(features.device.type, enabled=False):
        return (kernels @ features.flatten(1)).view(-1, features.shape[1], features.shape[2])


# segkit.memory.simulate.detector_bounds knows this function by its name.
def _best_cells(scores: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """The best cells by scores [A, K]: their scores, places and labels from 1."""
    kinds, flat = scores.shape[1], scores.flatten()
    where = torch.where(flat > _MIN_LABEL)[0]
    best, order = highest(flat[where], most)
    chosen = where[order]
    return best, chosen.div(kinds, rounding_mode="floor"), chosen % kinds + 1


def matrix_nms(masks: Tensor, labels: Tensor) -> Tensor:
    """The factors [N] by which the scores of masks are lowered (Matrix NMS, section 3.3 of the paper, Gaussian).

    Args:
        masks: Of 0 and 1 [N, P], by falling score.
        labels: [N]; masks of different labels do not suppress each other.
    """
    both, areas = masks @ masks.t(), masks.sum(dim=1)
    union = areas[:, None] + areas - both
    iou = (both / union.clamp(min=1) * (labels[:, None] == labels)).triu(1)  # of row i, better than column j
    # A further row, which changes nothing: where there is no mask, there must be something to take the maximum of.
    own = torch.cat([iou, iou.new_zeros(1, iou.shape[1])]).amax(dim=0)
    decay = torch.exp(-_SIGMA * (iou**2 - own[:, None] ** 2))
    return torch.cat([decay, decay.new_ones(1, decay.shape[1])]).amin(dim=0)


# segkit.memory.simulate.detector_bounds knows this function by its name.
def _kept(scores: Tensor, most: int) -> Tensor:
    """The places of the best scores [N], by falling score."""
    where = torch.where(scores >= _MIN_SCORE)[0]
    return where[highest(scores[where], most)[1]]
