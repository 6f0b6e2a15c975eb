"""What is counted at a threshold: precision, recall and F1, panoptic quality, confusion, and each picture's share."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segkit.evaluate.coco.overlap import Floats, Ints, Overlaps, matched_in_category

HALF = 0.5  # overlap from which a detection has found an annotation
_MORE_THAN_HALF = float(np.nextafter(HALF, 1))
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Fates:
    """What became of each detection of a picture at IoU 0.5, [D]: the annotation it found, or whether it is a miss.

    Detections that found a crowd are neither.
    """

    picture: Overlaps
    annotation: Ints  # -1: none
    hit: Bools
    miss: Bools


@dataclass(frozen=True, slots=True)
class Cut:
    """Precision, recall and F1 of the detections from a score on."""

    score: float
    precision: float
    recall: float
    F1: float
    hits: int
    misses: int


def fates_of(picture: Overlaps) -> Fates:
    """Match a picture by COCO's rule at IoU 0.5."""
    annotation = matched_in_category(picture, HALF)
    crowd = np.zeros(len(annotation), bool)
    if len(picture.crowd):
        crowd = (annotation >= 0) & picture.crowd[annotation]
    return Fates(picture, annotation, (annotation >= 0) & ~crowd, annotation < 0)


def cut_at(score: Floats, hit: Bools, miss: Bools, positives: int, least: float) -> Cut:
    """Counts of the detections whose score is at least ``least``."""
    kept = score >= least
    hits, misses = int((hit & kept).sum()), int((miss & kept).sum())
    precision = hits / (hits + misses) if hits + misses else 0.0
    recall = hits / positives if positives else 0.0
    return Cut(least, precision, recall, _f1(hits, misses, positives), hits, misses)


def best_cut(score: Floats, hit: Bools, miss: Bools, positives: int) -> Cut | None:
    """The cut of the highest F1, at the score of a detection; None without a detection."""
    if not len(score):
        return None
    order = np.argsort(-score, kind="mergesort")
    hits, misses = np.cumsum(hit[order]), np.cumsum(miss[order])
    last = np.append(np.diff(score[order]) != 0, True)  # equal scores are cut together
    f1 = np.where(last, 2 * hits / np.maximum(hits + misses + positives, 1), -1.0)
    return cut_at(score, hit, miss, positives, float(score[order][int(np.argmax(f1))]))


def curve(score: Floats, hit: Bools, miss: Bools, positives: int) -> tuple[Floats, Floats, Floats]:
    """Recall, precision and score after each detection, by falling score."""
    order = np.argsort(-score, kind="mergesort")
    hits, misses = np.cumsum(hit[order]), np.cumsum(miss[order])
    return hits / max(positives, 1), hits / np.maximum(hits + misses, 1), score[order]


@dataclass(frozen=True, slots=True)
class Quality:
    """Sums behind panoptic quality for one category: overlap of what was found, hits, misses, missed annotations."""

    overlap: float = 0.0
    hits: int = 0
    misses: int = 0
    missed: int = 0

    def __add__(self, other: "Quality") -> "Quality":
        return Quality(
            self.overlap + other.overlap,
            self.hits + other.hits,
            self.misses + other.misses,
            self.missed + other.missed,
        )

    def figures(self) -> dict[str, float]:
        """PQ and its factors: SQ, the mean overlap of what was found, and RQ; -1 where there is nothing to score.

        Source: Kirillov et al., Panoptic Segmentation (CVPR 2019).
        """
        half_wrong = self.hits + self.misses / 2 + self.missed / 2
        if not half_wrong:
            return {"PQ": -1.0, "SQ": -1.0, "RQ": -1.0}
        segmentation = self.overlap / self.hits if self.hits else 0.0
        return {"PQ": self.overlap / half_wrong, "SQ": segmentation, "RQ": self.hits / half_wrong}


def quality_of(picture: Overlaps, least: float) -> dict[int, Quality]:
    """The sums of a picture by category, of detections from a score on.

    A detection is a hit where it overlaps an annotation by more than half, which for segments that do not overlap
    each other leaves no choice; where they do, the surest chooses first. Detections inside crowds do not count.
    """
    kept = picture.score >= least
    annotation = matched_in_category(picture, _MORE_THAN_HALF, kept)
    sums: dict[int, Quality] = {}
    for category in np.union1d(picture.found[kept], picture.truth):
        own = kept & (picture.found == category)
        real = ~picture.crowd & (picture.truth == category)
        rows = np.flatnonzero(own & (annotation >= 0))
        rows = rows[real[annotation[rows]]] if len(rows) else rows
        sums[int(category)] = Quality(
            float(picture.iou[rows, annotation[rows]].sum()),
            len(rows),
            int((own & (annotation < 0)).sum()),
            int(real.sum()) - len(rows),
        )
    return sums


def confusion_of(fates: Fates, categories: Sequence[int], least: float) -> Ints:
    """Annotations (rows) by what they were taken for (columns), [K + 1, K + 1]; the last is background.

    What found its own category stays with it. Of the rest, the surest first, each detection takes the annotation of
    another category that it overlaps most, by half at least; what remains was made up, or overlooked.
    """
    picture, slots = fates.picture, {category: slot for slot, category in enumerate(categories)}
    background = len(categories)
    counts = np.zeros((background + 1, background + 1), np.int64)
    kept = picture.score >= least
    free = ~picture.crowd
    for d in np.flatnonzero(fates.hit & kept):
        free[fates.annotation[d]] = False
        counts[slots[int(picture.found[d])], slots[int(picture.found[d])]] += 1
    for d in np.flatnonzero(fates.miss & kept):
        row = np.where(free, picture.iou[d], -1.0)
        truth = background
        if row.size and row.max() >= HALF:
            best = int(row.argmax())
            free[best] = False
            truth = slots[int(picture.truth[best])]
        counts[truth, slots[int(picture.found[d])]] += 1
    for g in np.flatnonzero(free):
        counts[slots[int(picture.truth[g])], background] += 1
    return counts


def _f1(hits: int, misses: int, positives: int) -> float:
    return 2 * hits / (hits + misses + positives) if hits + misses + positives else 0.0
