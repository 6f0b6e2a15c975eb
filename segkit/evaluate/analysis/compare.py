"""Two evaluations of the same images: differences of their scores, with confidence intervals and p-values."""

from dataclasses import asdict
from typing import Any

from segkit.choices import EngineName
from segkit.errors import InputError
from segkit.evaluate.analysis.bootstrap import Pool, compare_pools, confidence_interval, pools_of
from segkit.evaluate.coco.engine import COCO_IOU_TYPES, IouType
from segkit.evaluate.coco.inputs import prepare_inputs
from segkit.evaluate.evaluation import Evaluation
from segkit.evaluate.pixels.per_image import PixelScores


def compare_evaluations(first: Evaluation, second: Evaluation, num_samples: int, engine: EngineName) -> dict[str, Any]:
    """Differences of the scores that both evaluations have.

    Args:
        first: An evaluation.
        second: Another one of the same images.
        num_samples: How many bootstrap samples, and how many permutations.
        engine: What matches.

    Raises:
        InputError: The images are not the same, or the evaluations have no score in common.
    """
    document: dict[str, Any] = {"with": second.subject}
    if _file_names(first) != _file_names(second):
        raise InputError(
            f"{second.subject}: was scored on other images than {first.subject}",
            "name the data that both are to be scored on: --data",
        )
    for iou_type in COCO_IOU_TYPES:
        own, other = (getattr(each.metrics, iou_type) for each in (first, second))
        if own is None or other is None or -1 in (own.AP, other.AP):
            continue
        pools, other_pools = (_pools(each, iou_type, engine) for each in (first, second))
        found = compare_pools(pools, other_pools, len(_file_names(first)), num_samples)
        document[iou_type] = {"AP": own.AP, "other_AP": other.AP, **asdict(found)}
    if first.pixels is not None and second.pixels is not None:
        document["semantic"] = _compare_pixels(first.pixels, second.pixels)
    if len(document) == 1:
        raise InputError(
            f"{second.subject}: has no score in common with {first.subject}",
            "compare masks with masks, boxes with boxes (--iou), pixels with pixels",
        )
    return document


def _pools(evaluation: Evaluation, iou_type: IouType, engine: EngineName) -> list[Pool]:
    assert evaluation.dataset is not None
    inputs = prepare_inputs(evaluation.dataset, evaluation.results, (iou_type,))
    return pools_of(inputs, iou_type, engine)


def _compare_pixels(first: PixelScores, second: PixelScores) -> dict[str, Any]:
    own, other = (each.confusion.sampled_miou() for each in (first, second))
    difference = own - other
    # The share of bootstrap samples on the far side of no difference, two-sided.
    tail = min((difference[1:] <= 0).mean(), (difference[1:] >= 0).mean())
    return {
        "mIoU": float(own[0]),
        "other_mIoU": float(other[0]),
        "value": float(difference[0]),
        "interval": confidence_interval(difference),
        "p": float(min(1.0, 2 * (tail * (len(difference) - 1) + 1) / len(difference))),
    }


def _file_names(evaluation: Evaluation) -> list[str]:
    return sorted(image.file_name for image in evaluation.dataset.images) if evaluation.dataset is not None else []
