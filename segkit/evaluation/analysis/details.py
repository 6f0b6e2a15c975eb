"""The details behind AP that ``--details`` and ``--report`` show, from one pass over the images."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from segkit.choices import EngineName
from segkit.evaluation.analysis.counts import Detections, ImageMatches, confusion_matrix, match_image
from segkit.evaluation.analysis.coverage import measured_coverage
from segkit.evaluation.analysis.intervals import CONFIDENCE_LEVEL, Parts, confidence_interval
from segkit.evaluation.analysis.panoptic import PanopticSums, panoptic_sums
from segkit.evaluation.analysis.pools import average_precisions, pools_of
from segkit.evaluation.analysis.tide import (
    ERROR_TYPES,
    MOST_DETECTIONS,
    TideError,
    TideImage,
    ap50_costs,
    classify_errors,
)
from segkit.evaluation.coco.engine import EvaluationInputs, IouType
from segkit.evaluation.coco.overlap import Floats, overlaps_by_image
from segkit.progress import SILENT, Progress


@dataclass(frozen=True, slots=True)
class DetailOptions:
    """How details are computed.

    Attributes:
        score: The score threshold of predictions.
        intervals: Whether to compute confidence intervals.
        engine: What matches for the intervals.
    """

    score: float
    intervals: bool = False
    engine: EngineName = "fast"


@dataclass(frozen=True, slots=True)
class ImageDetails:
    """One image: its matches and TIDE's errors at any score; its errors and panoptic sums at the score threshold."""

    image_id: int
    matches: ImageMatches
    tide: TideImage
    errors: list[TideError]  # without those of detections in crowds
    panoptic: dict[int, PanopticSums]  # by category

    def counts(self, score: float) -> PanopticSums:
        """True and false positives at IoU 0.5 and a score threshold, as the totals over all images count them."""
        matches = self.matches
        tp = np.flatnonzero(matches.tp & (matches.overlaps.score >= score))
        fp = int((matches.fp & (matches.overlaps.score >= score)).sum())
        iou = float(matches.overlaps.iou[tp, matches.annotation[tp]].sum())
        return PanopticSums(iou, len(tp), fp, int((~matches.overlaps.crowd).sum()) - len(tp))

    def panoptic_total(self) -> PanopticSums:
        """The panoptic sums over all categories."""
        return sum(self.panoptic.values(), PanopticSums())


@dataclass(frozen=True, slots=True)
class Details:
    """The details of an evaluation; ``document`` is what ``metrics.json`` has of them."""

    inputs: EvaluationInputs
    iou_type: IouType
    score: float
    images: list[ImageDetails]
    detections: Detections
    document: dict[str, Any]


def compute_details(
    inputs: EvaluationInputs, iou_type: IouType, options: DetailOptions, progress: Progress = SILENT
) -> Details:
    """The details behind a score.

    Args:
        inputs: Annotations and results.
        iou_type: Compare masks or boxes.
        options: How details are computed.
        progress: Shows how many images are done.
    """
    inputs = inputs.renumbered()
    names, score = dict(sorted(inputs.names.items())), options.score
    progress.start("matching detections", len(inputs.truth["images"]))
    images = []
    for overlaps in overlaps_by_image(inputs, iou_type):
        matches, tide = match_image(overlaps), classify_errors(overlaps, MOST_DETECTIONS)
        found = classify_errors(overlaps, int((overlaps.score >= score).sum())).errors
        errors = [each for each in found if each.detection < 0 or matches.fp[each.detection]]
        images.append(ImageDetails(overlaps.image_id, matches, tide, errors, panoptic_sums(overlaps, score)))
        progress.advance()
    detections = Detections.of([image.matches for image in images])
    progress.start("computing confidence intervals", None)
    document = {
        "kind": iou_type,
        "iou": 0.5,
        "score": score,
        **_counts(images, detections, names, score),
        "mistakes": _errors(images),
        "confusion": _confusion(images, names, score),
        "confidence": _confidence(inputs, iou_type, images, options),
    }
    progress.done()
    return Details(inputs, iou_type, score, images, detections, document)


