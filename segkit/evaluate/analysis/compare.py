"""Two evaluations of the same images: differences of their scores, with confidence intervals and p-values."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from segkit.choices import EngineName
from segkit.errors import InputError
from segkit.evaluate.analysis.intervals import ScoreDifference, mean_over_categories, paired_difference
from segkit.evaluate.analysis.pools import Pool, average_precisions, mean_ap, pools_of
from segkit.evaluate.coco.engine import COCO_IOU_TYPES, IouType
from segkit.evaluate.coco.inputs import prepare_inputs
from segkit.evaluate.evaluation import Evaluation
from segkit.evaluate.pixels.confusion import iou_of_parts
from segkit.evaluate.pixels.per_image import PixelScores


def compare_evaluations(first: Evaluation, second: Evaluation, num_samples: int, engine: EngineName) -> dict[str, Any]:
    """Differences of the scores that both evaluations have.

    Args:
        first: An evaluation.
        second: Another one of the same images.
        num_samples: How many random changes of sign.
        engine: What matches.

    Raises:
        InputError: The images are not the same, or the evaluations have no score in common.
    """
    document: dict[str, Any] = {"with": second.subject, "data": str(first.truth)}
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
        document["semantic"] = _compare_pixels(first.pixels, second.pixels, num_samples)
    if len(document) == 2:
        raise InputError(
            f"{second.subject}: has no score in common with {first.subject}",
            "compare masks with masks, boxes with boxes (--iou), pixels with pixels",
        )
    return document


def _pools(evaluation: Evaluation, iou_type: IouType, engine: EngineName) -> list[Pool]:
    assert evaluation.dataset is not None
    inputs = prepare_inputs(evaluation.dataset, evaluation.results, (iou_type,))
    return pools_of(inputs, iou_type, engine)


def compare_pools(first: Sequence[Pool], second: Sequence[Pool], num_images: int, num_samples: int) -> ScoreDifference:
    """The difference in AP of two results for the same images.

    Args:
        first: The pools of one result.
        second: Those of the other.
        num_images: How many images there are.
        num_samples: How many random changes of sign.
    """
    return paired_difference(
        lambda weights: np.stack([mean_ap(average_precisions(each, weights)) for each in (first, second)], axis=1),
        num_images,
        num_samples,
    )


def _compare_pixels(first: PixelScores, second: PixelScores, num_samples: int) -> dict[str, Any]:
    areas = [each.confusion.areas() for each in (first, second)]
    found = paired_difference(
        lambda weights: np.stack([mean_over_categories(iou_of_parts(each, weights)) for each in areas], axis=1),
        len(areas[0]),
        num_samples,
    )
    return {"mIoU": first.confusion.metrics().mIoU, "other_mIoU": second.confusion.metrics().mIoU, **asdict(found)}


def _file_names(evaluation: Evaluation) -> list[str]:
    return sorted(image.file_name for image in evaluation.dataset.images) if evaluation.dataset is not None else []
