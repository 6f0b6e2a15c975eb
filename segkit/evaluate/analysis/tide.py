"""Why AP is not 1: the type of every error, and the AP50 that each type costs.

Source of the types and of their order of precedence: Bolya et al., TIDE: A General Toolbox for Identifying Object
Detection Errors (ECCV 2020). The cost of a type is the AP50 with all its errors corrected, less the AP50 as it is.
Costs do not add up, because one error can hide another.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from segkit.evaluate.analysis.counts import HALF, Detections, ImageMatches
from segkit.evaluate.coco.overlap import Bools, Floats

ErrorType = Literal["class", "localisation", "both", "duplicate", "background", "missed"]
ERROR_TYPES: tuple[ErrorType, ...] = get_args(ErrorType)
MEANINGS: dict[str, str] = {
    "class": "correct location, wrong category",
    "localisation": "correct category, IoU from 0.1 to 0.5",
    "both": "wrong category and IoU below 0.5",
    "duplicate": "second detection of one instance",
    "background": "IoU below 0.1 with every instance",
    "missed": "instance without a detection",
}
_BACKGROUND = 0.1  # a detection with a lower IoU is of the background


@dataclass(frozen=True, slots=True)
class TideError:
    """One error: its type, the detection (-1: none, it is missed) and the annotation (-1: none) of an image."""

    type: ErrorType
    detection: int
    annotation: int


def classify_errors(matches: ImageMatches) -> list[TideError]:
    """The errors of an image; false positives by falling score, then missed annotations."""
    overlaps, real = matches.overlaps, ~matches.overlaps.crowd
    used = matches.matched()
    errors: list[TideError] = []
    for d in np.flatnonzero(matches.fp):
        own = overlaps.true_category == overlaps.category[d]
        near, near_at = _best(overlaps.iou[d], real & own)
        other, other_at = _best(overlaps.iou[d], real & ~own)
        again, again_at = _best(overlaps.iou[d], real & own & used)
        if _BACKGROUND <= near < HALF:
            errors.append(TideError("localisation", int(d), near_at))
        elif other >= HALF:
            errors.append(TideError("class", int(d), other_at))
        elif again >= HALF:
            errors.append(TideError("duplicate", int(d), again_at))
        elif max(near, other) < _BACKGROUND:
            errors.append(TideError("background", int(d), -1))
        else:
            errors.append(TideError("both", int(d), other_at))
    explained = {error.annotation for error in errors if error.type in ("localisation", "class")}
    errors += [TideError("missed", -1, int(g)) for g in np.flatnonzero(real & ~used) if int(g) not in explained]
    return errors


def _best(row: Floats, among: Bools) -> tuple[float, int]:
    """The highest IoU among some annotations, and its place; -1 for none."""
    if not among.any():
        return -1.0, -1
    masked = np.where(among, row, -1.0)
    return float(masked.max()), int(masked.argmax())


def ap50_costs(images: Sequence[ImageMatches], errors: Sequence[Sequence[TideError]]) -> dict[str, float]:
    """The AP50 that each error type costs, and what all false positives and all false negatives cost.

    Args:
        images: The matches of each image.
        errors: The errors of each image.
    """
    found = Detections.of(images)
    now = _ap50(found)
    costs: dict[str, float] = {each: _ap50(_corrected(found, each, images, errors)) - now for each in ERROR_TYPES}
    costs["all false positives"] = _ap50(replace(found, fp=np.zeros_like(found.fp))) - now
    costs["all false negatives"] = _ap50(replace(found, true_category=found.category[found.tp])) - now
    return costs


def _ap50(detections: Detections) -> float:
    """The mean over categories of COCO's average precision at IoU 0.5; 0 without annotations."""
    annotated = np.unique(detections.true_category)
    each = [detections.of_category(category).average_precision() for category in annotated]
    return float(np.mean(each)) if each else 0.0


def _corrected(
    detections: Detections, error_type: ErrorType, images: Sequence[ImageMatches], errors: Sequence[Sequence[TideError]]
) -> Detections:
    """The detections of all images with the errors of one type corrected.

    A detection of the wrong category or place becomes a true positive if its annotation is still free (of several, the
    one with the highest score); all others are removed. A missed annotation no longer counts.
    """
    category, tp, fp = detections.category.copy(), detections.tp.copy(), detections.fp.copy()
    true_category, begin = [np.zeros(0, np.int64)], 0
    for matches, own in zip(images, errors, strict=True):
        used, counted = matches.matched(), ~matches.overlaps.crowd
        for error in own:  # by falling score
            if error.type != error_type:
                continue
            if error_type == "missed":
                counted[error.annotation] = False
                continue
            at = begin + error.detection
            fp[at] = False
            if error_type in ("class", "localisation") and not used[error.annotation]:
                used[error.annotation] = tp[at] = True
                category[at] = matches.overlaps.true_category[error.annotation]
        true_category.append(matches.overlaps.true_category[counted])
        begin += len(matches.tp)
    return replace(detections, category=category, tp=tp, fp=fp, true_category=np.concatenate(true_category))
