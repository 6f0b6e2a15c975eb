"""The number that another tool would give, and what each of its rules adds to it: a row for each rule."""

from typing import Any

import numpy as np
import numpy.typing as npt

from segkit.choices import EngineName, ScoringTool
from segkit.evaluation.coco.accumulate import THRESHOLDS, precision_envelope
from segkit.evaluation.coco.inputs import prepare_inputs
from segkit.evaluation.coco.instance_metrics import evaluate_inputs
from segkit.evaluation.coco.outcomes import FALSE_POSITIVE, IGNORED, TRUE_POSITIVE, match_detections
from segkit.evaluation.evaluation import Evaluation
from segkit.evaluation.other_tools.rules import TOOLS
from segkit.evaluation.other_tools.scene import Scene

_SHOWN, _BY_SIZE = ("AP", "AP50", "AP75"), ("APs", "APm", "APl")
_POINTS = np.linspace(0, 1, 101)
_LEAST = 1e-16  # what the tool adds to the number of annotations


def rows_as(tool: ScoringTool, evaluation: Evaluation, engine: EngineName = "fast") -> dict[str, Any]:
    """AP by COCO's rules, and after each rule of a tool, the rules before it among them.

    Args:
        tool: Whose rules.
        evaluation: With its dataset and results.
        engine: What computes COCO's numbers.

    Returns:
        ``tool``, ``version``, and a list of rows for each of segm and bbox that was scored: rule, source, scores.
    """
    assert evaluation.dataset is not None
    about, metrics = TOOLS[tool], evaluation.metrics
    document: dict[str, Any] = {"tool": tool, "version": about.version}
    kinds = [kind for kind in ("segm", "bbox") if getattr(metrics, kind) is not None]
    for kind in kinds:
        scene = Scene(evaluation.dataset, evaluation.results, "segm" if kind == "segm" else "bbox")
        first = {"rule": "COCO's own rules", "source": "pycocotools/cocoeval.py"}
        rows: list[dict[str, Any]] = [first | _scores(scene, engine, about.sizes)]
        for rule in about.rules:
            if rule.only in (None, kind):
                scene = rule.change(scene)
                rows.append({"rule": rule.text, "source": rule.source} | _scores(scene, engine, about.sizes))
        document[kind] = rows
    return document


def _scores(scene: Scene, engine: EngineName, sizes: bool) -> dict[str, float]:
    names = (*_SHOWN, *_BY_SIZE) if sizes else _SHOWN
    if scene.trapezoid:
        return _areas_under_curves(scene, engine)
    inputs = prepare_inputs(scene.dataset, scene.results, (scene.iou_type,)).renumbered()
    found = evaluate_inputs(inputs, scene.iou_type, scene.max_dets, engine)
    values = found.at_max_dets if found.at_max_dets is not None else {name: getattr(found, name) for name in names}
    return {name: values[name] for name in names}


def _areas_under_curves(scene: Scene, engine: EngineName) -> dict[str, float]:
    """The means over the categories that have annotations; -1 where none has."""
    inputs = prepare_inputs(scene.dataset, scene.results, (scene.iou_type,)).renumbered()
    found = match_detections(inputs, scene.iou_type, scene.max_dets, engine)
    by_category = []
    for k in np.flatnonzero(found.positives[0]):
        mine = np.flatnonzero(found.slot == k)
        mine = mine[np.argsort(-found.score[mine], kind="stable")]
        outcome, positives = found.outcome[0, mine], int(found.positives[0, k])
        by_category.append([area_under_curve(outcome[:, t], positives) for t in range(len(THRESHOLDS))])
    if not by_category:
        return dict.fromkeys(_SHOWN, -1.0)
    ap = np.array(by_category).mean(axis=0)
    return {"AP": float(ap.mean()), "AP50": float(ap[0]), "AP75": float(ap[5])}


def area_under_curve(outcome: npt.NDArray[np.uint8], positives: int) -> float:
    """The area under precision over recall, from precision 1 at recall 0, with 0 beyond the last recall.

    Args:
        outcome: Of the detections of a category at a threshold, by falling score.
        positives: The number of annotations.
    """
    outcome = outcome[outcome != IGNORED]
    if not len(outcome):
        return 0.0
    tp, fp = np.cumsum(outcome == TRUE_POSITIVE), np.cumsum(outcome == FALSE_POSITIVE)
    recall, precision = tp / (positives + _LEAST), tp / (tp + fp)
    at = np.concatenate([[0.0], recall, [recall[-1], 1.0]])
    height = precision_envelope(np.concatenate([[1.0], precision, [0.0, 0.0]]))
    return float(np.trapezoid(np.interp(_POINTS, at, height), _POINTS))
