"""What each kind of model learns from a teacher: where both are read, and how they are compared."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.data.label_maps import IGNORED
from segkit.errors import ConfigError
from segkit.models.card import ModelCard
from segkit.models.tensors import Target
from segkit.training.teachers.find import TeacherFile
from segkit.training.teachers.losses import attention_transfer, focal_features, focus, soft_labels, soft_masks
from segkit.training.teachers.recording import Call, recording

Calls = Mapping[str, Call]

_BOX_POOL, _BOXES = "roi_heads.box_roi_pool", "roi_heads.box_predictor"
_MASK_POOL, _MASKS = "roi_heads.mask_roi_pool", "roi_heads.mask_predictor"


class Lesson(Protocol):
    """How a student is compared with its teacher.

    Attributes:
        parts: Names of the student's submodules whose calls are compared.
    """

    parts: Sequence[str]

    def answers(self, teacher: nn.Module, calls: Calls) -> Any:
        """What the teacher makes of what the student saw; without gradients."""

    def losses(self, calls: Calls, answers: Any, targets: Sequence[Target]) -> dict[str, Tensor]:
        """How far the student is from it, by name; means over images."""


class LabelMaps:
    """For a U-Net: the logits of every pixel, and where the features of its decoder are strong."""

    def __init__(self, student: nn.Module, labels: Sequence[int]) -> None:
        """Choose what is compared.

        Args:
            student: A U-Net.
            labels: The teacher's label for each of the student's.
        """
        self._blocks = tuple(f"decoder.{name}" for name, _ in student.get_submodule("decoder").named_children())
        self.parts: Sequence[str] = ("body", *self._blocks, "head")
        self._labels = list(labels)

    def answers(self, teacher: Any, calls: Calls) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits [B, K + 1, H, W] with the student's labels, and the features of each block."""
        blocks = [f"decoder.{name}" for name, _ in teacher.decoder.named_children()]  # some networks have fewer
        with recording(teacher, blocks) as seen:
            logits = teacher.logits(calls["body"].inputs[0])
        return logits[:, self._labels], {name: call.output for name, call in seen.items()}

    def losses(
        self, calls: Calls, answers: tuple[Tensor, dict[str, Tensor]], targets: Sequence[Target]
    ) -> dict[str, Tensor]:
        """See ``Lesson``; pixels that are ignored are not compared."""
        wanted, features = answers
        logits = calls["head"].output[:, : len(self._labels)]
        side = logits.shape[-2:]
        maps = [target["semantic"] for target in targets]
        padded = [F.pad(m, (0, side[1] - m.shape[1], 0, side[0] - m.shape[0]), value=IGNORED) for m in maps]
        counted = torch.stack(padded) != IGNORED  # [B, H, W]
        each = soft_labels(logits.movedim(1, -1), wanted.movedim(1, -1)) * counted
        own = {calls[name].output.shape[-2:]: calls[name].output for name in self._blocks}
        alike = [
            attention_transfer(own[each.shape[-2:]], each).mean()
            for each in features.values()
            if each.shape[-2:] in own
        ]
        return {
            "distil_logits": (each.sum((1, 2)) / counted.sum((1, 2)).clamp(min=1)).mean(),
            "distil_features": torch.stack(alike).mean(),
        }


