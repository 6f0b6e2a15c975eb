"""CondInst: masks without regions, each by a small network of its own whose weights another layer predicts.

Tian et al. 2020 (https://arxiv.org/abs/2003.05664), on FCOS (``segkit.models.fcos``). A mask branch computes 8 maps of
the whole image at stride 8. At each place of the pyramid a controller predicts 169 numbers: the weights of three 1x1
convolutions that turn these maps, with the coordinates relative to the place, into the mask of the instance there. They
are taught with the Dice loss at stride 4. Norms in the mask branch are group norms, as in FCOS's heads, and not batch
norms as in the paper's code: the loss of an image does not depend on the others.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.choices import BackboneName, NormName
from segkit.models.detector_settings import DetectorSettings
from segkit.models.fcos import FCOSHead, Found, Outputs, Places, detections, fcos_losses, match_places, places_of
from segkit.models.frozen_norm import fold_norms
from segkit.models.image_masks import dice_losses, in_boxes, not_empty, stride_masks, taught_places
from segkit.models.pyramid import LastLevelsByConvolution, Normalise, Pyramid, is_traced
from segkit.models.tensors import Prediction, Target

_LEVELS = (3, 4, 5)  # of the backbone; two more are made of the last one
_STRIDES = (8, 16, 32, 64, 128)
_CHANNELS = 8  # of the mask branch, and of the dynamic layers
_SHAPES = ((_CHANNELS + 2, _CHANNELS), (_CHANNELS, _CHANNELS), (_CHANNELS, 1))  # inputs and outputs of each of them
NUM_WEIGHTS = sum(inputs * outputs + outputs for inputs, outputs in _SHAPES)  # 169
_INTEREST = 8  # strides: coordinates are divided by so many ("size of interest")
_STRIDE = 4  # of the masks
_MASK_SIZE = 56  # rows and columns in a box, where settings have none
_AT_ONCE = 64  # masks


class MaskBranch(nn.Module):
    """Maps at stride 8 from those of strides 8, 16 and 32, of which all instances of an image are made."""

    def __init__(self, channels: int, out: int, width: int = 128) -> None:
        super().__init__()
        self.refine = nn.ModuleList(_conv(channels, width) for _ in range(3))
        self.tower = nn.Sequential(*(_conv(width, width) for _ in range(4)), nn.Conv2d(width, out, 1))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps [B, out, h, w]."""
        x: Tensor = self.refine[0](maps[0])
        for refine, each in zip(list(self.refine)[1:], maps[1:3], strict=True):
            x = x + F.interpolate(refine(each), size=x.shape[-2:], mode="bilinear", align_corners=False)
        out: Tensor = self.tower(x)
        return out.float()


