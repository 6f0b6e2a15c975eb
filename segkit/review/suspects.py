"""Annotations that are likely wrong, by predictions that do not agree with them.

The kinds of errors, but for two objects in one and doubled ones, are those of ObjectLab (Tkachenko, Thyagarajan &
Mueller, ICML 2023 workshop DataPerf): overlooked, spurious, swapped and badly located. Its scores compare each
annotation with the most similar and the most certain prediction; here what is usual of the model comes in as well: how
often it finds instances of this size and in this picture, and how closely its outlines follow theirs. What happens to
more annotations than are likely wrong is a weakness of the model.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from segkit.data.records import Result
from segkit.review.findings import Suspicion
from segkit.review.judged import MATCH, Floats, Judged

_TOUCHES = 0.25  # IoU from which on a prediction may be of an annotation that it does not match
_PART, _COVERED = 0.75, 0.6  # of a prediction inside an annotation; of the annotation under such predictions
_LIKE = 50  # annotations of about this size, from which is read off what is usual
_LEAST_SPREAD = 0.02  # of IoU: outlines are not drawn more exactly
_USUAL = 3.0  # deviations that are usual
_TWICE = 0.7  # IoU of two annotations that are surely of one object
_WRONG = 0.05  # share of annotations that may well have an error of one kind
_OTHERS = 2.0  # annotations that what is usual counts for, beside the others of the picture


@dataclass(frozen=True, slots=True)
class Suspect:
    """A likely error in one picture: of an annotation, or of one that is missing (None)."""

    kind: Suspicion
    image_id: int
    annotation: int | None
    category: int
    confidence: float
    why: str
    predicted: tuple[Result, ...]


@dataclass(frozen=True, slots=True)
class _Usual:
    """What is usual of annotations like each one of a picture, each [G].

    Attributes:
        found: The share that is found.
        iou: The median IoU of those that are found.
        spread: Its deviation.
        worse: The share whose IoU is no better than that of this one, of those that a prediction touches.
    """

    found: Floats
    iou: Floats
    spread: Floats
    worse: Floats


def find_suspects(judged: Sequence[Judged], names: Callable[[int], str]) -> list[Suspect]:
    """Likely errors, the most certain first.

    Args:
        judged: Annotations and predictions by picture.
        names: The name of a category.
    """
    suspects: list[Suspect] = []
    for image, usual in zip(judged, _usual(judged), strict=True):
        best: dict[int, Suspect] = {}
        for suspect in _of_image(image, usual, names):
            if suspect.annotation is None:
                suspects.append(suspect)
            elif suspect.confidence > (best[suspect.annotation].confidence if suspect.annotation in best else 0.0):
                best[suspect.annotation] = suspect
        suspects += best.values()
    return sorted(suspects, key=lambda each: (-each.confidence, each.image_id, each.annotation or 0))


def _usual(judged: Sequence[Judged]) -> list[_Usual]:
    """What is usual, by category and size: the median over the annotations of about the same area."""
    category = np.concatenate([each.true_category for each in judged])
    area = np.log(np.maximum(np.concatenate([each.true_area for each in judged]), 1.0))
    iou = np.concatenate([each.iou.max(axis=0, initial=0.0) for each in judged])
    out = np.zeros((4, len(category)))
    for number in np.unique(category):
        own = np.flatnonzero(category == number)
        own = own if len(own) >= _LIKE // 2 else np.arange(len(category))  # too few: any category
        for g in np.flatnonzero(category == number):
            like = own[np.argsort(np.abs(area[own] - area[g]), kind="stable")[:_LIKE]]
            found = iou[like] >= MATCH
            middle = float(np.median(iou[like][found])) if found.any() else 0.0
            spread = 1.4826 * float(np.median(np.abs(iou[like][found] - middle))) if found.any() else 1.0
            touched = iou[like][iou[like] >= _TOUCHES]
            worse = float((touched <= iou[g]).mean()) if len(touched) else 1.0
            out[:, g] = found.mean(), middle, max(spread, _LEAST_SPREAD), worse
    cuts = np.cumsum([len(each.true_category) for each in judged])[:-1]
    return [_Usual(*part) for part in np.split(out, cuts, axis=1)]


def _of_image(image: Judged, usual: _Usual, names: Callable[[int], str]) -> Iterator[Suspect]:
    near = image.iou >= MATCH  # [D, G]
    own = image.category[:, None] == image.true_category[None, :]
    parts = {g: _parts_of(image, g) for g in range(len(image.annotations))}
    for g in range(len(image.annotations)):
        agrees = float(np.where(near[:, g] & own[:, g], image.worth, 0.0).max(initial=0.0))
        yield from _wrong_category(image, g, near[:, g] & ~own[:, g], agrees, names)
        yield from _two_in_one(image, g, parts[g], agrees)
        yield from _loose(image, g, usual)
        yield from _spurious(image, g, usual, parts[g])
        yield from _doubled(image, g)
    claimed = {d for some in parts.values() for d in some}
    for d in range(len(image.results)):
        if d not in claimed:
            yield from _missing(image, d, names)


def _suspect(image: Judged, kind: Suspicion, g: int, confidence: float, why: str, ds: Sequence[int]) -> Suspect:
    category, predicted = int(image.true_category[g]), tuple(image.results[d] for d in ds)
    return Suspect(kind, image.image_id, int(image.annotations[g]), category, confidence, why, predicted)


def _wrong_category(
    image: Judged, g: int, others: Floats, agrees: float, names: Callable[[int], str]
) -> Iterator[Suspect]:
    """A prediction of another category in its place, and none of its own."""
    if not others.any():
        return
    d = int(np.where(others, image.worth, -1.0).argmax())
    confidence = float(image.worth[d]) * (1 - agrees)
    if confidence > 0:
        why = f"predicted as {names(int(image.category[d]))!r} with score {image.score[d]:.2f}"
        yield _suspect(image, "wrong category", g, confidence, why, [d])


def _parts_of(image: Judged, g: int) -> list[int]:
    """Predictions that are parts of an annotation, apart from each other, and of no other annotation."""
    inside = (image.inside[:, g] >= _PART) & (image.area <= _PART * image.true_area[g]) & image.first
    elsewhere = np.delete(image.iou, g, axis=1).max(axis=1, initial=0.0) >= MATCH
    found = np.flatnonzero(inside & ~elsewhere & (image.worth > 0)).tolist()
    covered = float(sum(image.inside[d, g] * image.area[d] for d in found))
    return found if len(found) >= 2 and covered >= _COVERED * image.true_area[g] else []


def _two_in_one(image: Judged, g: int, parts: list[int], agrees: float) -> Iterator[Suspect]:
    if len(parts) < 2:
        return
    whole = float(np.where(image.iou[:, g] > 1 - _TOUCHES, image.worth, 0.0).max(initial=0.0))
    confidence = sorted(float(image.worth[d]) for d in parts)[-2] * (1 - whole)
    if confidence > 0:
        yield _suspect(image, "two objects in one", g, confidence, f"{len(parts)} objects are predicted in it", parts)


def _loose(image: Judged, g: int, usual: _Usual) -> Iterator[Suspect]:
    """An outline that its prediction follows less closely than is usual."""
    if not len(image.results):
        return
    d = int(np.where(image.first, image.iou[:, g], -1.0).argmax())
    iou = float(image.iou[d, g])
    if iou < _TOUCHES or int(image.iou[d].argmax()) != g:
        return
    deviations = (usual.iou[g] - iou) / usual.spread[g] - _USUAL
    rare = min(1.0, _WRONG / max(float(usual.worse[g]), 1e-9))
    confidence = float(image.worth[d] * rare * (1 - np.exp(-max(deviations, 0.0) / _USUAL)))
    if confidence > 0:
        share = image.true_area[g] / max(image.area[d], 1.0)
        larger = f"{share - 1:.0%} larger than" if share >= 1 else f"{1 - share:.0%} smaller than"
        why = f"its area is {larger} that of the prediction (IoU {iou:.2f}; {usual.iou[g]:.2f} is usual here)"
        yield _suspect(image, "loose outline", g, confidence, why, [d])


def _spurious(image: Judged, g: int, usual: _Usual, parts: list[int]) -> Iterator[Suspect]:
    """An annotation where nothing is predicted, of a kind that is usually found, as the others of its picture are."""
    shares = np.minimum(image.iou[:, g] / MATCH, 1.0) * np.sqrt(image.score)
    rare = min(1.0, _WRONG / max(1 - float(usual.found[g]), 1e-9))
    others = np.delete(image.iou.max(axis=0, initial=0.0) >= MATCH, g)
    here = (float(others.sum()) + _OTHERS * float(usual.found[g])) / (len(others) + _OTHERS)
    confidence = rare * here * (1 - float(shares.max(initial=0.0)))
    if confidence > 0 and not parts:
        why = f"nothing is predicted there; {usual.found[g]:.0%} of those of about its size are found"
        yield _suspect(image, "spurious", g, confidence, why, [])


def _doubled(image: Judged, g: int) -> Iterator[Suspect]:
    """A second annotation of one object: both overlap, and one object is predicted."""
    same = (image.true_iou[g] >= MATCH) & (image.true_category == image.true_category[g])
    same[g] = False
    for other in np.flatnonzero(same).tolist():
        there = np.flatnonzero(image.first & (image.iou[:, [g, other]].max(axis=1, initial=0.0) >= MATCH)).tolist()
        if len(there) != 1:
            continue
        mine, its = image.iou[there[0], [g, other]].tolist()
        if (mine, -g) < (its, -other):  # the worse one, of equals the later one
            overlap = float(image.true_iou[g, other])
            confidence = float(image.worth[there[0]]) * min(1.0, overlap / _TWICE)
            why = f"one object is predicted for it and for another annotation (IoU {overlap:.2f})"
            yield _suspect(image, "doubled", g, confidence, why, there)


def _missing(image: Judged, d: int, names: Callable[[int], str]) -> Iterator[Suspect]:
    """A prediction where nothing is annotated."""
    if not image.first[d] or image.iou[d].max(initial=0.0) >= _TOUCHES:
        return
    own = image.true_category == image.category[d]
    if (image.inside[d][own] >= MATCH).any():  # a part of something of its own kind
        return
    name, confidence = names(int(image.category[d])), float(image.worth[d])
    if confidence > 0:
        why = f"{name!r} is predicted there with score {image.score[d]:.2f}, and nothing is annotated"
        result = image.results[d]
        yield Suspect("missing", image.image_id, None, int(image.category[d]), confidence, why, (result,))


def share_found(judged: Sequence[Judged], score: float = 0.5) -> float:
    """The share of annotations that a prediction of a score or more is of: what the predictions are good for."""
    found = [
        ((image.iou >= MATCH) & (image.score >= score)[:, None] & image.first[:, None]).any(axis=0) for image in judged
    ]
    together = np.concatenate(found) if found else np.zeros(0, bool)
    return float(together.mean()) if len(together) else 0.0
