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
from torchvision.models.detection.roi_heads import RoIHeads, maskrcnn_inference

from segkit.models.box_codes import OF_REGIONS, encode_boxes
from segkit.models.host_counts import on_host, places_of
from segkit.models.mask_targets import mask_targets
from segkit.models.matching import BETWEEN, match_regions
from segkit.models.pyramid import is_traced
from segkit.models.rpn import usable
from segkit.models.tensors import Target

_AT_ONCE = 128  # regions that go through the mask head together in evaluation: as many as an image has in training


class Positive(NamedTuple):
    """The regions of an image that belong to an instance: boxes [R, 4], their instances [R] and labels [R]."""

    boxes: Tensor
    matched: Tensor
    labels: Tensor


class Samples(NamedTuple):
    """The regions of an image that the heads learn from.

    Attributes:
        regions: Boxes [R, 4].
        matched: The instance of each [R].
        labels: The label of each [R]; 0 is background.
        places: The places of those that have an instance.
    """

    regions: Tensor
    matched: Tensor
    labels: Tensor
    places: Tensor

    def positive(self) -> Positive:
        """Those that have an instance."""
        return Positive(self.regions[self.places], self.matched[self.places], self.labels[self.places])


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
        return matched, [torch.where(usable(each), own, -1) for each, own in zip(proposals, labels, strict=True)]

    def select_training_samples(self, proposals: list[Tensor], targets: list[Target]) -> list[Samples]:
        """The regions that are learnt from, of every image: proposals and the boxes of instances."""
        truth = [target["boxes"].to(proposals[0].dtype) for target in targets]
        proposals = self.add_gt_proposals(proposals, truth)
        matched, labels = self.assign_targets_to_proposals(proposals, truth, [target["labels"] for target in targets])
        samples = []
        for i, (positive, negative) in enumerate(self.fg_bg_sampler(labels)):
            chosen = torch.cat([positive, negative]).sort().values
            own = labels[i][chosen]
            there = places_of(own > 0, len(positive))
            samples.append(Samples(proposals[i][chosen], matched[i][chosen], own, there))
        return samples

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[Target] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Losses in training; in evaluation, torchvision's detections."""
        if is_traced():
            found: tuple[list[dict[str, Tensor]], dict[str, Tensor]]
            found = super().forward(features, proposals, image_shapes, targets)
            return found
        if not self.training:
            return self._detections(features, proposals, image_shapes), {}
        assert targets is not None
        samples = self.select_training_samples(proposals, targets)
        regions = [each.regions for each in samples]
        scores, codes = self.box_predictor(self.box_head(self.box_roi_pool(features, regions, image_shapes)))
        counts = [len(each) for each in regions]
        pairs = [
            _box_losses(*each)
            for each in zip(torch.split(scores, counts), torch.split(codes, counts), samples, targets, strict=True)
        ]
        losses = {
            "loss_classifier": torch.stack([kind for kind, _ in pairs]).mean(),
            "loss_box_reg": torch.stack([box for _, box in pairs]).mean(),
        }
        if self.learns_masks():
            positive = [each.positive() for each in samples]
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
        regions, counts = [each.boxes for each in positive], [len(each.boxes) for each in positive]
        pooled = self.mask_roi_pool(features, regions, image_shapes)
        logits = self.mask_predictor(self.mask_head(pooled), torch.cat([each.labels for each in positive]))
        known = on_host(torch.cat([each.matched for each in positive])) if sum(counts) else []
        losses, first = [], 0
        for own, target, image_shape, here in zip(
            torch.split(logits, counts), targets, image_shapes, positive, strict=True
        ):
            instances, first = known[first : first + len(own)], first + len(own)
            losses.append(_mask_loss(own, logits, target, image_shape, here, instances, aligned=self.aligned_masks))
        return {"loss_mask": torch.stack(losses).mean()}

    def _detections(
        self, features: dict[str, Tensor], proposals: list[Tensor], image_shapes: list[tuple[int, int]]
    ) -> list[dict[str, Tensor]]:
        """The detections as torchvision has them; of many, the masks are computed a part at a time."""
        scores, codes = self.box_predictor(self.box_head(self.box_roi_pool(features, proposals, image_shapes)))
        found = self.postprocess_detections(scores, codes, proposals, image_shapes)
        results = [dict(zip(("boxes", "scores", "labels"), each, strict=True)) for each in zip(*found, strict=True)]
        if not self.has_mask():
            return results
        boxes, labels = [each["boxes"] for each in results], [each["labels"] for each in results]
        if sum(len(each) for each in boxes) <= _AT_ONCE:
            masks = self._masks(features, boxes, labels, image_shapes)
        else:
            masks = [
                torch.cat([
                    self._masks(features, _alone(own, i, len(boxes)), [kinds], image_shapes)[0]
                    for own, kinds in zip(*(torch.split(each[i], _AT_ONCE) for each in (boxes, labels)), strict=True)
                ])
                for i in range(len(boxes))
            ]  # fmt: skip
        for each, own in zip(results, masks, strict=True):
            each["masks"] = own
        return results

    def _masks(
        self,
        features: dict[str, Tensor],
        boxes: list[Tensor],
        labels: list[Tensor],
        image_shapes: list[tuple[int, int]],
    ) -> list[Tensor]:
        """The probabilities [R, 1, M, M] of the masks in boxes of each image, in their labels."""
        logits = self.mask_predictor(self.mask_head(self.mask_roi_pool(features, boxes, image_shapes)))
        masks: list[Tensor] = maskrcnn_inference(logits, labels)
        return masks


def _alone(boxes: Tensor, image: int, count: int) -> list[Tensor]:
    """The boxes of an image as those of a batch in which no other image has any."""
    return [boxes if place == image else boxes[:0] for place in range(count)]


def _box_losses(scores: Tensor, codes: Tensor, samples: Samples, target: Target) -> tuple[Tensor, Tensor]:
    """Classification and box loss of an image, as torchvision's ``fastrcnn_loss``.

    Args:
        scores: Logits of the labels [R, K + 1].
        codes: Offsets of a box for each label [R, (K + 1) * 4].
        samples: The regions.
        target: The instances.
    """
    if not len(scores):
        return scores.sum() * 0, codes.sum() * 0
    here, labels = samples.places, samples.labels
    true = encode_boxes(target["boxes"][samples.matched[here]], samples.regions[here], OF_REGIONS)
    predicted = codes.view(len(codes), -1, 4)[here, labels[here]]
    box = F.smooth_l1_loss(predicted, true, beta=1 / 9, reduction="sum") / len(scores)
    return F.cross_entropy(scores, labels), box


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
    predicted = own[torch.arange(len(own), device=own.device), positive.labels]
    return _mask_loss(predicted, logits, target, image_shape, positive, None, aligned=aligned)


def _mask_loss(
    own: Tensor,
    logits: Tensor,
    target: Target,
    image_shape: tuple[int, int],
    positive: Positive,
    known: Sequence[int] | None,
    *,
    aligned: bool,
) -> Tensor:
    """The same of logits [R, M, M]; ``known`` are the instances of the regions on the host."""
    if not len(own):
        return logits.sum() * 0
    truth = mask_targets(
        target, positive.boxes, positive.matched, image_shape, own.shape[-1], aligned=aligned, known=known
    )
    return F.binary_cross_entropy_with_logits(own, truth)
