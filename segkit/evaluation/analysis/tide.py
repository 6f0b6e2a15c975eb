"""Why AP50 is not 1: the type of every error, and the AP50 that each type costs, as the package tidecv counts them.

Source: Bolya et al., TIDE: A General Toolbox for Identifying Object Detection Errors (ECCV 2020), and tidecv 1.0.1,
whose counts and costs these are. That package decides some cases in its own way, and they are kept: the 100 detections
of an image with the highest scores count, whatever their category; a detection in a crowd counts as an error, too; a
category that has detections and no annotation has the AP 0. The cost of a type is the AP50 with all errors of that type
corrected, less the AP50 as it is. Costs do not add up, because one error can hide another.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from segkit.evaluation.coco.accumulate import precision_envelope
from segkit.evaluation.coco.overlap import Bools, Floats, ImageOverlaps, Ints

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
MOST_DETECTIONS = 100  # of an image
_MATCH, _BACKGROUND = 0.5, 0.1  # IoU
_RECALLS = np.arange(101) / 100


@dataclass(frozen=True, slots=True)
class TideError:
    """One error: its type, the detection (-1: none, it is missed) and the annotation (-1: none) of an image.

    ``corrects``: whether the detection becomes a true positive of the annotation when the error is corrected; else it
    is removed. Of several detections that could, it is the one with the highest score.
    """

    type: ErrorType
    detection: int
    annotation: int
    corrects: bool = False


@dataclass(frozen=True, slots=True)
class TideImage:
    """One image: its first detections by score, [D], which of them are true positives or in crowds, and the errors."""

    overlaps: ImageOverlaps
    tp: Bools
    in_crowd: Bools
    errors: tuple[TideError, ...]


def classify_errors(overlaps: ImageOverlaps, most: int | None = None) -> TideImage:
    """The errors of an image: false positives by falling score, then missed annotations.

    Args:
        overlaps: The overlaps of an image.
        most: Detections that count; None: all.
    """
    category, iou = overlaps.category[:most], overlaps.iou[:most]
    real = np.flatnonzero(~overlaps.crowd)
    own = category[:, None] == overlaps.true_category[real]  # [D, G]
    iou_of_real = iou[:, real]
    matched = _match(np.where(own, iou_of_real, 0.0))
    tp = matched >= 0
    in_crowd = ~tp & _inside(iou, category, overlaps)
    used = np.zeros(len(real), bool)
    used[matched[tp]] = True
    errors: list[TideError] = []
    claimed: set[int] = set()
    for d in np.flatnonzero(~tp).tolist():
        kind, g = _type_of(iou_of_real[d], own[d], used)
        corrects = kind in ("class", "localisation") and not used[g] and g not in claimed
        if corrects:
            claimed.add(g)
        errors.append(TideError(kind, d, int(real[g]) if g >= 0 else -1, corrects))
    missed = [g for g in np.flatnonzero(~used).tolist() if g not in claimed]
    errors += [TideError("missed", -1, int(real[g])) for g in missed]
    return TideImage(overlaps, tp, in_crowd, tuple(errors))


def _match(own_iou: Floats) -> Ints:
    """The annotation of each detection, [D]; -1 for none: by falling score the free one that it overlaps most."""
    matched = np.full(len(own_iou), -1, np.int64)
    if not own_iou.shape[1]:
        return matched
    free = own_iou.copy()
    for d in range(len(free)):
        if free[d, best := int(free[d].argmax())] >= _MATCH:
            matched[d] = best
            free[:, best] = 0
    return matched


def _inside(iou: Floats, category: Ints, overlaps: ImageOverlaps) -> Bools:
    """Which detections lie in a crowd of their category, [D]."""
    crowds = np.flatnonzero(overlaps.crowd)
    own = category[:, None] == overlaps.true_category[crowds]
    return np.asarray(((iou[:, crowds] > _MATCH) & own).any(axis=1))


def _type_of(iou: Floats, own: Bools, used: Bools) -> tuple[ErrorType, int]:
    """The type of a false positive, and the annotation that it is about; -1 for none.

    Args:
        iou: With every annotation that is no crowd, [G].
        own: Which annotations are of its category, [G].
        used: Which are matched, [G].
    """
    if not len(iou):
        return "background", -1
    of_own, of_others, of_used = iou * own, iou * ~own, iou * (own & used)
    if _BACKGROUND <= of_own[near := int(of_own.argmax())] <= _MATCH:
        return "localisation", near
    if of_others[other := int(of_others.argmax())] >= _MATCH:
        return "class", other
    if of_used[again := int(of_used.argmax())] >= _MATCH:
        return "duplicate", again
    return ("background", -1) if iou.max() <= _BACKGROUND else ("both", other)


@dataclass(frozen=True, slots=True)
class _Pool:
    """Errors [E] and true positives [T] of all images, and the number of annotations by category."""

    type: Any  # [E]
    category: Ints  # of the detection, or of the annotation that was missed
    score: Floats
    counts: Bools  # whether it is a false positive of AP: no missed annotation, and not in a crowd
    corrected: Ints  # the category of the true positive that it becomes; -1: none
    tp_category: Ints
    tp_score: Floats
    positives: Counter[int]


def ap50_costs(images: Sequence[TideImage]) -> dict[str, float]:
    """The AP50 that each error type costs, and what all false positives and all false negatives cost.

    Args:
        images: All of them, with their first ``MOST_DETECTIONS`` detections.
    """
    pool, now = _pool(images), _ap_now(images)
    none = np.zeros(len(pool.category), bool)
    found = Counter(pool.tp_category.tolist())
    costs: dict[str, float] = {each: max(_ap_fixed(pool, pool.type == each) - now, 0.0) for each in ERROR_TYPES}
    costs["all false positives"] = _ap_fixed(pool, none, perfect=True) - now
    costs["all false negatives"] = _ap_fixed(pool, none, positives=found) - now
    return costs


def _pool(images: Sequence[TideImage]) -> _Pool:
    errors = [(image, error) for image in images for error in image.errors]
    none = np.zeros(0, np.int64)
    missed = np.array([error.detection < 0 for _, error in errors], bool)
    true_category = [i.overlaps.true_category[e.annotation] if e.annotation >= 0 else -1 for i, e in errors]
    category = [
        true if e.detection < 0 else i.overlaps.category[e.detection]
        for (i, e), true in zip(errors, true_category, strict=True)
    ]
    fixed = [true if e.corrects else -1 for (_, e), true in zip(errors, true_category, strict=True)]
    crowded = np.array([e.detection >= 0 and i.in_crowd[e.detection] for i, e in errors], bool)
    return _Pool(
        np.array([error.type for _, error in errors], dtype=object),
        np.array(category, np.int64),
        np.array([0.0 if e.detection < 0 else i.overlaps.score[e.detection] for i, e in errors], np.float64),
        ~missed & ~crowded,
        np.array(fixed, np.int64),
        np.concatenate([none, *(i.overlaps.category[: len(i.tp)][i.tp] for i in images)]),
        np.concatenate([np.zeros(0), *(i.overlaps.score[: len(i.tp)][i.tp] for i in images)]),
        _positives(images),
    )


def _positives(images: Sequence[TideImage]) -> Counter[int]:
    real = [image.overlaps.true_category[~image.overlaps.crowd] for image in images]
    return Counter(np.concatenate([np.zeros(0, np.int64), *real]).tolist())


def _ap_now(images: Sequence[TideImage]) -> float:
    kept = [~image.in_crowd for image in images]
    category = [i.overlaps.category[: len(k)][k] for i, k in zip(images, kept, strict=True)]
    score = [i.overlaps.score[: len(k)][k] for i, k in zip(images, kept, strict=True)]
    tp = [i.tp[k] for i, k in zip(images, kept, strict=True)]
    none = np.zeros(0, np.int64)
    return _mean_ap(
        np.concatenate([none, *category]),
        np.concatenate([np.zeros(0), *score]),
        np.concatenate([none > 0, *tp]),
        _positives(images),
    )


def _ap_fixed(pool: _Pool, fixed: Bools, *, perfect: bool = False, positives: Counter[int] | None = None) -> float:
    """AP50 with some errors corrected.

    Args:
        pool: All errors and true positives.
        fixed: Which errors are corrected, [E].
        perfect: Whether all true positives come before all false ones.
        positives: The number of annotations by category, where it is another.
    """
    becomes = fixed & (pool.corrected >= 0)
    kept = becomes | (pool.counts & ~fixed)
    category = np.where(becomes, pool.corrected, pool.category)[kept]
    annotations = Counter(pool.positives if positives is None else positives)
    annotations.subtract(Counter(pool.category[fixed & (pool.type == "missed")].tolist()))
    correct = np.concatenate([becomes[kept], np.ones(len(pool.tp_category), bool)])
    score = np.concatenate([pool.score[kept], pool.tp_score])
    return _mean_ap(
        np.concatenate([category, pool.tp_category]), correct.astype(float) if perfect else score, correct, annotations
    )


def _mean_ap(category: Ints, score: Floats, correct: Bools, positives: Counter[int]) -> float:
    """The mean over the categories that have annotations or detections; 0 where there are none.

    Args:
        category: Of each detection, [D].
        score: [D]; of equal scores the first comes first.
        correct: Which detections are true positives, [D].
        positives: The number of annotations by category.
    """
    scored = sorted({k for k, number in positives.items() if number} | set(category.tolist()))
    total = 0.0
    for k in scored:
        if not (number := positives[k]):
            continue  # 0
        own = np.flatnonzero(category == k)
        tp = np.cumsum(correct[own[np.argsort(-score[own], kind="stable")]])
        precision = np.append(precision_envelope(tp / np.arange(1, len(tp) + 1)), 0.0)
        total += float(precision[np.searchsorted(tp / number, _RECALLS, side="left")].mean())
    return total / len(scored) if scored else 0.0