def _counts(images: list[ImageDetails], detections: Detections, names: dict[int, str], score: float) -> dict[str, Any]:
    """Counts and metrics by category and overall; overall PQ is the mean over those that occur, as in panopticapi."""
    per_category = {}
    for category, name in names.items():
        panoptic = sum((i.panoptic[category] for i in images if category in i.panoptic), PanopticSums())
        figures = _figures(detections.of_category(category), score) | panoptic.quality()
        per_category[name] = figures | _count_errors(images, score, category)
    scored = [each for each in per_category.values() if each["PQ"] >= 0]
    overall = _figures(detections, score) | _count_errors(images, score)
    for name in ("PQ", "SQ", "RQ"):
        overall[name] = float(np.mean([each[name] for each in scored])) if scored else -1.0
    return {"overall": overall, "per_category": per_category}


def _figures(detections: Detections, score: float) -> dict[str, Any]:
    point, best = detections.at(score), detections.best()
    return {
        "instances": detections.positives,
        "predictions": point.tp + point.fp,
        "found": point.tp,
        "wrong": point.fp,
        **{name: getattr(point, name) for name in ("precision", "recall", "F1")},
        "best": best and {name: getattr(best, name) for name in ("score", "precision", "recall", "F1")},
    }


def _count_errors(images: list[ImageDetails], score: float, category: int | None = None) -> dict[str, float]:
    """The number of predictions less that of instances in an image: its mean, and the mean of its absolute value.

    Predictions in crowds are not counted, as the instances there are not.
    """
    differences = []
    for image in images:
        overlaps = image.matches.overlaps
        predicted, true = (overlaps.score >= score) & (image.matches.tp | image.matches.fp), ~overlaps.crowd
        if category is not None:
            predicted, true = predicted & (overlaps.category == category), true & (overlaps.true_category == category)
        differences.append(int(predicted.sum()) - int(true.sum()))
    if not differences:
        return {"count_bias": 0.0, "count_error": 0.0}
    return {"count_bias": float(np.mean(differences)), "count_error": float(np.mean(np.abs(differences)))}


def _errors(images: list[ImageDetails]) -> dict[str, Any]:
    counts = Counter(error.type for image in images for error in image.tide.errors)
    at_score = Counter(error.type for image in images for error in image.errors)
    return {
        "counts": {each: counts[each] for each in ERROR_TYPES},
        "counts_at_score": {each: at_score[each] for each in ERROR_TYPES},
        "AP50_cost": ap50_costs([image.tide for image in images]),
    }


def _confusion(images: list[ImageDetails], names: dict[int, str], score: float) -> dict[str, Any]:
    counts = np.zeros((len(names) + 1, len(names) + 1), np.int64)
    for image in images:
        counts += confusion_matrix(image.matches, list(names), score)
    return {"categories": [*names.values(), "background"], "counts": counts.tolist()}


def _confidence(
    inputs: EvaluationInputs, iou_type: IouType, images: list[ImageDetails], options: DetailOptions
) -> dict[str, Any] | None:
    """Confidence intervals of AP, AP50 and PQ."""
    if not options.intervals:
        return None
    parts = Parts.of(len(images))
    pools = pools_of(inputs, iou_type, options.engine)
    scores = average_precisions(pools, parts.weights)
    ap, ap50 = scores.mean(axis=2), scores[:, :, 0]
    instances = np.array([pool.positives.sum() for pool in pools], np.int64)
    names, annotated = [name for _, name in sorted(inputs.names.items())], int((instances > 0).sum())
    return {
        "level": CONFIDENCE_LEVEL,
        "method": "jackknife over images, less the bias of halves, Student's t on the logit scale",
        "images": len(images),
        "AP": confidence_interval(ap, parts.groups, instances),
        "AP50": confidence_interval(ap50, parts.groups, instances),
        "PQ": confidence_interval(_pq_of_parts(images, sorted(inputs.names), parts), parts.groups),
        "coverage": {name: measured_coverage(name, len(images), annotated) for name in ("AP", "AP50", "PQ")},
        "per_category": {
            name: confidence_interval(ap[:, [k]], parts.groups, instances[[k]]) for k, name in enumerate(names)
        },
    }


def _pq_of_parts(images: list[ImageDetails], categories: list[int], parts: Parts) -> Floats:
    """PQ of each category in each part of the images, [B, K]; NaN where there is nothing."""
    sums = np.zeros((len(images), len(categories), 2))
    for row, image in zip(sums, images, strict=True):
        for k, category in enumerate(categories):
            if (own := image.panoptic.get(category)) is not None:
                row[k] = own.iou, own.tp + own.fp / 2 + own.fn / 2
    iou, total = np.moveaxis(np.tensordot(parts.weights.astype(np.float64), sums, 1), -1, 0)
    return np.where(total > 0, iou / np.maximum(total, 0.5), np.nan)
