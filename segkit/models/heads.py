"""The losses of a detector, image by image.

torchvision averages over the regions of all images that go through the model at once, and samples them from one random
state: the same batch in smaller micro-batches, or on two ranks, would give other gradients. Here the loss of a batch is
the mean of its images' losses, and the regions of an image are sampled with the image's own seed, so that micro-batches
and ranks change nothing but the order of sums.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.ops import roi_align

from segkit.models.matching import BETWEEN, match_regions
from segkit.models.tensors import Target


class SeededSampler:
    """Chooses the regions that a detector learns from, at random, with at most a given fraction of positive ones.

    The same as torchvision's ``BalancedPositiveNegativeSampler``, with a seed for every image where ``seeds`` are set.
    """

    seeds: Sequence[int] = ()

    def __init__(self, batch_size_per_image: int, positive_fraction: float) -> None:
        self.batch_size_per_image, self.positive_fraction = batch_size_per_image, positive_fraction

    def __call__(self, matched_idxs: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Masks of the chosen positive and negative regions of every image.

        Args:
            matched_idxs: For every image, the label of each region: 0 for background, less where it does not count.
        """
        positives, negatives = [], []
        seeds: Sequence[int | None] = self.seeds or [None] * len(matched_idxs)
        for labels, seed in zip(matched_idxs, seeds, strict=True):
            generator = None if seed is None else torch.Generator(labels.device).manual_seed(seed)
            most = int(self.batch_size_per_image * self.positive_fraction)
            chosen, count = _some(labels >= 1, most, generator)
            positives.append(chosen)
            negatives.append(_some(labels == 0, self.batch_size_per_image - count, generator)[0])
        return positives, negatives


def _some(candidates: Tensor, count: int, generator: torch.Generator | None) -> tuple[Tensor, int]:
    """At most ``count`` of the candidates [R], at random, as a mask, and how many they are."""
    places = torch.where(candidates)[0]
    order = torch.randperm(len(places), generator=generator, device=candidates.device)[:count]
    chosen = torch.zeros_like(candidates)
    chosen[places[order]] = True
    return chosen, len(order)


