"""The region proposal network in training, image by image (see ``segkit.models.heads``)."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork, concat_box_prediction_layers
from torchvision.ops import clip_boxes_to_image

from segkit.models.box_codes import OF_ANCHORS, decode_boxes, encode_boxes
from segkit.models.matching import BETWEEN, match_regions
from segkit.models.pyramid import is_traced
from segkit.models.suppress import TOGETHER_ON_CPU, TOGETHER_ON_GPU, suppress
from segkit.models.tensors import Target


class Anchors(AnchorGenerator):  # type: ignore[misc]  # torchvision has no types
    """Anchors in fp32 whatever the features are: bf16 holds coordinates beyond 512 only to the nearest 4.

    Those of an image serve all images of the batch.
    """

    def set_cell_anchors(self, dtype: torch.dtype, device: torch.device) -> None:
        """Move the anchors of a cell to a device."""
        super().set_cell_anchors(torch.float32, device)

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """The anchors [A, 4] of each image; they are the same tensor."""
        sizes = image_list.image_sizes
        (anchors,) = super().forward(ImageList(image_list.tensors, sizes[:1]), feature_maps)
        return [anchors] * len(sizes)


def ranked(objectness: Tensor) -> Tensor:
    """Logits in the same order, whose sigmoid has that order in every runtime.

    ONNX Runtime's sigmoid has steps of 6e-8 and is 0 for all logits below -18. Where an image has few objects, some of
    the regions that are looked at score less, and only their order counts.
    """
    return torch.where(objectness < 0, 0.01 * objectness.clamp(min=-400), objectness)


class PerImageRPN(RegionProposalNetwork):  # type: ignore[misc]
    """torchvision's region proposal network with losses that are means over images.

    In training, the host waits for a GPU once for each image and once for all; torchvision's waits six times for each.

    Attributes:
        together: Boxes up to which those of all levels are suppressed at once; None: by the device.
    """

    together: int | None = None

    def forward(
        self, images: ImageList, features: dict[str, Tensor], targets: list[Target] | None = None
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Proposals of every image, and in training the losses; in evaluation they are torchvision's."""
        if not self.training:
            found: tuple[list[Tensor], dict[str, Tensor]] = super().forward(images, features, targets)
            return found
        assert targets is not None
        maps = list(features.values())
        per_level: list[Tensor]
        per_level, codes = self.head(maps)
        anchors = self.anchor_generator(images, maps)[0]
        levels = [level[0].numel() for level in per_level]
        objectness, codes = concat_box_prediction_layers(per_level, codes)
        objectness, codes = objectness.view(len(targets), -1), codes.view(len(targets), -1, 4)
        with torch.no_grad():
            proposals = self.choose_proposals(objectness, codes, anchors, levels, images.image_sizes)
        labels, matches = self.assign_targets_to_anchors(anchors, targets)
        return proposals, self.compute_loss(objectness, codes, anchors, labels, matches, targets)

    def filter_proposals(
        self,
        proposals: Tensor,
        objectness: Tensor,
        image_shapes: list[tuple[int, int]],
        num_anchors_per_level: list[int],
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Torchvision's, in evaluation; in a traced graph, regions are in the same order in every runtime."""
        objectness = ranked(objectness) if is_traced() else objectness
        found: tuple[list[Tensor], list[Tensor]]
        found = super().filter_proposals(proposals, objectness, image_shapes, num_anchors_per_level)
        return found

    def choose_proposals(
        self,
        objectness: Tensor,
        codes: Tensor,
        anchors: Tensor,
        levels: Sequence[int],
        image_sizes: Sequence[tuple[int, int]],
    ) -> list[Tensor]:
        """The proposals of every image, as torchvision's ``filter_proposals`` has them.

        Where there are fewer than there may be, those that torchvision leaves out because they have no area follow;
        nothing is learnt from them (``usable``).

        Args:
            objectness: Logits of the anchors [B, A].
            codes: Offsets of the boxes from them [B, A, 4].
            anchors: The anchors [A, 4].
            levels: Anchors of each level.
            image_sizes: Height and width of the images.
        """
        counts = [min(self.pre_nms_top_n(), level) for level in levels]
        places, first = [], 0
        for level, count in zip(torch.split(objectness, list(levels), dim=1), counts, strict=True):
            places.append(level.topk(count, dim=1).indices + first)
            first += level.shape[1]
        chosen = torch.cat(places, dim=1)  # [B, P]
        scores = torch.sigmoid(objectness.gather(1, chosen))
        boxes = decode_boxes(codes.gather(1, chosen[..., None].expand(-1, -1, 4)), anchors[chosen])
        together = self.together or (TOGETHER_ON_CPU if boxes.device.type == "cpu" else TOGETHER_ON_GPU)
        proposals = []
        for own, values, size in zip(boxes, scores, image_sizes, strict=True):
            own = clip_boxes_to_image(own, size)
            values = torch.where(usable(own) & (values >= 0), values, -1.0)
            kept = suppress(own, values, counts, self.nms_thresh, together)
            proposals.append(own[kept[: self.post_nms_top_n()]])
        return proposals

    def assign_targets_to_anchors(
        self, anchors: Tensor, targets: Sequence[Target]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The label of each anchor (1, 0, and -1 where it does not count) and its instance, of every image."""
        labels, instances = [], []
        matcher = self.proposal_matcher
        for target in targets:
            truth = target["boxes"]
            if not len(truth):
                labels.append(anchors.new_zeros(len(anchors)))
                instances.append(torch.zeros(len(anchors), dtype=torch.int64, device=anchors.device))
                continue
            matches = match_regions(
                truth,
                anchors,
                matcher.low_threshold,
                matcher.high_threshold,
                keep_best=matcher.allow_low_quality_matches,
            )
            labels.append((matches >= 0).to(torch.float32) - (matches == BETWEEN).to(torch.float32))
            instances.append(matches)
        return labels, instances

    def compute_loss(
        self,
        objectness: Tensor,
        codes: Tensor,
        anchors: Tensor,
        labels: list[Tensor],
        instances: list[Tensor],
        targets: Sequence[Target],
    ) -> dict[str, Tensor]:
        """Objectness and box loss; see torchvision."""
        object_losses, box_losses = [], []
        for i, (positive, negative) in enumerate(self.fg_bg_sampler(labels)):
            chosen = torch.cat([positive, negative])
            count = max(1, len(chosen))
            scores, truth = objectness[i][chosen], labels[i][chosen]
            object_losses.append(F.binary_cross_entropy_with_logits(scores, truth, reduction="sum") / count)
            true = encode_boxes(targets[i]["boxes"][instances[i][positive]], anchors[positive], OF_ANCHORS)
            box_losses.append(F.smooth_l1_loss(codes[i][positive], true, beta=1 / 9, reduction="sum") / count)
        return {
            "loss_objectness": torch.stack(object_losses).mean(),
            "loss_rpn_box_reg": torch.stack(box_losses).mean(),
        }


def usable(boxes: Any) -> Tensor:
    """Which proposals [R, 4] have an area, as torchvision's ``remove_small_boxes`` sees it; those of NaN have none."""
    area: Tensor = (boxes[:, 2:] - boxes[:, :2] >= _LEAST).all(dim=1)
    return area


_LEAST = 1e-3  # pixels
