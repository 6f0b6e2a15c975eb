"""COCO's twelve numbers for instances, over all and by category, at COCO's caps and at a raised one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segkit.evaluate.coco.engine import EngineName, Evaluation, IouType, evaluate, evaluate_files
from segkit.evaluate.coco.inputs import Pair, renumbered, starts_at_zero
from segkit.evaluate.metrics import InstanceMetrics

COCO_CAPS = (1, 10, 100)
NUMBERS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


def evaluate_pair(pair: Pair, kind: IouType, max_dets: int = 100, engine: EngineName = "fast") -> InstanceMetrics:
    """Score results against annotations.

    Args:
        pair: Both, checked.
        kind: Compare masks or boxes.
        max_dets: Detections of a category counted in an image, besides COCO's own caps; where it is more than 100 the
            metrics at that cap stand beside COCO's.
        engine: Who computes.
    """
    caps = caps_of(max_dets)
    if not starts_at_zero(pair.truth):
        return metrics_of(evaluate(pair.truth, pair.results, kind, caps, engine), pair.names)
    own = evaluate(pair.truth, pair.results, kind, caps, "pycocotools")  # the fast engine has not its oddity
    return metrics_of(own, pair.names, evaluate(renumbered(pair.truth), pair.results, kind, caps, engine))


def evaluate_plain(truth: Path, results: Path, kind: IouType, names: dict[int, str], max_dets: int) -> InstanceMetrics:
    """The same for two files that ``segkit.evaluate.coco.fast_path`` has found in order."""
    return metrics_of(evaluate_files(str(truth), str(results), kind, caps_of(max_dets)), names)


def caps_of(max_dets: int) -> list[int]:
    """The caps that COCOeval is given."""
    return [*COCO_CAPS, max_dets] if max_dets > COCO_CAPS[-1] else list(COCO_CAPS)


def metrics_of(found: Evaluation, names: dict[int, str], right: Evaluation | None = None) -> InstanceMetrics:
    """Figures from COCOeval's arrays.

    Args:
        found: What COCOeval computed.
        names: Category names by id.
        right: The same with annotation ids from 1, where one of them was 0.
    """
    cap = len(COCO_CAPS) - 1
    raised = found.recall.shape[-1] > len(COCO_CAPS)
    columns = {
        "AP": _by_category(found.precision[..., 0, cap]),
        "AP50": _by_category(found.precision[[0], ..., 0, cap]),
        "AP75": _by_category(found.precision[[5], ..., 0, cap]),
        "APs": _by_category(found.precision[..., 1, cap]),
        "APm": _by_category(found.precision[..., 2, cap]),
        "APl": _by_category(found.precision[..., 3, cap]),
        "AR": _by_category(found.recall[..., 0, cap]),
    }
    return InstanceMetrics(
        **_twelve(found),
        per_category={
            names[category_id]: {name: values[k] for name, values in columns.items()}
            for k, category_id in enumerate(found.category_ids)
        },
        at_max_dets=_numbers(found.precision, found.recall, -1) if raised else None,
        renumbered=_twelve(right) if right is not None else None,
    )


def _by_category(values: npt.NDArray[np.float64]) -> list[float]:
    """The mean over all axes but the last, [..., K], which has the categories; -1 where there is nothing."""
    rows = np.ascontiguousarray(np.moveaxis(values, -1, 0)).reshape(values.shape[-1], -1)
    # Of a category all is known or nothing; a contiguous row adds up as the same numbers on their own do.
    return [float(mean) for mean in np.where(rows[:, 0] > -1, rows.mean(axis=1), -1.0)]


def _twelve(found: Evaluation) -> dict[str, Any]:
    return dict(zip(NUMBERS, found.stats, strict=True))


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


def zero_id_warning(found: Sequence[tuple[str, InstanceMetrics]]) -> list[str]:
    """What to say where an annotation has the id 0."""
    return [
        f"an annotation has the id 0, whose match pycocotools counts as a miss: {kind} AP {m.AP:.4f} is its number, "
        f"{m.renumbered['AP']:.4f} the one with ids from 1"
        for kind, m in found
        if m.renumbered is not None
    ]