class PerImageRPN(RegionProposalNetwork):  # type: ignore[misc]  # torchvision has no types
    """torchvision's region proposal network with losses that are means over images."""

    def assign_targets_to_anchors(
        self, anchors: list[Tensor], targets: list[Target]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The label of each anchor (1, 0, and -1 where it does not count) and its instance's box, of every image."""
        labels, boxes = [], []
        matcher = self.proposal_matcher
        for regions, target in zip(anchors, targets, strict=True):
            truth = target["boxes"]
            if not len(truth):
                labels.append(regions.new_zeros(len(regions)))
                boxes.append(torch.zeros_like(regions))
                continue
            matches = match_regions(
                truth,
                regions,
                matcher.low_threshold,
                matcher.high_threshold,
                keep_best=matcher.allow_low_quality_matches,
            )
            labels.append((matches >= 0).to(torch.float32) - (matches == BETWEEN).to(torch.float32))
            boxes.append(truth[matches.clamp(min=0)])
        return labels, boxes

    def compute_loss(
        self, objectness: Tensor, pred_bbox_deltas: Tensor, labels: list[Tensor], regression_targets: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Objectness and box loss; see torchvision."""
        positives, negatives = self.fg_bg_sampler(labels)
        counts = [len(each) for each in labels]
        scores, deltas = torch.split(objectness.flatten(), counts), torch.split(pred_bbox_deltas, counts)
        object_losses, box_losses = [], []
        for i, truth in enumerate(labels):
            positive = torch.where(positives[i])[0]
            chosen = torch.cat([positive, torch.where(negatives[i])[0]])
            count = max(1, len(chosen))
            loss = F.binary_cross_entropy_with_logits(scores[i][chosen], truth[chosen], reduction="sum")
            object_losses.append(loss / count)
            predicted, true = deltas[i][positive], regression_targets[i][positive]
            box_losses.append(F.smooth_l1_loss(predicted, true, beta=1 / 9, reduction="sum") / count)
        return torch.stack(object_losses).mean(), torch.stack(box_losses).mean()


class Positive(NamedTuple):
    """The regions of an image that belong to an instance: boxes [R, 4], their instances [R] and labels [R]."""

    boxes: Tensor
    matched: Tensor
    labels: Tensor


# segkit.memory.simulate.detector_bounds knows this function by its name.
def positive_regions(
    proposals: Sequence[Tensor], matched: Sequence[Tensor], labels: Sequence[Tensor]
) -> list[Positive]:
    """The positive ones among the regions of every image."""
    out = []
    for boxes, instances, kinds in zip(proposals, matched, labels, strict=True):
        places = torch.where(kinds > 0)[0]
        out.append(Positive(boxes[places], instances[places], kinds[places]))
    return out


class PerImageRoIHeads(RoIHeads):  # type: ignore[misc]
    """torchvision's heads with losses that are means over images, and mask targets that may be cut to their boxes."""

    aligned_masks = False  # see ``DetectorSettings``

    def check_targets(self, targets: Any) -> None:
        """Targets are checked where they are made."""

    def assign_targets_to_proposals(
        self, proposals: list[Tensor], gt_boxes: list[Tensor], gt_labels: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The instance and the label of each proposal, of every image; label 0 is background, -1 does not count."""
        matched, labels = [], []
        matcher = self.proposal_matcher
        for regions, truth, kinds in zip(proposals, gt_boxes, gt_labels, strict=True):
            if not len(truth):
                matched.append(torch.zeros(len(regions), dtype=torch.int64, device=regions.device))
                labels.append(torch.zeros_like(matched[-1]))
                continue
            matches = match_regions(
                truth,
                regions,
                matcher.low_threshold,
                matcher.high_threshold,
                keep_best=matcher.allow_low_quality_matches,
            )
            matched.append(matches.clamp(min=0))
            other = torch.where(matches == BETWEEN, -1, 0)
            labels.append(torch.where(matches >= 0, kinds[matched[-1]], other))
        return matched, labels

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[Target] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Losses in training; in evaluation, torchvision's detections."""
        if not self.training:
            found: tuple[list[dict[str, Tensor]], dict[str, Tensor]]
            found = super().forward(features, proposals, image_shapes, targets)
            return found
        assert targets is not None
        proposals, matched, labels, offsets = self.select_training_samples(proposals, targets)
        scores, deltas = self.box_predictor(self.box_head(self.box_roi_pool(features, proposals, image_shapes)))
        counts = [len(each) for each in labels]
        pairs = [
            fastrcnn_loss(score, delta, [label], [offset]) if len(label) else (score.sum() * 0, delta.sum() * 0)
            for score, delta, label, offset in zip(
                scores.split(counts), deltas.split(counts), labels, offsets, strict=True
            )
        ]
        losses = {
            "loss_classifier": torch.stack([kind for kind, _ in pairs]).mean(),
            "loss_box_reg": torch.stack([box for _, box in pairs]).mean(),
        }
        if self.learns_masks():
            positive = positive_regions(proposals, matched, labels)
            losses |= self.mask_losses(features, positive, image_shapes, targets)
        return [], losses

    def learns_masks(self) -> bool:
        """Whether there is a mask head."""
        return bool(self.has_mask())

    def mask_losses(
        self,
        features: dict[str, Tensor],
        positive: Sequence[Positive],
        image_shapes: list[tuple[int, int]],
        targets: list[Target],
    ) -> dict[str, Tensor]:
        """Binary cross entropy of the masks of positive regions, in the label that each should have."""
        regions = [each.boxes for each in positive]
        logits = self.mask_predictor(self.mask_head(self.mask_roi_pool(features, regions, image_shapes)))
        own = logits.split([len(each) for each in regions])  # [R, K + 1, M, M] of each image
        losses = [
            of_own_label(each, logits, target, image_shape, here, aligned=self.aligned_masks)
            for each, target, image_shape, here in zip(own, targets, image_shapes, positive, strict=True)
        ]
        return {"loss_mask": torch.stack(losses).mean()}


def of_own_label(
    own: Tensor,
    logits: Tensor,
    target: Target,
    image_shape: tuple[int, int],
    positive: Positive,
    *,
    aligned: bool,
) -> Tensor:
    """Binary cross entropy of the masks of an image's regions, in the label that each should have; 0 of none.

    Args:
        own: Logits of the regions of the image, [R, K + 1, M, M].
        logits: Those of all images, so that a gradient reaches the head from an image without regions.
        target: The instances of the image.
        image_shape: Its height and width.
        positive: Its regions.
        aligned: See ``mask_targets``.
    """
    if not len(own):
        return logits.sum() * 0
    truth = mask_targets(target, positive.boxes, positive.matched, image_shape, own.shape[-1], aligned=aligned)
    predicted = own[torch.arange(len(own), device=own.device), positive.labels]
    return F.binary_cross_entropy_with_logits(predicted, truth)


# segkit.memory.simulate.detector_bounds knows this function and its ``corners`` by their names.
def mask_targets(
    target: Target, regions: Tensor, matched: Tensor, image_size: tuple[int, int], side: int, *, aligned: bool
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
    """
    if "masks" in target:
        places = torch.cat([matched[:, None].to(regions), regions], dim=1)
        whole = target["masks"][:, None].to(regions)
        sampled: Tensor = roi_align(whole, places, (side, side), 1.0, aligned=aligned)
        return sampled[:, 0]
    corners = target["boxes"].long().tolist()
    ends = [0]
    for x1, y1, x2, y2 in corners:
        ends.append(ends[-1] + (y2 - y1) * (x2 - x1))
    out = regions.new_zeros((len(regions), side, side))
    for instance in torch.unique(matched).tolist():
        x1, y1, x2, y2 = corners[instance]
        mask = target["box_masks"][ends[instance] : ends[instance + 1]].view(y2 - y1, x2 - x1).to(out.dtype)
        mask = F.pad(mask, (1, 1, 1, 1))
        if y1 == 0:
            mask[0] = mask[1]
        if y2 == image_size[0]:
            mask[-1] = mask[-2]
        if x1 == 0:
            mask[:, 0] = mask[:, 1]
        if x2 == image_size[1]:
            mask[:, -1] = mask[:, -2]
        here = torch.where(matched == instance)[0]
        shift = regions.new_tensor([x1 - 1, y1 - 1, x1 - 1, y1 - 1])
        out[here] = roi_align(mask[None, None], [regions[here] - shift], (side, side), 1.0, aligned=aligned)[:, 0]
    return out
