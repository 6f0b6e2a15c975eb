"""Two evaluations of the same images: differences of their scores, with confidence intervals and p-values."""

from dataclasses import asdict, replace
from typing import Any

from segkit.errors import InputError
from segkit.evaluate.analysis.bootstrap import compare_pools, confidence_interval
from segkit.evaluate.analysis.details import DetailOptions, Details, compute_details
from segkit.evaluate.coco.engine import COCO_IOU_TYPES, IouType
from segkit.evaluate.coco.inputs import prepare_inputs
from segkit.evaluate.evaluation import Evaluation
from segkit.evaluate.pixels.per_image import PixelScores
from segkit.progress import SILENT, Progress


def details_of(
    evaluated: Evaluation, options: DetailOptions, progress: Progress = SILENT, iou_type: IouType | None = None
) -> Details | None:
    """The details behind an instance score; None where only pixels were scored.

    Args:
        evaluated: What was evaluated.
        options: How details are computed.
        progress: Shows how many images are done.
        iou_type: Compare masks or boxes; None: masks if they were scored.
    """
    metrics = evaluated.metrics
    if iou_type is None:
        iou_type = next((each for each in COCO_IOU_TYPES if getattr(metrics, each) is not None), None)
    if iou_type is None or evaluated.dataset is None:
        return None
    inputs = prepare_inputs(evaluated.dataset, evaluated.results, (iou_type,))
    return compute_details(inputs, iou_type, options, progress)


def compare_evaluations(
    first: Evaluation, second: Evaluation, options: DetailOptions, details: Details | None
) -> dict[str, Any]:
    """Differences of the scores that both evaluations have.

    Args:
        first: An evaluation.
        second: Another one of the same images.
        options: How details are computed.
        details: Those of the first evaluation, as far as they are known.

    Raises:
        InputError: The images are not the same, or the evaluations have no score in common.
    """
    document: dict[str, Any] = {"with": second.subject}
    if _file_names(first) != _file_names(second):
        raise InputError(
            f"{second.subject}: was scored on other images than {first.subject}",
            "name the data that both are to be scored on: --data",
        )
    without_intervals = replace(options, bootstrap_samples=0)
    for iou_type in COCO_IOU_TYPES:
        own, other = (getattr(each.metrics, iou_type) for each in (first, second))
        if own is None or other is None or -1 in (own.AP, other.AP):
            continue
        if details is None or details.iou_type != iou_type:
            details = details_of(first, without_intervals, iou_type=iou_type)
        others = details_of(second, without_intervals, iou_type=iou_type)
        assert details is not None
        assert others is not None
        found = compare_pools(details.pools, others.pools, len(details.images), options.bootstrap_samples)
        document[iou_type] = {"AP": own.AP, "other_AP": other.AP, **asdict(found)}
    if first.pixels is not None and second.pixels is not None:
        document["semantic"] = _compare_pixels(first.pixels, second.pixels)
    if len(document) == 1:
        raise InputError(
            f"{second.subject}: has no score in common with {first.subject}",
            "compare masks with masks, boxes with boxes (--iou), pixels with pixels",
        )
    return document


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


def _file_names(evaluated: Evaluation) -> list[str]:
    return sorted(image.file_name for image in evaluated.dataset.images) if evaluated.dataset is not None else []
