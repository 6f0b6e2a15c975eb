"""A loaded model with other limits than it was made with, and predictions that are the mean over changed images.

It is computed with PyTorch, also where the model is a file that needs none.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou

from segkit.errors import ConfigError
from segkit.inference.batches import Predict
from segkit.inference.model import LoadedModel
from segkit.models.build import InstanceModel
from segkit.models.detector import Detector
from segkit.models.tensors import ArrayPrediction, Prediction
from segkit.models.unet import split_instances

_SAME = 0.5  # IoU of boxes of one category from which on two views show one instance
_SCALES = (0.75, 1.25)


@dataclass(frozen=True, slots=True)
class View:
    """An image as a model gets it once more: mirrored, or of another size."""

    flip_x: bool = False
    flip_y: bool = False
    scale: float = 1.0

    def image(self, image: Tensor) -> Tensor:
        """The image, uint8 [3, H, W], changed."""
        if self.scale != 1.0:
            size = [max(1, round(side * self.scale)) for side in image.shape[-2:]]
            scaled = F.interpolate(image[None].float(), size=size, mode="bilinear", antialias=True)[0]
            image = scaled.round().clamp(0, 255).to(torch.uint8)
        return self.flipped(image)

    def flipped(self, values: Tensor) -> Tensor:
        """Mirror the last two dimensions, there or back."""
        sides = [side for side, flip in ((-1, self.flip_x), (-2, self.flip_y)) if flip]
        return values.flip(sides) if sides else values

    def undo(self, prediction: Prediction, image: Tensor, changed: Tensor) -> Prediction:
        """A prediction for the changed image as one for the image."""
        height, width = changed.shape[-2:]
        x1, y1, x2, y2 = prediction["boxes"].float().cpu().unbind(1)
        if self.flip_x:
            x1, x2 = width - x2, width - x1
        if self.flip_y:
            y1, y2 = height - y2, height - y1
        scale = torch.tensor([image.shape[-1] / width, image.shape[-2] / height] * 2)
        undone = {**prediction, "boxes": torch.stack([x1, y1, x2, y2], dim=1) * scale}
        undone |= {name: prediction[name].cpu() for name in ("labels", "scores")}
        if "masks" in prediction:
            undone["masks"] = self.flipped(prediction["masks"].cpu())
        return cast(Prediction, undone)


def views_of(kinds: Sequence[str]) -> list[View]:
    """The image itself, and what ``--tta`` names of it."""
    views = [View()]
    if "flips" in kinds:
        views += [View(flip_x=True), View(flip_y=True), View(flip_x=True, flip_y=True)]
    if "scales" in kinds:
        views += [View(scale=scale) for scale in _SCALES]
    return views


def in_tensors(model: LoadedModel) -> LoadedModel:
    """A model whose images and predictions are tensors, on the CPU where it is a file that takes arrays."""
    if model.device is not None:
        return model
    single, maps = model.predict, model.maps

    def predict(images: Sequence[Tensor]) -> list[Prediction]:
        return [as_tensors(each) for each in single(images)]

    def maps_of(images: Sequence[Tensor]) -> list[Tensor]:
        assert maps is not None
        return [torch.from_numpy(each) for each in maps(images)]

    return replace(model, predict=predict, maps=None if maps is None else maps_of, device=torch.device("cpu"))


def as_tensors(prediction: ArrayPrediction) -> Prediction:
    """A prediction of arrays as one of tensors."""
    names = ("boxes", "labels", "scores", "masks", "classes")
    plain: dict[str, Any] = dict(prediction)
    return cast(Prediction, plain | {name: torch.from_numpy(plain[name]) for name in names if name in plain})


def with_views(model: LoadedModel, kinds: Sequence[str]) -> LoadedModel:
    """A model whose predictions are the mean over several views of each image.

    Raises:
        ConfigError: It finds stuff.
    """
    if not kinds:
        return model
    if model.card.stuff:
        raise ConfigError(f"--tta: {model.path} finds stuff, whose maps are not averaged over views", "leave --tta out")
    model, views = in_tensors(model), views_of(kinds)
    if model.card.framing.kind == "semantic":
        assert model.maps is not None
        mean, instances = _mean_maps(model.maps, views), model.card.unet.instances
        return replace(
            model, predict=lambda images: [split_instances(each, instances) for each in mean(images)], maps=mean
        )
    return replace(model, predict=_mean_instances(model.predict, views))


Maps = Callable[[Sequence[Tensor]], list[Tensor]]


def _mean_maps(maps: Maps, views: Sequence[View]) -> Maps:
    def mean(images: Sequence[Tensor]) -> list[Tensor]:
        sums = [torch.zeros(()) for _ in images]
        for view in views:
            for number, found in enumerate(maps([view.image(image) for image in images])):
                size = images[number].shape[-2:]
                back = view.flipped(found.cpu())
                if back.shape[-2:] != size:
                    back = F.interpolate(back[None], size=size, mode="bilinear")[0]
                sums[number] = sums[number] + back
        return [each / len(views) for each in sums]

    return mean


def _mean_instances(single: Predict, views: Sequence[View]) -> Predict:
    def predict(images: Sequence[Tensor]) -> list[Prediction]:
        found: list[list[Prediction]] = [[] for _ in images]
        for view in views:
            changed = [view.image(image) for image in images]
            for number, prediction in enumerate(single(changed)):
                found[number].append(view.undo(prediction, images[number], changed[number]))
        return [merge_views(each) for each in found]

    return predict


def merge_views(predictions: Sequence[Prediction]) -> Prediction:
    """Predictions for views of one image -> one: an instance has the box and mask of the view that is most certain.

    Its score is the mean over all views; a view that does not find it counts as 0. Each view finds an instance once.
    """
    joined: dict[str, Tensor] = {
        name: torch.cat([prediction[name] for prediction in predictions])
        for name in ("boxes", "labels", "scores", "masks")
        if name in predictions[0]
    }
    view = torch.cat([torch.full((len(p["boxes"]),), n) for n, p in enumerate(predictions)])
    order = joined["scores"].argsort(descending=True, stable=True)
    same = (box_iou(joined["boxes"], joined["boxes"]) >= _SAME) & (joined["labels"][:, None] == joined["labels"])
    free = torch.ones(len(order), dtype=torch.bool)
    kept, scores = [], []
    for place in order.tolist():
        if not free[place]:
            continue
        total = 0.0
        for number in range(len(predictions)):
            others = torch.nonzero(same[place] & free & (view == number)).flatten()
            if number == int(view[place]):
                others = torch.tensor([place])
            if len(others):
                best = others[joined["scores"][others].argmax()]
                free[best] = False
                total += float(joined["scores"][best])
        kept.append(place)
        scores.append(total / len(predictions))
    joined["scores"] = torch.tensor(scores, dtype=torch.float32)
    again = joined["scores"].argsort(descending=True, stable=True)
    picked = torch.tensor(kept, dtype=torch.int64)[again]
    out = {name: value[picked] for name, value in joined.items() if name != "scores"}
    return cast(Prediction, out | {"scores": joined["scores"][again]})


def with_other_limits(model: LoadedModel, most: int, nms: float) -> LoadedModel:
    """A detector that finds up to so many instances, and lets boxes overlap up to an IoU before it drops one.

    Args:
        model: Its own limits stay where they are higher.
        most: Instances in an image.
        nms: Overlap from 0 to 1; less than torchvision's 0.5 is applied to masks afterwards.
    """
    card = model.card
    if not isinstance(model.predict, InstanceModel):
        return model
    own_nms, own_most = model.predict.limits()
    model.predict.set_limits(max(own_nms, nms), max(own_most, most))
    if most <= card.settings.detections:
        return model
    if isinstance(model.predict, Detector):
        rpn = model.predict.rpn
        for kept in (rpn._post_nms_top_n, rpn._pre_nms_top_n):  # torchvision has no other access
            kept["testing"] = max(kept["testing"], 2 * most)
    return replace(model, card=replace(card, settings=replace(card.settings, detections=most)))
