"""A score threshold with a promise: conformal risk control on annotated images.

Source: Angelopoulos, Bates, Fisch, Lei and Schuster, Conformal Risk Control (ICLR 2024, arXiv:2208.02814), theorem 1.
The loss of an image is the share of its instances that are not found at IoU 0.5 with the threshold. It only falls as
the threshold falls, and is at most 1. With the highest threshold whose mean loss R over n images has

    (n R + 1) / (n + 1) <= 1 - recall,

the expected recall of the next image is at least what was promised, whatever the model and the images, if that image
is drawn like the n others. Images without instances have no recall, and take no part.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor

import numpy as np
import numpy.typing as npt

from segkit.errors import InputError
from segkit.evaluation.analysis.counts import HALF, ImageMatches, match_image, short_threshold
from segkit.evaluation.coco.engine import EvaluationInputs, IouType
from segkit.evaluation.coco.overlap import overlaps_by_image

Floats = npt.NDArray[np.float64]
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """A threshold, and what it was found on.

    Attributes:
        recall: The least recall that is promised, as the mean over images that have instances.
        score: The threshold.
        iou: The least IoU of an instance that is found.
        kind: Whether masks or boxes are compared: segm or bbox.
        images: How many images with instances it was found on.
        instances: How many instances these have.
        mean_recall: The mean recall of these images with the threshold; more than what is promised.
    """

    recall: float
    score: float
    iou: float
    kind: str
    images: int
    instances: int
    mean_recall: float


def promise_recall(inputs: EvaluationInputs, iou_type: IouType, least: float) -> Promise:
    """The highest threshold that keeps a promise of recall.

    Args:
        inputs: Annotations and results of images that the model was not trained on.
        iou_type: Compare masks or boxes.
        least: The recall to promise, between 0 and 1.

    Raises:
        InputError: There are too few images, or the model does not find enough.
    """
    images = [match_image(overlaps) for overlaps in overlaps_by_image(inputs.renumbered(), iou_type)]
    found, instances = recalls_of(images)
    scores = np.concatenate([np.zeros(0), *(image.overlaps.score for image in images)])
    threshold = promised_threshold(found, instances, scores, least)
    recall = [float((tp >= threshold).sum()) / number for tp, number in zip(found, instances, strict=True)]
    return Promise(
        recall=least,
        score=threshold,
        iou=HALF,
        kind=iou_type,
        images=len(found),
        instances=sum(instances),
        mean_recall=float(np.mean(recall)),
    )


def recalls_of(images: Sequence[ImageMatches]) -> tuple[list[Floats], list[int]]:
    """The scores of the true positives, and the number of instances, of each image that has instances."""
    annotated = [image for image in images if not image.overlaps.crowd.all()]
    found = [image.overlaps.score[image.tp] for image in annotated]
    return found, [int((~image.overlaps.crowd).sum()) for image in annotated]


def promised_threshold(found: Sequence[Floats], instances: Sequence[int], scores: Floats, least: float) -> float:
    """The highest threshold by which the mean recall of further images is at least ``least``.

    Args:
        found: The scores of the true positives of each image.
        instances: How many instances each image has, at least 1.
        scores: Of all detections, between which the threshold is rounded.
        least: The recall to promise, between 0 and 1.

    Raises:
        InputError: There are too few images, or too little was found.
    """
    asked, images = f"--promise recall >= {least:g}", len(instances)
    few = ceil(round(least / (1 - least), 9))  # without a loss at all, 1 / (n + 1) must be no more than 1 - least
    if images < few:
        raise InputError(
            f"{asked}: needs at least {few} images with instances, and there are {images}",
            f"annotate more, or promise less: {_most(0.0, images)}" if images else "annotate some",
        )
    share = np.concatenate([np.zeros(0), *(np.full(len(tp), 1 / n) for tp, n in zip(found, instances, strict=True))])
    at = np.concatenate([np.zeros(0), *found])
    order = np.argsort(-at, kind="stable")
    total = np.cumsum(share[order])  # n (1 - R), the sum of the recalls of all images
    needed = images - ((1 - least) * (images + 1) - 1)
    enough = np.flatnonzero(total >= needed - _ROUNDING)
    if not len(enough):
        loss = 1 - (float(total[-1]) / images if len(total) else 0.0)
        raise InputError(
            f"{asked}: with all that the model finds, the mean recall of {images} images is {1 - loss:.3f}, "
            "which is too low for it",
            f"train a better model, or promise less: {_most(loss, images)}",
        )
    threshold = float(at[order][enough[0]])
    below = scores[scores < threshold]
    return short_threshold(threshold, float(below.max()) if len(below) else -np.inf)


def _most(loss: float, images: int) -> str:
    """The most that can be promised, in words."""
    most = floor(1000 * (1 - (images * loss + 1) / (images + 1)) + _ROUNDING) / 1000
    return f"recall >= {most:g} at the most" if most > 0 else "nothing can be promised here"
