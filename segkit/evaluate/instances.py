"""COCO's twelve numbers for instances, by pycocotools itself.

The matching and the averages are ``pycocotools.cocoeval.COCOeval``, the reference implementation; this module
feeds it, keeps it quiet, checks what it would crash on, and reads per-category figures off its arrays.
"""

import contextlib
import io
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from segkit.dataset import Dataset, Result
from segkit.errors import InputError
from segkit.evaluate.metrics import InstanceMetrics
from segkit.masks import rle_area, rle_bbox, to_rle

IouType = Literal["segm", "bbox"]
_MAX_DETS = (1, 10, 100)  # COCO's own
_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


def max_dets_needed(dataset: Dataset, asked: str) -> int:
    """The cap on detections of a category in an image: what was asked for, or (auto) at least the most instances."""
    if asked != "auto":
        return int(asked)
    pairs = Counter((a.image_id, a.category_id) for a in dataset.annotations if not a.iscrowd)
    return max(_MAX_DETS[-1], max(pairs.values(), default=0))


def evaluate_instances(
    dataset: Dataset, results: Sequence[Result], iou_type: IouType, max_dets: int = _MAX_DETS[-1]
) -> InstanceMetrics:
    """Score results against the annotations of a dataset.

    Args:
        dataset: The ground truth.
        results: Predictions for its images, in any order.
        iou_type: Compare masks or boxes.
        max_dets: Detections of a category counted in an image, besides COCO's own caps; where it is more than 100 the
            metrics at that cap stand beside COCO's.

    Raises:
        InputError: A result is of an unknown image, or lacks what is compared.
    """
    truth = _truth(dataset, iou_type)
    found = _found(truth, dataset, results, iou_type)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth, found, iou_type)
        caps = [*_MAX_DETS, max_dets] if max_dets > _MAX_DETS[-1] else list(_MAX_DETS)
        evaluation.params.maxDets = caps
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision: npt.NDArray[np.float64] = evaluation.eval["precision"]  # [thresholds, recalls, K, areas, caps]
    recall: npt.NDArray[np.float64] = evaluation.eval["recall"]  # [thresholds, K, areas, caps]
    coco_cap = len(_MAX_DETS) - 1
    names = {category.id: category.name for category in dataset.categories}
    return InstanceMetrics(
        **{name: float(value) for name, value in zip(_NAMES, evaluation.stats[:12], strict=True)},
        per_category={
            names[category_id]: _numbers(precision[:, :, [k]], recall[:, [k]], coco_cap)
            for k, category_id in enumerate(evaluation.params.catIds)
        },
        at_max_dets=_numbers(precision, recall, -1) if len(caps) > len(_MAX_DETS) else None,
    )


def _truth(dataset: Dataset, iou_type: IouType) -> Any:
    """The dataset as pycocotools holds it."""
    sizes = {image.id: (image.height, image.width) for image in dataset.images}
    annotations = []
    for a in dataset.annotations:
        segmentation: Any = a.segmentation
        if iou_type == "segm" and segmentation is None:
            raise InputError(
                f"annotation {a.id} has no segmentation to compare masks with", "score its boxes: --iou bbox"
            )
        if isinstance(segmentation, list) and any(len(part) < 6 for part in segmentation):
            segmentation = to_rle(segmentation, *sizes[a.image_id])  # pycocotools takes short parts for boxes
        annotations.append(
            {
                "id": a.id,
                "image_id": a.image_id,
                "category_id": a.category_id,
                "segmentation": segmentation,
                "bbox": list(a.bbox),
                "area": a.area,
                "iscrowd": a.iscrowd,
            }
        )
    coco = COCO()
    coco.dataset = {
        "images": [{"id": i.id, "height": i.height, "width": i.width} for i in dataset.images],
        "annotations": annotations,
        "categories": [{"id": c.id, "name": c.name} for c in dataset.categories],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def _found(truth: Any, dataset: Dataset, results: Sequence[Result], iou_type: IouType) -> Any:
    """Results as ``COCO.loadRes`` makes them of a results file; that one fails on none at all."""
    sizes = {image.id: (image.height, image.width) for image in dataset.images}
    if unknown := {result.image_id for result in results} - sizes.keys():
        some = ", ".join(str(image_id) for image_id in sorted(unknown, key=str)[:3])
        raise InputError(
            f"{len(unknown)} images of the results are not in the annotations: {some}",
            "are these the annotations that the results were made for? name others with --data",
        )
    records: list[dict[str, Any]] = []
    for number, r in enumerate(results, 1):
        record: dict[str, Any] = {"id": number, "image_id": r.image_id, "category_id": r.category_id}
        record |= {"score": r.score, "iscrowd": 0}
        missing = "segmentation" if iou_type == "segm" else "bbox"
        if (r.segmentation if iou_type == "segm" else r.bbox) is None:
            other = "boxes: --iou bbox" if iou_type == "segm" else "masks: --iou segm"
            raise InputError(f"result {number - 1} has no {missing}", f"score its {other}")
        if iou_type == "segm" and r.segmentation is not None:
            rle = to_rle(r.segmentation, *sizes[r.image_id])
            record |= {"segmentation": rle, "area": rle_area(rle), "bbox": list(rle_bbox(rle))}
        if r.bbox is not None:  # loadRes takes the area from the box wherever there is one, for masks too
            record |= {"bbox": list(r.bbox), "area": r.bbox[2] * r.bbox[3]}
        records.append(record)
    coco = COCO()
    coco.dataset = {**truth.dataset, "annotations": records}
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def _numbers(precision: npt.NDArray[np.float64], recall: npt.NDArray[np.float64], cap: int) -> dict[str, float]:
    """The main figures from COCOeval's arrays, by its own rule: the mean over what is there, -1 for nothing."""

    def mean(values: npt.NDArray[np.float64]) -> float:
        known = values[values > -1]
        return float(np.mean(known)) if known.size else -1.0

    return {
        "AP": mean(precision[:, :, :, 0, cap]),
        "AP50": mean(precision[0, :, :, 0, cap]),
        "AP75": mean(precision[5, :, :, 0, cap]),
        "APs": mean(precision[:, :, :, 1, cap]),
        "APm": mean(precision[:, :, :, 2, cap]),
        "APl": mean(precision[:, :, :, 3, cap]),
        "AR": mean(recall[:, :, 0, cap]),
    }
