"""Why AP is not 1: every mistake named, and the AP50 that each kind of mistake costs.

Source of the kinds and of the order in which they are asked for: Bolya et al., TIDE: A General Toolbox for Identifying
Object Detection Errors (ECCV 2020). A kind's cost is the AP50 with all its mistakes put right, less the AP50 as it is;
costs do not add up, because mistakes hide each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from segkit.evaluate.analysis.counts import HALF, Bools, Fates
from segkit.evaluate.coco.accumulate import RECALLS, falling
from segkit.evaluate.coco.overlap import Floats, Ints

Kind = Literal["class", "localisation", "both", "duplicate", "background", "missed"]
KINDS: tuple[Kind, ...] = ("class", "localisation", "both", "duplicate", "background", "missed")
MEANINGS: dict[str, str] = {
    "class": "correct location, wrong category",
    "localisation": "correct category, IoU from 0.1 to 0.5",
    "both": "wrong category and IoU below 0.5",
    "duplicate": "second detection of one instance",
    "background": "IoU below 0.1 with every instance",
    "missed": "instance without a detection",
}
_NEAR = 0.1  # overlap from which a detection is about an annotation at all


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake: its kind, the detection (-1: none, it is missed) and the annotation (-1: none) of a picture."""

    kind: Kind
    detection: int
    annotation: int


def mistakes_of(fates: Fates) -> list[Mistake]:
    """The mistakes of a picture."""
    picture, real = fates.picture, ~fates.picture.crowd
    used = np.zeros(len(picture.truth), bool)
    used[fates.annotation[fates.hit]] = True
    found: list[Mistake] = []
    for d in np.flatnonzero(fates.miss):
        own = picture.truth == picture.found[d]
        near, near_at = _best(picture.iou[d], real & own)
        other, other_at = _best(picture.iou[d], real & ~own)
        again, again_at = _best(picture.iou[d], real & own & used)
        if _NEAR <= near < HALF:
            found.append(Mistake("localisation", int(d), near_at))
        elif other >= HALF:
            found.append(Mistake("class", int(d), other_at))
        elif again >= HALF:
            found.append(Mistake("duplicate", int(d), again_at))
        elif max(near, other) < _NEAR:
            found.append(Mistake("background", int(d), -1))
        else:
            found.append(Mistake("both", int(d), other_at))
    nearly = {mistake.annotation for mistake in found if mistake.kind in ("localisation", "class")}
    found += [Mistake("missed", -1, int(g)) for g in np.flatnonzero(real & ~used) if int(g) not in nearly]
    return found


def _best(row: Floats, among: Bools) -> tuple[float, int]:
    if not among.any():
        return -1.0, -1
    masked = np.where(among, row, -1.0)
    return float(masked.max()), int(masked.argmax())


def costs(
    pictures: Sequence[Fates], mistakes: Sequence[Sequence[Mistake]], categories: Sequence[int]
) -> dict[str, float]:
    """The AP50 that each kind of mistake costs, with those of all that was made up and all that was overlooked."""
    whole = _Detections.of(pictures, categories)
    now = whole.ap50()
    gains: dict[str, float] = {kind: whole.corrected(kind, pictures, mistakes).ap50() - now for kind in KINDS}
    gains["all false positives"] = whole.without(whole.miss).ap50() - now
    gains["all false negatives"] = whole.all_found().ap50() - now
    return gains


@dataclass(frozen=True, slots=True)
class _Detections:
    """All detections, flat; ``positives`` counts annotations by category."""

    categories: Sequence[int]
    positives: dict[int, int]
    begins: list[int]  # where each picture's detections begin
    category: Ints
    score: Floats
    hit: Bools
    miss: Bools

    @classmethod
    def of(cls, pictures: Sequence[Fates], categories: Sequence[int]) -> "_Detections":
        truth = np.concatenate([np.zeros(0, np.int64), *(f.picture.truth[~f.picture.crowd] for f in pictures)])
        return cls(
            categories,
            {category: int((truth == category).sum()) for category in categories},
            np.cumsum([0, *(len(f.hit) for f in pictures)]).tolist(),
            np.concatenate([np.zeros(0, np.int64), *(f.picture.found for f in pictures)]),
            np.concatenate([np.zeros(0), *(f.picture.score for f in pictures)]),
            np.concatenate([np.zeros(0, bool), *(f.hit for f in pictures)]),
            np.concatenate([np.zeros(0, bool), *(f.miss for f in pictures)]),
        )

    def ap50(self) -> float:
        """The mean over categories of COCO's average precision at IoU 0.5; 0 without annotations."""
        each = []
        for category, positives in self.positives.items():
            if positives > 0:
                own = self.category == category
                each.append(average_precision(self.score[own], self.hit[own], self.miss[own], positives))
        return float(np.mean(each)) if each else 0.0

    def without(self, dropped: Bools) -> "_Detections":
        return _Detections(
            self.categories, self.positives, self.begins, self.category, self.score, self.hit & ~dropped,
            self.miss & ~dropped,
        )  # fmt: skip

    def all_found(self) -> "_Detections":
        hits = {c: int((self.hit & (self.category == c)).sum()) for c in self.categories}
        return _Detections(self.categories, hits, self.begins, self.category, self.score, self.hit, self.miss)

    def corrected(self, kind: str, pictures: Sequence[Fates], mistakes: Sequence[Sequence[Mistake]]) -> "_Detections":
        """As it would be without one kind of mistake.

        A detection of the wrong category or place becomes right where its annotation is still free (the surest of
        several); all others go. An annotation that was missed no longer counts.
        """
        category, hit, miss, positives = self.category.copy(), self.hit.copy(), self.miss.copy(), dict(self.positives)
        for fates, begin, own in zip(pictures, self.begins[:-1], mistakes, strict=True):
            used = set(fates.annotation[fates.hit].tolist())
            for mistake in own:  # detections come by falling score
                if mistake.kind != kind:
                    continue
                if kind == "missed":
                    positives[int(fates.picture.truth[mistake.annotation])] -= 1
                    continue
                at = begin + mistake.detection
                miss[at] = False
                if kind in ("class", "localisation") and mistake.annotation not in used:
                    used.add(mistake.annotation)
                    hit[at] = True
                    category[at] = fates.picture.truth[mistake.annotation]
        return _Detections(self.categories, positives, self.begins, category, self.score, hit, miss)


def average_precision(score: Floats, hit: Bools, miss: Bools, positives: int) -> float:
    """COCO's average precision of one category at one threshold: the envelope at 101 recalls."""
    order = np.argsort(-score, kind="mergesort")
    hits, misses = np.cumsum(hit[order]).astype(float), np.cumsum(miss[order]).astype(float)
    envelope = np.append(falling(hits / (hits + misses + np.spacing(1))), 0.0)
    return float(np.mean(envelope[np.searchsorted(hits / positives, RECALLS, side="left")]))
