"""COCO's twelve numbers for instances, over all and by category, at COCO's limits on detections and at a higher one."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from segkit.choices import EngineName
from segkit.data.records import Annotation
from segkit.evaluation.coco.accumulate import mean_of_known
from segkit.evaluation.coco.areas import COCO_AREAS, LARGEST, instances_in, size_classes
from segkit.evaluation.coco.engine import EvaluationInputs, IouType, PrecisionRecall, evaluate
from segkit.evaluation.metrics import InstanceMetrics

COCO_MAX_DETS = (1, 10, 100)
# Of precision: the IoU thresholds (indices of 0.50 to 0.95) and the area (all, small, medium, large).
_AVERAGES: dict[str, tuple[slice | list[int], int]] = {
    "AP": (slice(None), 0), "AP50": ([0], 0), "AP75": ([5], 0), "APs": (slice(None), 1), "APm": (slice(None), 2),
    "APl": (slice(None), 3),
}  # fmt: skip
NUMBERS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


def evaluate_inputs(
    inputs: EvaluationInputs,
    iou_type: IouType,
    max_dets: int = 100,
    engine: EngineName = "fast",
    areas: Sequence[float] = (),
) -> InstanceMetrics:
    """Score results against annotations.

    Args:
        inputs: Both, checked.
        iou_type: Compare masks or boxes.
        max_dets: Limit on the detections of a category in an image; if it is more than 100, metrics at this limit are
            added to COCO's.
        engine: What computes.
        areas: Edges of size classes that are scored besides COCO's.
    """
    limits = max_dets_list(max_dets)
    if all(annotation["id"] != 0 for annotation in inputs.truth["annotations"]):
        return metrics_of(evaluate(inputs, iou_type, limits, engine, areas=areas), inputs.names)
    own = evaluate(inputs, iou_type, limits, "pycocotools", areas=areas)  # only it miscounts the id 0
    return metrics_of(own, inputs.names, evaluate(inputs.renumbered(), iou_type, limits, engine))


def max_dets_list(max_dets: int) -> list[int]:
    """``maxDets`` for COCOeval: COCO's own, and a higher one."""
    return [*COCO_MAX_DETS, max_dets] if max_dets > COCO_MAX_DETS[-1] else list(COCO_MAX_DETS)


def metrics_of(
    found: PrecisionRecall, names: dict[int, str], new_ids: PrecisionRecall | None = None
) -> InstanceMetrics:
    """Metrics from COCOeval's arrays.

    Args:
        found: What COCOeval computed.
        names: Category names by id.
        new_ids: The same with annotation ids from 1, where one of them was 0.
    """
    columns = {name: _by_category(values) for name, values in _averaged(found, len(COCO_MAX_DETS) - 1).items()}
    raised = found.recall.shape[-1] > len(COCO_MAX_DETS)
    return InstanceMetrics(
        **_twelve(found),
        per_category={
            names[category_id]: {name: values[k] for name, values in columns.items()}
            for k, category_id in enumerate(found.category_ids)
        },
        at_max_dets={n: mean_of_known(values) for n, values in _averaged(found, -1).items()} if raised else None,
        renumbered=_twelve(new_ids) if new_ids is not None else None,
        areas=_size_classes(found, names) or None,
    )


def _size_classes(found: PrecisionRecall, names: dict[int, str]) -> list[dict[str, Any]]:
    """The scores of each size class that follows COCO's four, at COCO's own limit on detections."""
    limit, rows = len(COCO_MAX_DETS) - 1, []
    for area in range(len(COCO_AREAS), found.recall.shape[2]):
        precision, recall = found.precision[..., area, limit], found.recall[..., area, limit]
        scores = {"AP": precision, "AP50": precision[[0]], "AP75": precision[[5]], "AR100": recall}
        by_category = zip(found.category_ids, _by_category(precision), strict=True)
        rows.append(
            {name: mean_of_known(values) for name, values in scores.items()}
            | {"per_category": {names[category]: ap for category, ap in by_category}}
        )
    return rows


def with_size_classes(
    metrics: dict[str, InstanceMetrics], edges: Sequence[float], annotations: Iterable[Annotation]
) -> dict[str, InstanceMetrics]:
    """The metrics, whose size classes say where they begin and end, and how many instances they have.

    Args:
        metrics: By IoU type.
        edges: Of the size classes.
        annotations: Of all images.
    """
    if not edges:
        return metrics
    counts = instances_in(edges, annotations)
    heads = [
        {"from": low, "to": None if high == LARGEST else high, "instances": count}
        for (low, high), count in zip(size_classes(edges), counts, strict=True)
    ]
    return {
        kind: replace(each, areas=[head | row for head, row in zip(heads, each.areas or [], strict=True)])
        for kind, each in metrics.items()
    }


def _averaged(found: PrecisionRecall, limit: int) -> dict[str, npt.NDArray[np.float64]]:
    """The values that each number is the mean of, [..., K], at one limit on detections (its index)."""
    values = {name: found.precision[thresholds, ..., area, limit] for name, (thresholds, area) in _AVERAGES.items()}
    return values | {"AR": found.recall[..., 0, limit]}


def _by_category(values: npt.NDArray[np.float64]) -> list[float]:
    """The mean over all axes but the last, [..., K], which has the categories; -1 where there is nothing."""
    rows = np.ascontiguousarray(np.moveaxis(values, -1, 0)).reshape(values.shape[-1], -1)
    # A category has all its values or none; a contiguous row is summed in the same order as its numbers alone.
    return [float(mean) for mean in np.where(rows[:, 0] > -1, rows.mean(axis=1), -1.0)]


def _twelve(found: PrecisionRecall) -> dict[str, Any]:
    return dict(zip(NUMBERS, found.stats, strict=True))


def zero_id_warning(found: dict[str, InstanceMetrics]) -> list[str]:
    """A warning for each IoU type where an annotation has the id 0."""
    return [
        f"an annotation has the id 0, and pycocotools counts its match as a false positive: {iou_type} AP is "
        f"{m.AP:.4f} as pycocotools computes it and {m.renumbered['AP']:.4f} with ids from 1"
        for iou_type, m in found.items()
        if m.renumbered is not None
    ]
