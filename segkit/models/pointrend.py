"""PointRend: masks finer than 28x28, predicted at the points that are uncertain.

Kirillov et al. 2020 (https://arxiv.org/abs/1912.08193), section 4. A coarse head predicts 7x7 masks from features of
the finest map. A point head, a small network that is applied to single points, predicts from the features at a point
and the coarse masks there. It is taught at points of each region that were chosen at random, most of them where the
coarse mask is uncertain. For a prediction the mask is subdivided: its size is doubled, and the point head predicts the
cells that are the most uncertain. Points of an image are drawn with its own seed, so that micro-batches and ranks
change nothing.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import roi_align

from segkit.models.heads import PerImageRoIHeads, Positive, of_own_label
from segkit.models.mask_points import features_at, mask_values
from segkit.models.pyramid import is_traced
from segkit.models.tensors import Target

_COARSE = 7  # rows and columns of the coarse masks
_FIRST = 28  # rows and columns up to which all cells are predicted
_POINTS = _FIRST**2  # cells that a subdivision predicts again
_TAUGHT = 14**2  # points of a region in training
_OVERSAMPLED, _IMPORTANT = 3, 0.75  # k and beta of the paper
_AT_ONCE = 64  # regions: 784 points of 256 channels each take 50 MiB


class CoarseHead(nn.Module):
    """Masks of 7x7 for every label, of regions [R, C, 14, 14]."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, 256, 2, stride=2)
        self.fc1 = nn.Linear(256 * _COARSE**2, 1024)
        self.fc2 = nn.Linear(1024, 1024)
        self.prediction = nn.Linear(1024, num_classes * _COARSE**2)
        self.shape = (num_classes, _COARSE, _COARSE)
        nn.init.kaiming_normal_(self.reduce.weight, mode="fan_out", nonlinearity="relu")
        for layer in (self.fc1, self.fc2):
            nn.init.kaiming_uniform_(layer.weight, a=1)
        nn.init.normal_(self.prediction.weight, std=0.001)
        for part in (self.reduce, self.fc1, self.fc2, self.prediction):
            nn.init.zeros_(part.bias)  # type: ignore[arg-type]

    def forward(self, regions: Tensor) -> Tensor:
        """Logits [R, K + 1, 7, 7]."""
        x = F.relu(self.reduce(regions)).flatten(1)
        x = F.relu(self.fc2(F.relu(self.fc1(x))))
        logits: Tensor = self.prediction(x)
        return logits.float().view(logits.shape[0], *self.shape)


class PointHead(nn.Module):
    """Logits at points, for every label; the coarse masks go into each of its layers, as in the paper's code."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels + num_classes, 256)
        self.fc2 = nn.Linear(256 + num_classes, 256)
        self.fc3 = nn.Linear(256 + num_classes, 256)
        self.predictor = nn.Linear(256 + num_classes, num_classes)
        for layer in (self.fc1, self.fc2, self.fc3):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.predictor.weight, std=0.001)
        nn.init.zeros_(self.predictor.bias)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Logits [R, P, K + 1] of features [R, P, C] and coarse logits [R, P, K + 1]."""
        x, coarse = fine, coarse.to(fine.dtype)
        for layer in (self.fc1, self.fc2, self.fc3):
            x = F.relu(layer(torch.cat([x, coarse], dim=-1)))
        out: Tensor = self.predictor(torch.cat([x, coarse], dim=-1))
        return out.float()


