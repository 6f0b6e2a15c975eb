"""Targets from the answers of a teacher."""

from collections.abc import Collection, Sequence
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from segkit.data.label_maps import IGNORED
from segkit.data.masks import tight_crop
from segkit.data.records import Dataset
from segkit.data.touching import SCALE
from segkit.models.card import ModelCard
from segkit.models.tensors import BoxMask, Prediction, Target, box_masks_to_target, labels_of, mask_in_box
from segkit.training.teachers.thresholds import Thresholds

_LEAST_COUNTED = 0.1  # of the pixels of an image
_BACKGROUND = 0.1  # of the pixels of background: the share that is learnt from


class Labeller(Protocol):
    """Makes targets of images without annotations.

    Attributes:
        thresholds: How sure the teacher has to be.
        left_out: Names of losses that its targets are too inexact for.
    """

    thresholds: Thresholds
    left_out: Collection[str]

    def label(self, teacher: Any, targets: Sequence[Target]) -> list[Target | None]:
        """A target for each image, by what the teacher finds in its weak view; None where it is not sure enough."""


class Instances:
    """Of detectors: instances above the threshold of their category.

    An image in which more instances are uncertain than certain is left out: it would teach that there are none. Boxes
    are not learnt from, as scores do not say how exact they are (Liu et al. 2021).
    """

    left_out: Collection[str] = ("loss_box_reg", "loss_rpn_box_reg")

    def __init__(self, dataset: Dataset) -> None:
        """Expect what is annotated in a training split."""
        labels = labels_of(dataset.categories)
        counts = np.zeros(len(labels) + 1)
        for annotation in dataset.annotations:
            counts[labels[annotation.category_id]] += not annotation.iscrowd
        self.thresholds = Thresholds((counts / len(dataset.images)).tolist(), 0.4, 0.95)

    def label(self, teacher: Any, targets: Sequence[Target]) -> list[Target | None]:
        """See ``Labeller``."""
        least = self.thresholds.of_labels()
        predictions = teacher([target["weak"] for target in targets], [_empty(target) for target in targets])
        return [self._target(*pair, least) for pair in zip(predictions, targets, strict=True)]

    def _target(self, found: Prediction, asked: Target, least: npt.NDArray[np.float64]) -> Target | None:
        labels, scores = found["labels"].cpu().numpy(), found["scores"].float().cpu().numpy()
        self.thresholds.count(labels, scores, 1)
        sure, unsure = scores >= least[labels], (scores >= least[labels] / 2) & (scores < least[labels])
        if not sure.any() or unsure.sum() > sure.sum():
            return None
        device, chosen = found["boxes"].device, np.flatnonzero(sure).tolist()
        boxes = found["boxes"].float().cpu()
        target: Target = {"boxes": boxes[chosen], "labels": torch.from_numpy(labels[chosen])}
        if "masks" in found:
            masks = found["masks"].float().cpu()
            kept = [_box_mask(int(labels[i]), masks[i], boxes[i], asked["weak"].shape[-2:]) for i in chosen]
            target = box_masks_to_target([mask for mask in kept if mask is not None])
        if not len(target["labels"]):
            return None
        moved: Any = {name: value.to(device) for name, value in target.items()}  # type: ignore[attr-defined]  # a TypedDict's values are objects
        return cast(Target, _asked(asked) | moved)


class LabelMaps:
    """Of a U-Net: the labels of pixels above the threshold of their label; the others are ignored.

    A teacher of few labels is right in nearly all of what it finds, and misses a lot: what it takes for background is
    partly what it misses, and it is as sure of that as of the rest. So only some of the background is learnt from, by
    the image's own random numbers.

    Where the model predicts distances from the edges of instances, the teacher's are the target.
    """

    left_out: Collection[str] = ()

    def __init__(self, dataset: Dataset) -> None:
        """Expect what is annotated in a training split."""
        labels = labels_of(dataset.categories)
        shares = np.zeros(len(labels) + 1)
        for annotation in dataset.annotations:
            shares[labels[annotation.category_id]] += annotation.area * (not annotation.iscrowd)
        shares /= sum(image.height * image.width for image in dataset.images)
        shares[0] = max(0.0, 1 - shares.sum())
        self.thresholds = Thresholds(shares.tolist(), 0.6, 0.9999)  # most of the background is very sure

    def label(self, teacher: Any, targets: Sequence[Target]) -> list[Target | None]:
        """See ``Labeller``."""
        least = self.thresholds.of_labels()
        out: list[Target | None] = []
        for maps, target in zip(teacher.maps([t["weak"] for t in targets]), targets, strict=True):
            confidence, labels = maps[: len(least)].max(0)
            inside = target["semantic"] != IGNORED
            count = int(inside.sum())
            self.thresholds.count(labels[inside].cpu().numpy(), confidence[inside].cpu().numpy(), count)
            sure = inside & (confidence >= torch.from_numpy(least).to(confidence)[labels])
            enough = int(sure.sum()) >= max(1, _LEAST_COUNTED * count)
            random = torch.rand(labels.shape, generator=torch.Generator().manual_seed(target["seed"]))
            sure &= (labels > 0) | (random < _BACKGROUND).to(labels.device)
            label_map = torch.where(sure, labels, IGNORED).to(torch.uint8)
            found: Target = {"semantic": label_map}
            if len(maps) > len(least):
                found["distances"] = (maps[-1] * SCALE).round().to(torch.uint8)
            out.append(_asked(target) | found if enough else None)
        return out


class Rehearsed:
    """For rehearsals: the teacher runs, and the targets are those that came with the images."""

    def __init__(self, labeller: Labeller) -> None:
        self.thresholds, self.left_out = labeller.thresholds, labeller.left_out
        self._maps = isinstance(labeller, LabelMaps)

    def label(self, teacher: Any, targets: Sequence[Target]) -> list[Target | None]:
        """See ``Labeller``."""
        weak = [target["weak"] for target in targets]
        for maps in teacher.maps(weak) if self._maps else ():
            maps.max(0)
        if not self._maps:
            teacher(weak, [_empty(target) for target in targets])
        names = ("boxes", "labels", "box_masks", "semantic", "distances", "seed", "frame")
        return [cast(Target, {name: value for name, value in each.items() if name in names}) for each in targets]


def labeller_for(card: ModelCard, dataset: Dataset) -> Labeller:
    """What labels images for a model."""
    return LabelMaps(dataset) if card.framing.kind == "semantic" else Instances(dataset)


def _box_mask(label: int, mask: Tensor, box: Tensor, size: Sequence[int]) -> BoxMask | None:
    """An instance as a target has it; None where no pixel of it is in the image."""
    top, left, inside = mask_in_box(mask, box.tolist())
    above, beside = max(0, -top), max(0, -left)
    bitmap = inside[above : max(0, size[0] - top), beside : max(0, size[1] - left)].astype(np.uint8)
    tight = tight_crop(bitmap)
    return None if tight is None else BoxMask(label, top + above + tight[0], left + beside + tight[1], tight[2])


def _asked(target: Target) -> Target:
    """What an image's target says without any label."""
    return cast(Target, {name: value for name, value in target.items() if name in ("seed", "frame")})


def _empty(target: Target) -> Target:
    """No instance, and the frame to pad to."""
    device = target["weak"].device
    none: Target = {
        "boxes": torch.zeros(0, 4, device=device),
        "labels": torch.zeros(0, dtype=torch.int64, device=device),
    }
    return none | {"frame": target["frame"]} if "frame" in target else none
