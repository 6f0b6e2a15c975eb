"""Why AP is not 1: the type of every error, and the AP50 that each type costs.

Source of the types and of their order of precedence: Bolya et al., TIDE: A General Toolbox for Identifying Object
Detection Errors (ECCV 2020). The cost of a type is the AP50 with all its errors corrected, less the AP50 as it is.
Costs do not add up, because one error can hide another.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from segkit.evaluate.analysis.counts import HALF, Detections, ImageMatches
from segkit.evaluate.coco.overlap import Bools, Floats, Ints

ErrorType = Literal["class", "localisation", "both", "duplicate", "background", "missed"]
ERROR_TYPES: tuple[ErrorType, ...] = ("class", "localisation", "both", "duplicate", "background", "missed")
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
    used = np.zeros(len(overlaps.true_category), bool)
    used[matches.annotation[matches.tp]] = True
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


def ap50_costs(
    images: Sequence[ImageMatches], errors: Sequence[Sequence[TideError]], categories: Sequence[int]
) -> dict[str, float]:
    """The AP50 that each error type costs, and what all false positives and all false negatives cost.

    Args:
        images: The matches of each image.
        errors: The errors of each image.
        categories: The category ids.
    """
    found = _AllDetections.of(images, categories)
    now = found.ap50()
    costs: dict[str, float] = {each: found.corrected(each, images, errors).ap50() - now for each in ERROR_TYPES}
    costs["all false positives"] = found.without_fp().ap50() - now
    costs["all false negatives"] = found.without_fn().ap50() - now
    return costs


@dataclass(frozen=True, slots=True)
class _AllDetections:
    """The detections of all images and categories, each [D]; ``positives`` counts annotations by category."""

    positives: dict[int, int]
    begins: list[int]  # where each image's detections begin
    category: Ints
    score: Floats
    tp: Bools
    fp: Bools

    @classmethod
    def of(cls, images: Sequence[ImageMatches], categories: Sequence[int]) -> "_AllDetections":
        true = [image.overlaps.true_category[~image.overlaps.crowd] for image in images]
        true_category = np.concatenate([np.zeros(0, np.int64), *true])
        return cls(
            {category: int((true_category == category).sum()) for category in categories},
            np.cumsum([0, *(len(image.tp) for image in images)]).tolist(),
            np.concatenate([np.zeros(0, np.int64), *(image.overlaps.category for image in images)]),
            np.concatenate([np.zeros(0), *(image.overlaps.score for image in images)]),
            np.concatenate([np.zeros(0, bool), *(image.tp for image in images)]),
            np.concatenate([np.zeros(0, bool), *(image.fp for image in images)]),
        )

    def ap50(self) -> float:
        """The mean over categories of COCO's average precision at IoU 0.5; 0 without annotations."""
        each = []
        for category, positives in self.positives.items():
            if positives > 0:
                own = self.category == category
                each.append(Detections(self.score[own], self.tp[own], self.fp[own], positives).average_precision())
        return float(np.mean(each)) if each else 0.0

    def without_fp(self) -> "_AllDetections":
        return replace(self, fp=np.zeros_like(self.fp))

    def without_fn(self) -> "_AllDetections":
        return replace(self, positives={c: int((self.tp & (self.category == c)).sum()) for c in self.positives})

    def corrected(
        self, error_type: ErrorType, images: Sequence[ImageMatches], errors: Sequence[Sequence[TideError]]
    ) -> "_AllDetections":
        """The detections with the errors of one type corrected.

        A detection of the wrong category or place becomes a true positive if its annotation is still free (of several,
        the one with the highest score); all others are removed. A missed annotation no longer counts.
        """
        category, tp, fp, positives = self.category.copy(), self.tp.copy(), self.fp.copy(), dict(self.positives)
        for matches, begin, own in zip(images, self.begins[:-1], errors, strict=True):
            used = set(matches.annotation[matches.tp].tolist())
            for error in own:  # by falling score
                if error.type != error_type:
                    continue
                if error_type == "missed":
                    positives[int(matches.overlaps.true_category[error.annotation])] -= 1
                    continue
                at = begin + error.detection
                fp[at] = False
                if error_type in ("class", "localisation") and error.annotation not in used:
                    used.add(error.annotation)
                    tp[at] = True
                    category[at] = matches.overlaps.true_category[error.annotation]
        return replace(self, positives=positives, category=category, tp=tp, fp=fp)