class PointRend(nn.Module):
    """The coarse head and the point head; the finest map of the pyramid has their features.

    Attributes:
        mask_size: Rows and columns of a predicted mask.
        stride: Pixels to a cell of the finest map.
    """

    def __init__(self, channels: int, num_classes: int, mask_size: int, stride: int) -> None:
        super().__init__()
        self.coarse = CoarseHead(channels, num_classes)
        self.points = PointHead(channels, num_classes)
        self.mask_size, self.stride = mask_size, stride

    def coarse_masks(self, fine: Tensor, boxes: list[Tensor]) -> Tensor:
        """Coarse logits [R, K + 1, 7, 7] of all boxes in maps [B, C, h, w]."""
        side = 2 * _COARSE
        regions = roi_align(fine, boxes, (side, side), 1 / self.stride, sampling_ratio=1, aligned=True)
        out: Tensor = self.coarse(regions)
        return out

    def at_points(self, fine: Tensor, boxes: Tensor, coarse: Tensor, points: Tensor) -> Tensor:
        """Logits [R, P, K + 1] at points of regions.

        Args:
            fine: The map of the image, [C, h, w].
            boxes: The regions [R, 4].
            coarse: Their coarse logits [R, K + 1, 7, 7].
            points: [R, P, 2]: x and y in each region, from 0 to 1.
        """
        out: Tensor = self.points(
            features_at(fine, in_pixels(points, boxes) / self.stride), coarse_at(coarse, points).transpose(1, 2)
        )
        return out

    def masks(self, fine: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
        """Mask probabilities [R, 1, S, S] of an image's detections, by subdivision (section 3.1 of the paper).

        Args:
            fine: The map of the image, [C, h, w].
            boxes: [R, 4].
            labels: [R].
        """
        if is_traced() or len(boxes) <= _AT_ONCE:
            return self._masks(fine, boxes, labels)
        parts = zip(torch.split(boxes, _AT_ONCE), torch.split(labels, _AT_ONCE), strict=True)
        return torch.cat([self._masks(fine, *part) for part in parts])

    def _masks(self, fine: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
        coarse = self.coarse_masks(fine[None], [boxes])
        side = _FIRST
        cells = torch.arange(side**2, device=boxes.device)
        logits = self._at_cells(fine, boxes, labels, coarse, cells.expand(boxes.shape[0], -1), side)
        while side < self.mask_size:
            logits = F.interpolate(
                logits.view(-1, 1, side, side), scale_factor=2.0, mode="bilinear", align_corners=False
            ).flatten(1)
            side *= 2
            # A row more: the TopK of ONNX Runtime 1.28 divides by their number, and ends the process where it is 0.
            certain = torch.cat([logits, logits.new_zeros(1, side**2)]).abs()
            chosen = (-certain).topk(_POINTS, dim=1).indices[:-1]
            logits = logits.scatter(1, chosen, self._at_cells(fine, boxes, labels, coarse, chosen, side))
        return logits.view(-1, 1, side, side).sigmoid()

    def _at_cells(
        self, fine: Tensor, boxes: Tensor, labels: Tensor, coarse: Tensor, cells: Tensor, side: int
    ) -> Tensor:
        """Logits [R, P] of the labels of regions, at the centres of cells [R, P] of a grid."""
        points = torch.stack([cells % side, cells.div(side, rounding_mode="floor")], dim=-1)
        logits = self.at_points(fine, boxes, coarse, (points.to(boxes.dtype) + 0.5) / side)
        return logits.gather(2, labels[:, None, None].expand(-1, cells.shape[1], 1))[..., 0]


class PointRendRoIHeads(PerImageRoIHeads):
    """Heads whose masks are PointRend's; ``mask_head`` is a ``PointRend``."""

    def learns_masks(self) -> bool:
        """It does; torchvision, which looks for a mask head with a pooling of its own, predicts boxes only."""
        return True

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[Target] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Losses in training; in evaluation, torchvision's detections with masks of ``PointRend``."""
        found, losses = super().forward(features, proposals, image_shapes, targets)
        for image, each in enumerate(found):
            each["masks"] = self.mask_head.masks(_finest(features)[image], each["boxes"], each["labels"])
        return found, losses

    def mask_losses(
        self,
        features: dict[str, Tensor],
        positive: Sequence[Positive],
        image_shapes: list[tuple[int, int]],
        targets: list[Target],
    ) -> dict[str, Tensor]:
        """Binary cross entropy of the coarse masks, and at points."""
        fine, head = _finest(features), self.mask_head
        coarse = head.coarse_masks(fine, [each.boxes for each in positive])
        own = coarse.split([len(each.boxes) for each in positive])
        of_masks = [
            of_own_label(each, coarse, target, image_shape, here, aligned=True)
            for each, target, image_shape, here in zip(own, targets, image_shapes, positive, strict=True)
        ]
        of_points = [
            _point_loss(head, fine[image], own[image], targets[image], here, image_shapes[image])
            for image, here in enumerate(positive)
        ]
        return {"loss_mask": torch.stack(of_masks).mean(), "loss_mask_point": torch.stack(of_points).mean()}


def _finest(features: dict[str, Tensor]) -> Tensor:
    return next(iter(features.values()))


def _point_loss(
    head: PointRend, fine: Tensor, coarse: Tensor, target: Target, positive: Positive, image_shape: tuple[int, int]
) -> Tensor:
    """Binary cross entropy at points of an image's regions, in the label that each should have."""
    seed = target.get("seed")
    generator = None if seed is None else torch.Generator(fine.device).manual_seed(seed + 2)
    each = torch.arange(len(positive.labels), device=fine.device)
    points = uncertain_points(coarse[each, positive.labels], generator)
    logits = head.at_points(fine, positive.boxes, coarse, points)
    if not len(logits):
        return logits.sum() * 0
    predicted = logits.gather(2, positive.labels[:, None, None].expand(-1, points.shape[1], 1))[..., 0]
    truth = mask_values(target, positive.matched, in_pixels(points, positive.boxes), image_shape)
    return F.binary_cross_entropy_with_logits(predicted, truth)


def uncertain_points(
    logits: Tensor,
    generator: torch.Generator | None,
    count: int = _TAUGHT,
    oversampled: int = _OVERSAMPLED,
    important: float = _IMPORTANT,
) -> Tensor:
    """Points to teach at [R, count, 2], from 0 to 1 in each region (section 3.2 of the paper).

    Of ``oversampled`` times as many random points, the share ``important`` of the points is where the logits are
    nearest to 0; the other ones are random.

    Args:
        logits: Coarse masks [R, 7, 7] of the label that each region should have.
        generator: Where random numbers come from.
        count: N of the paper.
        oversampled: Its k.
        important: Its beta.
    """
    regions, most = len(logits), int(important * count)
    candidates = torch.rand(regions, oversampled * count, 2, generator=generator, device=logits.device)
    with torch.no_grad():
        certain = coarse_at(logits[:, None], candidates)[:, 0].abs()  # [R, k N]
    chosen = certain.topk(most, dim=1, largest=False).indices
    rest = torch.rand(regions, count - most, 2, generator=generator, device=logits.device)
    return torch.cat([candidates.gather(1, chosen[..., None].expand(-1, -1, 2)), rest], dim=1)


def coarse_at(coarse: Tensor, points: Tensor) -> Tensor:
    """Coarse logits [R, K, 7, 7] at points [R, P, 2] from 0 to 1, interpolated between the centres of cells: [R, K, P].

    As matrix products: bilinear interpolation is separable, and on a grid of 7x7 that is less work than reading single
    cells, with a gradient that is the same in every run.
    """
    rows, columns = (_shares(points[..., axis], _COARSE).to(coarse.dtype) for axis in (1, 0))  # [R, P, 7]
    regions, count, labels = *points.shape[:2], coarse.shape[1]
    # No flatten(2): ONNX Runtime refuses its shape where there are no regions.
    both = (rows[..., :, None] * columns[..., None, :]).reshape(regions, count, _COARSE**2)
    return coarse.reshape(regions, labels, _COARSE**2) @ both.transpose(1, 2)


def _shares(places: Tensor, cells: int) -> Tensor:
    """The shares of values at places [...] from 0 to 1 in the cells of a line, [..., cells]; ends are repeated."""
    where = (places * cells - 0.5).clamp(0, cells - 1)
    return (1 - (where[..., None] - torch.arange(cells, device=places.device)).abs()).clamp(min=0)


def in_pixels(points: Tensor, boxes: Tensor) -> Tensor:
    """Points [R, P, 2] from 0 to 1 in boxes [R, 4], in pixels."""
    return boxes[:, None, :2] + points * (boxes[:, None, 2:] - boxes[:, None, :2])
