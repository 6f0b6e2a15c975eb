"""Panoptic FPN: Mask R-CNN with a semantic branch, so that things and stuff are found by one network.

Kirillov et al. 2019 (https://arxiv.org/abs/1901.02446). The branch knows the classes of stuff, one more for all things,
and, where pixels can be of no category, one for these. What both find becomes one map in
``segkit.data.panoptic_merge``.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.choices import BackboneName, NormName
from segkit.data.label_maps import IGNORED
from segkit.models.detector import Detector
from segkit.models.detector_settings import DetectorSettings
from segkit.models.losses import cross_entropy
from segkit.models.panoptic_settings import PanopticSettings
from segkit.models.semantic_branch import SemanticBranch
from segkit.models.tensors import Target

_NEVER = -1e4  # a logit whose probability is 0, in fp16, too
_FASTER = 10.0  # with the rate of the other layers, two numbers would hardly move in a run


class PanopticFPN(Detector):
    """Mask R-CNN with a semantic branch.

    Labels are those of all categories; the heads of instances have rows for stuff, too, which are switched off: so
    labels, weights by category and checkpoints are those of Mask R-CNN.

    Attributes:
        log_variances: Where weights of losses are learnt: the logarithms of the variances of both tasks [2].
    """

    def __init__(
        self,
        num_classes: int,
        backbone: BackboneName,
        norm: NormName,
        settings: DetectorSettings,
        panoptic: PanopticSettings,
        norm_eps: float = 1e-5,
    ) -> None:
        """Build with random weights; the arguments are those of ``Detector``, and which labels are stuff."""
        super().__init__(num_classes, backbone, norm, settings, masks=True, norm_eps=norm_eps)
        classes = panoptic.classes
        levels = settings.fpn_levels
        self.levels = [str(place) for place in range(len(levels))]
        self.semantic = SemanticBranch(self.backbone.out_channels, levels, 1 + len(classes))
        self.semantic_weight = panoptic.semantic_weight
        self.log_variances = nn.Parameter(torch.zeros(2)) if panoptic.semantic_weight is None else None
        class_of = torch.zeros(IGNORED + 1, dtype=torch.uint8)  # of a label: 0 for things
        class_of[0] = class_of[IGNORED] = IGNORED
        for place, label in enumerate(classes, 1):
            class_of[label] = place
        self.class_of = nn.Buffer(class_of, persistent=False)
        off = torch.zeros(num_classes)
        off[list(panoptic.stuff)] = _NEVER
        self.off = nn.Buffer(off, persistent=False)
        self.roi_heads.box_predictor.register_forward_hook(self._without_stuff)

    @property
    def lr_factors(self) -> dict[str, float]:
        """Multiples of the learning rate that layers have where the user names none."""
        return {} if self.log_variances is None else {"log_variances": _FASTER}

    def _without_stuff(self, module: nn.Module, inputs: Any, output: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Scores and boxes of regions, none of which is stuff."""
        scores, boxes = output
        return scores + self.off.to(scores), boxes

    def forward(self, images: Sequence[Tensor], targets: Sequence[Target] | None = None) -> Any:
        """Losses of images and targets in training; a list of ``Prediction`` of images in evaluation."""
        self.begin(targets or ())
        if self.training:
            return super().forward(images, targets)
        batch, _ = self.transform(list(images), None)
        features = self.backbone(batch.tensors)
        proposals, _ = self.rpn(batch, features, None)
        found, _ = self.roi_heads(features, proposals, batch.image_sizes, None)
        predictions = self.transform.postprocess(found, batch.image_sizes, batch.image_sizes)
        classes, stride = self.class_probabilities(features), self.semantic.stride
        for prediction, own, image in zip(predictions, classes, images, strict=True):
            cells = image[:1, ::stride, ::stride]  # as many as there are without the padding, in a traced graph, too
            prediction["classes"] = own[:, : cells.shape[-2], : cells.shape[-1]]
        return predictions

    def class_probabilities(self, features: dict[str, Tensor]) -> Tensor:
        """Probabilities of the classes of the branch [B, C, h, w] at its stride."""
        logits: Tensor = self.semantic([features[name] for name in self.levels])
        return logits.softmax(1)

    def learn(self, batch: Any, features: dict[str, Tensor], targets: Sequence[Target]) -> dict[str, Tensor]:
        """The losses of a batch by name: those of instances, and that of the classes of pixels."""
        losses = super().learn(batch, features, targets)
        logits = self.semantic.in_pixels(self.semantic([features[name] for name in self.levels]))
        semantic = cross_entropy(logits, self._classes(targets, logits.shape[-2:]))
        return weighed(losses, semantic, self.semantic_weight, self.log_variances)

    def _classes(self, targets: Sequence[Target], frame: Sequence[int]) -> Tensor:
        """The class of every pixel of a frame, int64 [B, H, W]."""
        padded = [
            F.pad(labels, (0, frame[1] - labels.shape[1], 0, frame[0] - labels.shape[0]), value=IGNORED)
            for labels in (target["semantic"] for target in targets)
        ]
        return self.class_of[torch.stack(padded).long()].long()


def weighed(
    instances: dict[str, Tensor], semantic: Tensor, weight: float | None, log_variances: Tensor | None
) -> dict[str, Tensor]:
    """The losses of both tasks, weighed.

    Learnt weights follow Kendall et al. 2018 (https://arxiv.org/abs/1705.07115): a task with the variance v has the
    weight 1 / v, and log(v) / 2 is added, so that v does not grow without end.

    Args:
        instances: The losses of instances by name.
        semantic: That of the classes of pixels.
        weight: Of ``semantic``, where it is fixed.
        log_variances: Of both tasks [2], where weights are learnt.
    """
    if log_variances is None:
        return instances | {"loss_semantic": semantic * (1.0 if weight is None else weight)}
    factors = (-log_variances.float()).exp()
    losses = {name: value * factors[0] for name, value in instances.items()}
    return losses | {"loss_semantic": semantic * factors[1], "uncertainty": log_variances.float().sum() / 2}
