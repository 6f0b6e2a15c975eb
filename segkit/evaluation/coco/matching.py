"""COCOeval's matching with an overlap measure of one's own, where few pairs overlap enough to match.

Source of the rules: ``COCOeval.evaluateImg`` of pycocotools 2.0, whose outcomes these are. Only pairs that overlap by
at least the lowest threshold are looked at.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segkit.evaluation.coco.accumulate import THRESHOLDS
from segkit.evaluation.coco.areas import with_coco
from segkit.evaluation.coco.engine import EvaluationInputs, Records
from segkit.evaluation.coco.outcomes import FALSE_POSITIVE, IGNORED, TRUE_POSITIVE, Outcomes

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
_LEAST = np.minimum(THRESHOLDS, 1 - 1e-10)  # COCOeval's own limit: equal masks match at any threshold


@dataclass(frozen=True, slots=True)
class Place:
    """What is compared: results, by falling score, and annotations of a category in an image of a height and width."""

    category: int
    image_id: int
    size: tuple[int, int]
    results: Records
    annotations: Records


def match_by_overlap(
    inputs: EvaluationInputs,
    max_dets: int,
    overlaps: Callable[[Sequence[Place]], Iterable[Floats]],
    areas: Sequence[float] = (),
) -> Outcomes:
    """The outcome of every detection.

    Args:
        inputs: Annotations, with ids from 1, and results.
        max_dets: Detections of a category counted in an image.
        overlaps: From all places, one after another, to [D, G]; values below 0.5 may be any below 0.5.
        areas: Edges of size classes, whose ranges follow COCO's four.
    """
    ranges = np.array(with_coco(areas))
    categories = sorted(inputs.names)
    positives = np.zeros((len(ranges), len(categories)), np.int64)
    slot, image, rank = ([np.zeros(0, np.int64)] for _ in range(3))
    score = [np.zeros(0)]
    outcome = [np.zeros((len(ranges), 0, len(THRESHOLDS)), np.uint8)]
    places = list(_places(inputs, max_dets))
    for place, iou in zip(places, overlaps(places), strict=True):
        k, results = categories.index(place.category), place.results
        crowd = np.array([bool(a["iscrowd"]) for a in place.annotations], bool)
        ignored = _outside(place.annotations, ranges) | crowd
        positives[:, k] += (~ignored).sum(axis=1)
        slot.append(np.full(len(results), k))
        image.append(np.full(len(results), place.image_id))
        rank.append(np.arange(len(results)))
        score.append(np.array([result["score"] for result in results], np.float64))
        outcome.append(_outcomes(iou, crowd, ignored, _outside(results, ranges)))
    return Outcomes(
        np.concatenate(slot),
        np.concatenate(image),
        np.concatenate(rank),
        np.concatenate(score),
        np.concatenate(outcome, axis=1),
        positives,
    )


def _places(inputs: EvaluationInputs, max_dets: int) -> Iterator[Place]:
    """All places that have results or annotations, by category and image."""
    sizes = {image["id"]: (image["height"], image["width"]) for image in inputs.truth["images"]}
    groups: dict[tuple[int, int], tuple[Records, Records]] = defaultdict(lambda: ([], []))
    for n, records in enumerate((inputs.results, inputs.truth["annotations"])):
        for record in records:
            groups[record["category_id"], record["image_id"]][n].append(record)
    for (category, image_id), (results, annotations) in sorted(groups.items(), key=lambda item: item[0]):
        best = sorted(results, key=lambda result: -result["score"])[:max_dets]
        yield Place(category, image_id, sizes[image_id], best, annotations)


def _outside(records: Records, ranges: Floats) -> Bools:
    """Whether each record's area is outside of each range, [areas, N]."""
    area = np.array([record["area"] for record in records], np.float64)
    return (area < ranges[:, :1]) | (area > ranges[:, 1:])


def _outcomes(iou: Floats, crowd: Bools, ignored: Bools, outside: Bools) -> npt.NDArray[np.uint8]:
    """The outcome of the detections of a category in an image, [areas, D, thresholds].

    Args:
        iou: [D, G], by falling score.
        crowd: Which annotations are crowds, [G].
        ignored: Which do not count, [areas, G].
        outside: Which detections are outside of each range of areas, [areas, D].
    """
    free = np.where(outside, IGNORED, FALSE_POSITIVE).astype(np.uint8)
    outcome = np.repeat(free[:, :, None], len(THRESHOLDS), axis=2)
    near = iou >= _LEAST[0]
    if not near.any():
        return outcome
    alone = near & (near.sum(axis=1, keepdims=True) == 1) & (near.sum(axis=0, keepdims=True) == 1)
    rows, columns = np.nonzero(alone)
    matched = iou[rows, columns, None] >= _LEAST  # [pairs, thresholds]
    becomes = np.where(ignored[:, columns], IGNORED, TRUE_POSITIVE).astype(np.uint8)
    outcome[:, rows] = np.where(matched, becomes[:, :, None], outcome[:, rows])
    others = np.flatnonzero((near & ~alone).any(axis=1))
    if len(others):
        for a in range(len(ignored)):
            for t, least in enumerate(_LEAST):
                for d, g in _greedy(iou, crowd, ignored[a], others, float(least)):
                    outcome[a, d, t] = IGNORED if ignored[a, g] else TRUE_POSITIVE
    return outcome


def _greedy(
    iou: Floats, crowd: Bools, ignored: Bools, detections: npt.NDArray[np.intp], least: float
) -> Iterator[tuple[int, int]]:
    """Detections and the annotations that they match, by falling score.

    Each takes the free annotation that it overlaps most, of equals the last; one that is ignored only if there is no
    other. Crowds are always free.

    Args:
        iou: [D, G].
        crowd: [G].
        ignored: [G].
        detections: Those that overlap something, rising.
        least: The lowest IoU of a match.
    """
    taken: set[int] = set()
    for d in detections.tolist():
        near = [g for g in np.flatnonzero(iou[d] >= least).tolist() if g not in taken]
        counted = [g for g in near if not ignored[g]] or near
        if counted:
            best = max(counted, key=lambda g: (iou[d, g], g))
            if not crowd[best]:
                taken.add(best)
            yield d, best