def _conv(channels: int, out: int) -> nn.Sequential:
    layer = nn.Conv2d(channels, out, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(layer, nn.GroupNorm(32, out), nn.ReLU())


class CondInst(nn.Module):
    """CondInst; it is called as all models are (``ModelCard.build``).

    Attributes:
        rows_per_category: Layers with rows for each label, and how many.
        nms: Of two detections of a category with a higher IoU, one is dropped.
        detections: Instances of an image at most.
        rois: Places of an image whose masks are taught, at most.
    """

    rows_per_category: ClassVar[dict[str, int]] = {"head.classification_head.cls_logits": 1}
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
        channels = Pyramid.out_channels
        own = replace(settings, fpn_levels=_LEVELS)
        self.backbone = Pyramid(backbone, norm, norm_eps, own, partial(LastLevelsByConvolution, channels, channels))
        self.head = FCOSHead(channels, num_classes, NUM_WEIGHTS)
        self.mask_branch = MaskBranch(channels, _CHANNELS)
        self.transform = Normalise()
        self.nms, self.detections, self.rois = settings.nms, settings.detections, settings.rois
        self.mask_size = settings.mask_size or _MASK_SIZE
        fold_norms(self.backbone.fpn)

    def forward(self, images: Sequence[Tensor], targets: Sequence[Target] | None = None) -> Any:
        """Losses of images and targets in training; a list of ``Prediction`` of images in evaluation."""
        batch = self.transform.padded(images, targets)
        maps = list(self.backbone(batch).values())
        outputs, shared = self.head(maps), self.mask_branch(maps)
        places = places_of(maps, _STRIDES)
        if self.training:
            assert targets is not None
            each = [self._losses(outputs, shared, i, places, target) for i, target in enumerate(targets)]
            return {name: torch.stack([losses[name] for losses in each]).mean() for name in each[0]}
        return [self._predict(outputs, shared, i, places, image) for i, image in enumerate(images)]

    def limits(self) -> tuple[float, int]:
        """The IoU above which one of two detections is dropped, and how many instances an image may have."""
        return self.nms, self.detections

    def set_limits(self, nms: float, most: int) -> None:
        """Change them."""
        self.nms, self.detections = nms, most

    def _losses(
        self, outputs: Outputs, shared: Tensor, image: int, places: Places, target: Target
    ) -> dict[str, Tensor]:
        matches = match_places(places, target["boxes"])
        losses = fcos_losses(outputs, image, places, matches, target)
        scores = outputs.logits[image].sigmoid().amax(dim=1) * outputs.centerness[image].sigmoid()
        chosen = taught_places(matches, scores.detach(), target, self.rois)
        if not len(chosen):
            return losses | {"loss_mask": (shared[image].sum() + outputs.extra[image].sum()) * 0}
        logits = self._logits(outputs.extra[image][chosen], shared[image], places, chosen)
        height, width = logits.shape[-2:]
        truth = stride_masks(target, height, width, _STRIDE)[matches[chosen]].float() / 255
        return losses | {"loss_mask": dice_losses(logits, truth).mean()}

    def _logits(self, weights: Tensor, shared: Tensor, places: Places, chosen: Tensor) -> Tensor:
        """Mask logits [N, h, w] at stride 4 of the instances at some places."""
        logits = dynamic_masks(weights, shared, places.points[chosen], places.strides[chosen])
        return F.interpolate(logits[:, None], scale_factor=2.0, mode="bilinear", align_corners=False)[:, 0]

    def _predict(self, outputs: Outputs, shared: Tensor, image: int, places: Places, pixels: Tensor) -> Prediction:
        size = (pixels.shape[-2], pixels.shape[-1])
        found = detections(outputs, image, places, size, self.nms, self.detections)
        if is_traced() or len(found.boxes) <= _AT_ONCE:
            boxes, masks = self._masks(outputs, shared, image, places, found, size)
        else:
            parts = [Found(*each) for each in zip(*(torch.split(values, _AT_ONCE) for values in found), strict=True)]
            made = [self._masks(outputs, shared, image, places, part, size) for part in parts]
            boxes, masks = (torch.cat(each) for each in zip(*made, strict=True))
        return not_empty({"boxes": boxes, "labels": found.labels, "scores": found.scores, "masks": masks})

    def _masks(
        self, outputs: Outputs, shared: Tensor, image: int, places: Places, found: Found, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        logits = self._logits(outputs.extra[image][found.places], shared[image], places, found.places)
        rows, columns = ((side + _STRIDE - 1) // _STRIDE for side in size)  # without the padding
        return in_boxes(logits[:, :rows, :columns].sigmoid(), _STRIDE, self.mask_size, size, found.boxes)


def dynamic_masks(weights: Tensor, shared: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """Mask logits [N, h, w] of instances, by the network of each (section 3.2 of the paper).

    Args:
        weights: [N, 169]: of each layer the weights, then of each the biases, as in the paper's code.
        shared: The maps of the mask branch [8, h, w], at stride 8.
        points: Where the instances are [N, 2]: x and y in pixels.
        strides: Of the levels that found them [N].
    """
    count, (channels, height, width) = weights.shape[0], shared.shape
    x, y = ((torch.arange(side, device=shared.device) + 0.5) * _STRIDES[0] for side in (width, height))
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy")).flatten(1)  # [2, h w]
    relative = (points[:, :, None] - grid) / (_INTEREST * strides)[:, None, None]  # [N, 2, h w]
    values = torch.cat([shared.flatten(1).expand(count, channels, -1), relative], dim=1)
    matrices = torch.split(weights, [*(i * o for i, o in _SHAPES), *(o for _, o in _SHAPES)], dim=1)
    with torch.autocast(shared.device.type, enabled=False):  # bf16 holds coordinates to a part in 256
        for number, (inputs, outputs) in enumerate(_SHAPES):
            matrix = matrices[number].reshape(count, outputs, inputs)
            values = torch.baddbmm(matrices[number + len(_SHAPES)][:, :, None], matrix, values)
            values = values.relu() if number + 1 < len(_SHAPES) else values
    return values.view(count, height, width)
