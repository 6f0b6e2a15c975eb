"""Annotations and results -> every score that was asked for."""

from collections.abc import Sequence
from pathlib import Path

from segkit.data.records import Dataset, Result
from segkit.evaluate.coco.boundary import evaluate_boundary
from segkit.evaluate.coco.engine import EngineName, engine_name, engine_warnings
from segkit.evaluate.coco.inputs import Numbers, check_comparable, max_dets_needed, pair_of, renumbered
from segkit.evaluate.coco.instance_metrics import caps_of, evaluate_pair, metrics_of, zero_id_warning
from segkit.evaluate.coco.lvis import lvis_scores
from segkit.evaluate.metrics import Metrics


def score_results(
    dataset: Dataset,
    results: Sequence[Result],
    kinds: Sequence[str],
    max_dets: str = "auto",
    engine: EngineName = "fast",
    *,
    lvis: Path | None = None,
) -> Metrics:
    """Score instances.

    Args:
        dataset: The ground truth.
        results: Predictions for its images, in any order.
        kinds: Any of segm, bbox, boundary.
        max_dets: ``auto`` or a number.
        engine: Who computes AP.
        lvis: The annotation file, where LVIS's federated AP is wanted too.

    Raises:
        InputError: A result is of an unknown image, or lacks what is compared.
    """
    check_comparable(dataset, kinds)
    cap = max_dets_needed(dataset, max_dets)
    pair = pair_of(dataset, results, ["segm" if kind == "boundary" else kind for kind in kinds])  # type: ignore[misc]
    numbers = {kind: evaluate_pair(pair, kind, cap, engine) for kind in ("segm", "bbox") if kind in kinds}
    warnings = [*pair.warnings, *zero_id_warning(list(numbers.items()))]
    if "boundary" in kinds:
        found = evaluate_boundary(pair.with_truth(renumbered(pair.truth)), caps_of(cap))
        numbers["boundary"] = metrics_of(found, pair.names)
    federated, said = lvis_scores(lvis, pair, Numbers.of(dataset), kinds) if lvis is not None else (None, [])
    if not dataset.annotations:
        warnings.append("the data has no annotations: there is nothing to score")
    return Metrics(
        images=len(dataset.images),
        max_dets=cap,
        engine=engine_name(engine),
        segm=numbers.get("segm"),
        bbox=numbers.get("bbox"),
        boundary=numbers.get("boundary"),
        lvis=federated,
        warnings=[*warnings, *said, *engine_warnings(engine)],
    )
