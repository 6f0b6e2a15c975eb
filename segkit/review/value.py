"""How much a picture without annotations would teach a model, by what the model predicts in it.

Of each instance, u is the mean of its uncertainties:

- of the score: the binary entropy of it (Settles, Active Learning Literature Survey, 2009);
- of the mask, where the model gives probabilities: the mean of 4 p (1 - p) over the pixels of p > 0.1, as uncertain
  pixels lie along outlines that are not clear;
- under a flip: how much box and score of the mirrored image differ, times the score (Yu et al., Consistency-based
  Active Learning for Object Detection, CVPRW 2022).

Each counts times the repeat factor of its category, sqrt(t / f), at least 1, where f is the share of annotated pictures
that have it (Gupta et al., LVIS, CVPR 2019) and t is the median share. The value of a picture is the sum over its
instances (Brust, Kaeding & Denzler, Active Learning for Deep Object Detection, 2019), over the root of their number:
the sum alone prefers crowded pictures, which also take longest to annotate.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_iou

from segkit.config.predict import PredictConfig
from segkit.data.pixels import thumbnail
from segkit.data.records import Image, Result
from segkit.inference.adjust import View, in_tensors
from segkit.inference.choose import Choice
from segkit.inference.input_files import Picture
from segkit.inference.journal import Origin
from segkit.inference.load import Task, load_picture
from segkit.inference.model import LoadedModel
from segkit.models.tensors import Prediction, prediction_to_results
from segkit.progress import Progress

_LEAST = 0.1  # a lower score is of nothing
_SAME = 0.5  # IoU of boxes from which on two views show one instance
_ONLY_BACKGROUND = 0.05  # value of a picture in which nothing is predicted: something may be missed


@dataclass(frozen=True, slots=True)
class Valued:
    """A picture, its value, and what is predicted in it.

    Attributes:
        picture: The file.
        value: How much it would teach.
        parts: The means of the uncertainties and of the rarity over its instances.
        results: By falling score.
        height: Upright.
        width: Likewise.
        thumbnail: 16 x 16 grey values.
    """

    picture: Picture
    value: float
    parts: Mapping[str, float]
    results: tuple[Result, ...]
    height: int
    width: int
    thumbnail: bytes


@torch.inference_mode()
def value_pictures(
    model: LoadedModel, pictures: Sequence[Picture], shares: Mapping[str, float], batch: int, progress: Progress
) -> tuple[list[Valued], list[str]]:
    """The value of each picture that can be read, and messages on the others.

    Args:
        model: The model that would be taught.
        pictures: Candidates.
        shares: Of the annotated pictures that have each category, by name.
        batch: Images at once.
        progress: Shows how many are done.
    """
    model = in_tensors(model)
    names = {category.id: category.name for category in model.card.categories}
    weights, failed = _rarity(names, shares), list[str]()
    valued: list[Valued] = []
    progress.start("predicting", len(pictures))
    for start in range(0, len(pictures), batch):
        part = pictures[start : start + batch]
        for picture, results, uncertain in _predicted(model, part, failed, batch, progress):
            valued.append(_valued(picture, results, uncertain, weights))
        progress.advance(len(part))
    progress.done()
    return valued, failed


def _rarity(names: Mapping[int, str], shares: Mapping[str, float]) -> dict[int, float]:
    """The repeat factor of each category; one that nobody has annotated yet counts as the rarest, once more."""
    known = [share for share in shares.values() if share > 0]
    if not known:
        return dict.fromkeys(names, 1.0)
    middle, least = float(np.median(known)), min(known)
    return {n: max(1.0, math.sqrt(middle / (shares.get(name) or least / 2))) for n, name in names.items()}


@dataclass(frozen=True, slots=True)
class _Uncertain:
    """Three uncertainties of N instances, each [N], and the height and width of their picture."""

    score: Tensor
    mask: Tensor | None
    flip: Tensor
    size: tuple[int, int]


def _predicted(
    model: LoadedModel, pictures: Sequence[Picture], failed: list[str], batch: int, progress: Progress
) -> Iterator[tuple[Picture, list[Result], _Uncertain]]:
    """The results of pictures with the uncertainties of each result."""
    config = PredictConfig(source=["-"], tile="none")
    task = Task(model, config, Choice({}), Origin(model.path, None, None))
    tried = [load_picture(picture, task) for picture in pictures]
    failed += [message for each in tried for message in each.notes.failed]
    loaded = [(each.done, each.image) for each in tried if each.done is not None and isinstance(each.image, np.ndarray)]
    images = [torch.from_numpy(image) for _, image in loaded]
    predictor, view = model.in_batches(batch, progress, "predicting"), View(flip_x=True)
    found = predictor(images, [done.picture.name for done, _ in loaded])
    changed = [view.image(image) for image in images]
    mirrored = predictor(changed, [done.picture.name for done, _ in loaded])
    for (done, _), image, other, one, two in zip(loaded, images, changed, found, mirrored, strict=True):
        kept = _certain(one)
        record, (h, w) = Image(0, done.picture.name, done.height, done.width), image.shape[-2:]
        results = prediction_to_results(
            kept, record, h, w, model.card.categories, aligned_masks=model.card.settings.aligned_masks
        )
        flip = _disagreement(kept, _certain(view.undo(_boxes_of(two), image, other)))
        size = (done.height, done.width)
        yield done.picture, results, _Uncertain(_entropy(kept["scores"]), _mask_uncertainty(kept), flip, size)


def _certain(prediction: Prediction) -> Prediction:
    keep = prediction["scores"].float().cpu() >= _LEAST
    out: Prediction = {
        "boxes": prediction["boxes"].cpu()[keep],
        "labels": prediction["labels"].cpu()[keep],
        "scores": prediction["scores"].cpu()[keep],
    }
    if "masks" in prediction:
        out["masks"] = prediction["masks"].cpu()[keep]
    if "box_masks" in prediction:
        out["box_masks"] = [mask for mask, kept in zip(prediction["box_masks"], keep.tolist(), strict=True) if kept]
    return out


def _boxes_of(prediction: Prediction) -> Prediction:
    return {"boxes": prediction["boxes"], "labels": prediction["labels"], "scores": prediction["scores"]}


def _entropy(scores: Tensor) -> Tensor:
    """The binary entropy of scores, 0 to 1."""
    p = scores.float().clamp(1e-6, 1 - 1e-6)
    return -(p * p.log2() + (1 - p) * (1 - p).log2())


def _mask_uncertainty(prediction: Prediction) -> Tensor | None:
    if "masks" not in prediction:
        return None
    p = prediction["masks"].float().flatten(1)  # [N, M * M]
    inside = p > 0.1
    return (4 * p * (1 - p) * inside).sum(1) / inside.sum(1).clamp(min=1)


def _disagreement(one: Prediction, two: Prediction) -> Tensor:
    """How much the same instance differs in two views, times its score: 0 to 1 for each instance of the first."""
    scores, others = one["scores"].float(), two["scores"].float()
    if not len(scores) or not len(others):
        return scores
    same = one["labels"][:, None] == two["labels"][None]
    iou = box_iou(one["boxes"].float(), two["boxes"].float()) * same
    agree = torch.where(iou >= _SAME, iou * (1 - (scores[:, None] - others[None]).abs()), 0.0)
    return scores * (1 - agree.max(1).values)


def _valued(picture: Picture, results: Sequence[Result], uncertain: _Uncertain, weights: Mapping[int, float]) -> Valued:
    parts = [uncertain.score, uncertain.flip, *([] if uncertain.mask is None else [uncertain.mask])]
    each = torch.stack(parts).mean(0)  # [N]
    weight = torch.tensor([weights[result.category_id] for result in results])
    count = len(results)
    value = float((each * weight).sum()) / math.sqrt(count) if count else _ONLY_BACKGROUND
    means = {
        "score": float(uncertain.score.mean()) if count else 0.0,
        "flip": float(uncertain.flip.mean()) if count else 0.0,
        "mask": float(uncertain.mask.mean()) if count and uncertain.mask is not None else 0.0,
        "rarity": float(weight.mean()) if count else 1.0,
    }
    small = thumbnail(picture.path) or b""
    return Valued(picture, max(value, _ONLY_BACKGROUND), means, tuple(results), *uncertain.size, small)
