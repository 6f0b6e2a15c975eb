"""Two evaluations of the same images: differences of their scores, with confidence intervals and p-values."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from segkit.choices import EngineName
from segkit.errors import InputError
from segkit.evaluation.analysis.intervals import ScoreDifference, mean_over_categories, paired_difference
from segkit.evaluation.analysis.pools import Pool, average_precisions, mean_ap, pools_of
from segkit.evaluation.coco.engine import COCO_IOU_TYPES, IouType
from segkit.evaluation.coco.inputs import prepare_inputs
from segkit.evaluation.coco.score import score_results
from segkit.evaluation.evaluation import Evaluation
from segkit.evaluation.pixels.confusion import iou_of_parts
from segkit.evaluation.pixels.per_image import PixelScores


def compare_evaluations(first: Evaluation, second: Evaluation, num_samples: int, engine: EngineName) -> dict[str, Any]:
    """Differences of the scores that both evaluations have, on the images that were predicted for both.

    Args:
        first: An evaluation.
        second: Another one of the same images.
        num_samples: How many random changes of sign.
        engine: What matches.

    Raises:
        InputError: The images are not the same, or the evaluations have no score or no predicted image in common.
    """
    if _file_names(first) != _file_names(second):
        raise InputError(
            f"{second.subject}: was scored on other images than {first.subject}",
            "name the data that both are to be scored on: --data",
        )
    all_images = len(_file_names(first))
    first, second = _on_common_images(first, second, engine)
    images = len(_file_names(first))
    document: dict[str, Any] = {"with": second.subject, "data": str(first.truth), "images": images}
    document["left_out"] = all_images - images  # they were not predicted for both
    about = len(document)
    for iou_type in COCO_IOU_TYPES:
        own, other = (getattr(each.metrics, iou_type) for each in (first, second))
        if own is None or other is None or -1 in (own.AP, other.AP):
            continue
        pools, other_pools = (_pools(each, iou_type, engine) for each in (first, second))
        found = compare_pools(pools, other_pools, images, num_samples)
        document[iou_type] = {"AP": own.AP, "other_AP": other.AP, **asdict(found)}
    if first.pixels is not None and second.pixels is not None:
        document["semantic"] = _compare_pixels(first.pixels, second.pixels, num_samples)
    if len(document) == about:
        if first.dataset is not None and all(annotation.iscrowd for annotation in first.dataset.annotations):
            raise InputError(f"{first.truth}: there is nothing to compare: it has no annotations, or only crowds")
        raise InputError(
            f"{second.subject}: has no score in common with {first.subject}",
            "compare masks with masks, boxes with boxes (--iou), pixels with pixels",
        )
    return document


def _on_common_images(first: Evaluation, second: Evaluation, engine: EngineName) -> tuple[Evaluation, Evaluation]:
    """Both evaluations, of the images that were predicted for both as far as that is known.

    Raises:
        InputError: There is none.
    """
    assert first.dataset is not None
    everything = frozenset(image.id for image in first.dataset.images)
    common = everything
    for each in (first, second):
        common = common if each.predicted is None else common & each.predicted
    if common == everything:
        return first, second
    if not common:
        raise InputError(
            f"{second.subject}: no image was predicted for it and for {first.subject}, too",
            "predict the same images twice",
        )
    return _of_images(first, common, engine), _of_images(second, common, engine)


def _of_images(evaluation: Evaluation, ids: frozenset[int], engine: EngineName) -> Evaluation:
    """An evaluation of instances on a part of its images."""
    dataset, metrics = evaluation.dataset, evaluation.metrics
    assert dataset is not None
    part = replace(
        dataset,
        images=tuple(image for image in dataset.images if image.id in ids),
        annotations=tuple(annotation for annotation in dataset.annotations if annotation.image_id in ids),
    )
    results = tuple(result for result in evaluation.results if result.image_id in ids)
    iou_types = [each for each in COCO_IOU_TYPES if getattr(metrics, each) is not None]
    scored = score_results(part, results, iou_types, str(metrics.max_dets), engine)
    return replace(evaluation, metrics=scored, dataset=part, results=results, pixels=None)


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