class Regions:
    """For a detector: features, focused on instances; labels and masks of the regions that the student learns from."""

    def __init__(self, student: Any, teacher: Any, labels: Sequence[int], strides: Mapping[str, tuple[str, int]]):
        """Choose what is compared.

        Args:
            student: A detector.
            teacher: Another one.
            labels: The teacher's label for each of the student's.
            strides: Of each map of the student's pyramid that is compared: the teacher's map, and the stride.
        """
        self.has_masks = bool(student.roi_heads.has_mask() and teacher.roi_heads.has_mask())
        self.parts: Sequence[str] = ("backbone", _BOX_POOL, _BOXES, *((_MASK_POOL, _MASKS) if self.has_masks else ()))
        self._labels, self._strides = list(labels), strides

    def answers(self, teacher: Any, calls: Calls) -> tuple[dict[str, Tensor], Tensor, Tensor | None]:
        """Features by the student's names, logits of regions [R, K + 1], and mask logits [P, K + 1, M, M]."""
        heads = teacher.roi_heads
        features = teacher.backbone(calls["backbone"].inputs[0])
        regions = calls[_BOX_POOL].inputs[1:]
        scores = heads.box_predictor(heads.box_head(heads.box_roi_pool(features, *regions)))[0][:, self._labels]
        masks = None
        if self.has_masks:
            regions = calls[_MASK_POOL].inputs[1:]
            masks = heads.mask_predictor(heads.mask_head(heads.mask_roi_pool(features, *regions)))[:, self._labels]
        return {own: features[name] for own, (name, _) in self._strides.items()}, scores, masks

    def losses(
        self, calls: Calls, answers: tuple[dict[str, Tensor], Tensor, Tensor | None], targets: Sequence[Target]
    ) -> dict[str, Tensor]:
        """See ``Lesson``."""
        features, scores, masks = answers
        losses = {
            "distil_features": self._features(calls["backbone"].output, features, targets),
            "distil_labels": _by_image(
                soft_labels(calls[_BOXES].output[0], scores), [len(each) for each in calls[_BOX_POOL].inputs[1]]
            ),
        }
        if masks is not None:
            losses["distil_masks"] = _masks(calls, masks)
        return losses

    def _features(self, own: dict[str, Tensor], wanted: dict[str, Tensor], targets: Sequence[Target]) -> Tensor:
        rows = [target["boxes"].tolist() for target in targets]
        total = []
        for name, of_teacher in wanted.items():
            height, width = of_teacher.shape[-2:]
            weights = [focus(boxes, height, width, self._strides[name][1], of_teacher) for boxes in rows]
            total.append(focal_features(own[name], of_teacher, torch.stack(weights)).mean())
        return torch.stack(total).sum()


def _masks(calls: Calls, wanted: Tensor) -> Tensor:
    """The divergence of the masks of positive regions, each in the label of its instance."""
    (_, labels), own = calls[_MASKS].inputs, calls[_MASKS].output[:, None]  # the student computes no other label
    if wanted.shape[-1] != own.shape[-1]:  # the teacher's heads have another resolution
        wanted = F.interpolate(wanted, size=own.shape[-2:], mode="bilinear", align_corners=False)
    wanted = wanted.gather(1, labels[:, None, None, None].expand_as(own))
    return _by_image(soft_masks(own, wanted).mean((1, 2, 3)), [len(boxes) for boxes in calls[_MASK_POOL].inputs[1]])


def _by_image(values: Tensor, counts: Sequence[int]) -> Tensor:
    """The mean of the values [R] of each image, averaged over images; an image without a value counts as 0."""
    return torch.stack([part.sum() / max(1, len(part)) for part in torch.split(values, list(counts))]).mean()


def lesson_of(teacher: TeacherFile, card: ModelCard, student: nn.Module, module: nn.Module) -> Lesson:
    """How a model is compared with its teacher.

    Args:
        teacher: Where the teacher is from.
        card: The student's model card.
        student: The student.
        module: The teacher.

    Raises:
        ConfigError: There is nothing to compare.
    """
    if card.framing.kind == "semantic":
        return LabelMaps(student, teacher.labels)
    own, others = _strides(card), {stride: name for name, stride in _strides(teacher.card).items()}
    shared = {name: (others[stride], stride) for name, stride in own.items() if stride in others}
    if not shared:
        raise ConfigError(f"{teacher.path}: its pyramid has no level that --fpn-levels has", "leave --fpn-levels out")
    return Regions(student, module, teacher.labels, shared)


def _strides(card: ModelCard) -> dict[str, int]:
    """The stride of each map of a detector's pyramid."""
    levels = card.settings.fpn_levels
    return {str(place): 2**level for place, level in enumerate(levels)} | {"pool": 2 ** (levels[-1] + 1)}
