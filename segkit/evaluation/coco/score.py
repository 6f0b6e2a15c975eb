"""The metrics of results for a dataset: COCO's, boundary AP, LVIS's."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from segkit.choices import EngineName
from segkit.data.records import Dataset, Result
from segkit.evaluation.coco.boundary import evaluate_boundary
from segkit.evaluation.coco.engine import COCO_IOU_TYPES, IouType, engine_name, engine_warnings
from segkit.evaluation.coco.ids import IntegerIds
from segkit.evaluation.coco.inputs import check_comparable, prepare_inputs, resolve_max_dets
from segkit.evaluation.coco.instance_metrics import (
    evaluate_inputs,
    max_dets_list,
    metrics_of,
    with_size_classes,
    zero_id_warning,
)
from segkit.evaluation.coco.lvis import lvis_scores
from segkit.evaluation.coco.plausible import limit_warning, scale_warning
from segkit.evaluation.metrics import InstanceMetrics, Metrics


def score_results(
    dataset: Dataset,
    results: Sequence[Result],
    iou_types: Sequence[str],
    max_dets: str = "auto",
    engine: EngineName = "fast",
    *,
    lvis: Path | None = None,
    areas: Sequence[float] = (),
) -> Metrics:
    """Score instances.

    Args:
        dataset: The ground truth.
        results: Predictions for its images, in any order.
        iou_types: Any of segm, bbox, boundary.
        max_dets: ``auto`` or a number.
        engine: What computes AP.
        lvis: The annotation file, to compute LVIS's federated AP, too; None: do not.
        areas: Edges of size classes that are scored besides COCO's.

    Raises:
        InputError: A result is of an unknown image, or lacks what is compared.
    """
    check_comparable(dataset, iou_types)
    limit = resolve_max_dets(dataset, max_dets)
    needed: list[IouType] = ["bbox" if iou_type == "bbox" else "segm" for iou_type in iou_types]
    inputs = prepare_inputs(dataset, results, needed)
    metrics: dict[str, InstanceMetrics] = {
        each: evaluate_inputs(inputs, each, limit, engine, areas) for each in COCO_IOU_TYPES if each in iou_types
    }
    warnings = [*inputs.warnings, *zero_id_warning(metrics)]
    federated = None
    if "boundary" in iou_types:
        found = evaluate_boundary(inputs.renumbered(), max_dets_list(limit), areas)
        metrics["boundary"] = metrics_of(found, inputs.names)
    metrics = with_size_classes(metrics, areas, dataset.annotations)
    warnings += limit_warning(Counter((r["image_id"], r["category_id"]) for r in inputs.results), limit)
    if inputs.results:
        scores = [r["score"] for r in inputs.results]
        warnings += scale_warning(min(scores), max(scores))
    if all(annotation.iscrowd for annotation in dataset.annotations):
        what = "only crowds" if dataset.annotations else "no annotations"
        warnings.append(f"the data has {what}: there is nothing to score")
    if lvis is not None:
        federated, lvis_warnings = lvis_scores(lvis, inputs, IntegerIds.of(dataset), iou_types)
        warnings += lvis_warnings
    return Metrics(
        images=len(dataset.images),
        max_dets=limit,
        engine=engine_name(engine),
        segm=metrics.get("segm"),
        bbox=metrics.get("bbox"),
        boundary=metrics.get("boundary"),
        lvis=federated,
        warnings=[*warnings, *engine_warnings(engine)],
    )
