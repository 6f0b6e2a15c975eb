"""COCO's twelve numbers for instances, over all and by category, at COCO's limits on detections and at a higher one."""

from typing import Any

import numpy as np
import numpy.typing as npt

from segkit.evaluate.coco.engine import EngineName, Evaluation, IouType, evaluate
from segkit.evaluate.coco.inputs import EvaluationInputs, has_zero_id, renumbered
from segkit.evaluate.metrics import InstanceMetrics

COCO_MAX_DETS = (1, 10, 100)
NUMBERS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


def evaluate_inputs(
    inputs: EvaluationInputs, iou_type: IouType, max_dets: int = 100, engine: EngineName = "fast"
) -> InstanceMetrics:
    """Score results against annotations.

    Args:
        inputs: Both, checked.
        iou_type: Compare masks or boxes.
        max_dets: Limit on the detections of a category in an image; if it is more than 100, metrics at this limit are
            added to COCO's.
        engine: What computes.
    """
    limits, truth = max_dets_list(max_dets), inputs.truth
    if not has_zero_id(truth):
        return metrics_of(evaluate(truth, inputs.results, iou_type, limits, engine), inputs.names)
    own = evaluate(truth, inputs.results, iou_type, limits, "pycocotools")  # only it miscounts the id 0
    return metrics_of(own, inputs.names, evaluate(renumbered(truth), inputs.results, iou_type, limits, engine))


def max_dets_list(max_dets: int) -> list[int]:
    """``maxDets`` for COCOeval: COCO's own, and a higher one."""
    return [*COCO_MAX_DETS, max_dets] if max_dets > COCO_MAX_DETS[-1] else list(COCO_MAX_DETS)


def metrics_of(found: Evaluation, names: dict[int, str], new_ids: Evaluation | None = None) -> InstanceMetrics:
    """Metrics from COCOeval's arrays.

    Args:
        found: What COCOeval computed.
        names: Category names by id.
        new_ids: The same with annotation ids from 1, where one of them was 0.
    """
    last = len(COCO_MAX_DETS) - 1
    raised = found.recall.shape[-1] > len(COCO_MAX_DETS)
    columns = {
        "AP": _by_category(found.precision[..., 0, last]),
        "AP50": _by_category(found.precision[[0], ..., 0, last]),
        "AP75": _by_category(found.precision[[5], ..., 0, last]),
        "APs": _by_category(found.precision[..., 1, last]),
        "APm": _by_category(found.precision[..., 2, last]),
        "APl": _by_category(found.precision[..., 3, last]),
        "AR": _by_category(found.recall[..., 0, last]),
    }
    return InstanceMetrics(
        **_twelve(found),
        per_category={
            names[category_id]: {name: values[k] for name, values in columns.items()}
            for k, category_id in enumerate(found.category_ids)
        },
        at_max_dets=_numbers(found.precision, found.recall, -1) if raised else None,
        renumbered=_twelve(new_ids) if new_ids is not None else None,
    )


def _by_category(values: npt.NDArray[np.float64]) -> list[float]:
    """The mean over all axes but the last, [..., K], which has the categories; -1 where there is nothing."""
    rows = np.ascontiguousarray(np.moveaxis(values, -1, 0)).reshape(values.shape[-1], -1)
    # A category has all its values or none; a contiguous row is summed in the same order as its numbers alone.
    return [float(mean) for mean in np.where(rows[:, 0] > -1, rows.mean(axis=1), -1.0)]


def _twelve(found: Evaluation) -> dict[str, Any]:
    return dict(zip(NUMBERS, found.stats, strict=True))


def _numbers(precision: npt.NDArray[np.float64], recall: npt.NDArray[np.float64], limit: int) -> dict[str, float]:
    """The main metrics at one limit from COCOeval's arrays: means over what is not -1; -1 where nothing is."""

    def mean(values: npt.NDArray[np.float64]) -> float:
        known = values[values > -1]
        return float(np.mean(known)) if known.size else -1.0

    return {
        "AP": mean(precision[:, :, :, 0, limit]),
        "AP50": mean(precision[0, :, :, 0, limit]),
        "AP75": mean(precision[5, :, :, 0, limit]),
        "APs": mean(precision[:, :, :, 1, limit]),
        "APm": mean(precision[:, :, :, 2, limit]),
        "APl": mean(precision[:, :, :, 3, limit]),
        "AR": mean(recall[:, :, 0, limit]),
    }


def zero_id_warning(found: dict[str, InstanceMetrics]) -> list[str]:
    """A warning for each IoU type where an annotation has the id 0."""
    return [
        f"an annotation has the id 0, and pycocotools counts its match as a false positive: {iou_type} AP is "
        f"{m.AP:.4f} as pycocotools computes it and {m.renumbered['AP']:.4f} with ids from 1"
        for iou_type, m in found.items()
        if m.renumbered is not None
    ]
