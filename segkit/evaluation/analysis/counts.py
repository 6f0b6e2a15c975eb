"""True and false positives at IoU 0.5: precision, recall, F1 and AP50 over score thresholds, and confusion."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Context, Decimal

import numpy as np

from segkit.evaluation.coco.overlap import Bools, Floats, ImageOverlaps, Ints, match_in_category

HALF = 0.5  # the IoU of a match


@dataclass(frozen=True, slots=True)
class ImageMatches:
    """The matches of an image's detections at IoU 0.5, each [D]; what matches a crowd is neither tp nor fp."""

    overlaps: ImageOverlaps
    annotation: Ints  # -1: none
    tp: Bools
    fp: Bools

    def matched(self, score: float = -np.inf) -> Bools:
        """Which annotations are matched by a detection with a score of at least ``score``, [G]."""
        matched = np.zeros(len(self.overlaps.true_category), bool)
        matched[self.annotation[self.tp & (self.overlaps.score >= score)]] = True
        return matched


def match_image(overlaps: ImageOverlaps) -> ImageMatches:
    """Match an image by COCO's rule at IoU 0.5."""
    annotation = match_in_category(overlaps, HALF)
    crowd = np.zeros(len(annotation), bool)
    if len(overlaps.crowd):
        crowd = (annotation >= 0) & overlaps.crowd[annotation]
    return ImageMatches(overlaps, annotation, (annotation >= 0) & ~crowd, annotation < 0)


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """The detections with a score of at least ``score``.

    ``precision`` is None without detections, ``recall`` without annotations, ``F1`` without either.
    """

    score: float
    precision: float | None
    recall: float | None
    F1: float | None
    tp: int
    fp: int


@dataclass(frozen=True, slots=True)
class Detections:
    """Detections of many images, each [D], and the categories of the annotations that are no crowds, [G]."""

    category: Ints
    score: Floats
    tp: Bools
    fp: Bools
    true_category: Ints

    @classmethod
    def of(cls, images: Sequence[ImageMatches]) -> "Detections":
        """All detections of some images, image after image."""
        true = [image.overlaps.true_category[~image.overlaps.crowd] for image in images]
        return cls(
            np.concatenate([np.zeros(0, np.int64), *(image.overlaps.category for image in images)]),
            np.concatenate([np.zeros(0), *(image.overlaps.score for image in images)]),
            np.concatenate([np.zeros(0, bool), *(image.tp for image in images)]),
            np.concatenate([np.zeros(0, bool), *(image.fp for image in images)]),
            np.concatenate([np.zeros(0, np.int64), *true]),
        )

    def of_category(self, category: int) -> "Detections":
        """Those of one category."""
        own = self.category == category
        true = self.true_category[self.true_category == category]
        return Detections(self.category[own], self.score[own], self.tp[own], self.fp[own], true)

    @property
    def positives(self) -> int:
        """The number of annotations that are no crowds."""
        return len(self.true_category)

    def at(self, score: float) -> OperatingPoint:
        """The counts at a score threshold."""
        kept = self.score >= score
        tp, fp = int((self.tp & kept).sum()), int((self.fp & kept).sum())
        total = tp + fp + self.positives
        return OperatingPoint(
            score,
            tp / (tp + fp) if tp + fp else None,
            tp / self.positives if self.positives else None,
            2 * tp / total if total else None,
            tp,
            fp,
        )

    def best(self) -> OperatingPoint | None:
        """The highest F1, and a score threshold that gives it; None without detections or without annotations."""
        if not len(self.score) or not self.positives:
            return None
        score, tp, fp = self._sums()
        last = np.append(score[1:] != score[:-1], True)  # a threshold keeps all equal scores, or none
        f1 = np.where(last, 2 * tp / np.maximum(tp + fp + self.positives, 1), -1.0)
        at = int(np.argmax(f1))
        return self.at(short_threshold(float(score[at]), float(score[at + 1]) if at + 1 < len(score) else -np.inf))

    def curve(self) -> tuple[Floats, Floats, Floats]:
        """Recall, precision and score after each detection, by falling score."""
        score, tp, fp = self._sums()
        return tp / max(self.positives, 1), tp / np.maximum(tp + fp, 1), score

    def _sums(self) -> tuple[Floats, Ints, Ints]:
        """Scores, and the true and false positives up to each, by falling score."""
        order = np.argsort(-self.score, kind="mergesort")
        return self.score[order], np.cumsum(self.tp[order]), np.cumsum(self.fp[order])


def short_threshold(score: float, below: float) -> float:
    """A threshold that keeps a score and not the next one below, with as few digits as that takes, at least three.

    It is rounded down: a threshold that is rounded up, as it is printed, would lose the score itself.
    """
    exact = Context(prec=400)  # the digits of the largest double, and twenty more
    for digits in range(3, 20):
        rounded = float(Decimal(score).quantize(Decimal(1).scaleb(-digits), ROUND_FLOOR, exact))
        if rounded > below:
            return rounded
    return score


def confusion_matrix(matches: ImageMatches, categories: Sequence[int], score: float) -> Ints:
    """True categories (rows) by predicted categories (columns), [K + 1, K + 1]; the last of both is background.

    Matches within a category come first. Then, by falling score, each false positive takes the free annotation of
    another category that it overlaps most, with an IoU of at least 0.5. The rest is confused with background.

    Args:
        matches: The matches of an image.
        categories: The sorted category ids.
        score: The score threshold.
    """
    overlaps, slots = matches.overlaps, {category: slot for slot, category in enumerate(categories)}
    background = len(categories)
    counts = np.zeros((background + 1, background + 1), np.int64)
    kept = overlaps.score >= score
    free = ~overlaps.crowd
    for d in np.flatnonzero(matches.tp & kept):
        free[matches.annotation[d]] = False
        counts[slots[int(overlaps.category[d])], slots[int(overlaps.category[d])]] += 1
    for d in np.flatnonzero(matches.fp & kept):
        row = np.where(free, overlaps.iou[d], -1.0)
        true = background
        if row.size and row.max() >= HALF:
            best = int(row.argmax())
            free[best] = False
            true = slots[int(overlaps.true_category[best])]
        counts[true, slots[int(overlaps.category[d])]] += 1
    for g in np.flatnonzero(free):
        counts[slots[int(overlaps.true_category[g])], background] += 1
    return counts
