"""The outcome of every detection, for sums that COCOeval does not form: streaming, parts and intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from segkit.choices import EngineName
from segkit.evaluation.coco.areas import COCO_AREAS
from segkit.evaluation.coco.engine import EvaluationInputs, IouType, run_matching, run_matching_of_files, uses_fast

IGNORED, TRUE_POSITIVE, FALSE_POSITIVE = 0, 1, 2
_NUM_THRESHOLDS = 10
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The outcome of every counted detection of some images: flat arrays [D], by category, image, falling score.

    ``outcome`` is [areas, D, thresholds] of IGNORED, TRUE_POSITIVE and FALSE_POSITIVE; ``positives`` [areas, K] counts
    the annotations that are not ignored; ``slot`` indexes the sorted categories, ``rank`` is the place by score within
    an image and category.
    """

    slot: Ints
    image: Ints
    rank: Ints
    score: npt.NDArray[np.float64]
    outcome: npt.NDArray[np.uint8]
    positives: Ints


def match_detections(
    inputs: EvaluationInputs,
    iou_type: IouType,
    max_dets: int,
    engine: EngineName = "fast",
    areas: Sequence[float] = (),
) -> Outcomes:
    """Match detections and annotations as COCOeval does.

    Args:
        inputs: Annotations and results.
        iou_type: Compare masks or boxes.
        max_dets: Detections of a category counted in an image.
        engine: What matches.
        areas: Edges of size classes, whose ranges follow COCO's four.
    """
    run = run_matching(inputs, iou_type, [max_dets], engine, areas=areas)
    return _fast_outcomes(run, max_dets) if uses_fast(engine) else _reference_outcomes(run)


def match_files(truth: str, results: str, iou_type: IouType, max_dets: int) -> Outcomes:
    """The same of two files that need no correction, by the fast engine."""
    return _fast_outcomes(run_matching_of_files(truth, results, iou_type, [max_dets]), max_dets)


def merge(parts: Sequence[Outcomes], num_categories: int, num_areas: int = len(COCO_AREAS)) -> Outcomes:
    """One record of many, in COCOeval's order: by category, image id, falling score."""
    if not parts:
        none = np.zeros(0, np.int64)
        outcome = np.zeros((num_areas, 0, _NUM_THRESHOLDS), np.uint8)
        return Outcomes(none, none, none, np.zeros(0), outcome, np.zeros((num_areas, num_categories), int))
    slot, image, rank = (np.concatenate([getattr(p, name) for p in parts]) for name in ("slot", "image", "rank"))
    order = np.lexsort((image, slot))  # stable: ranks rise within each already
    return Outcomes(
        slot[order],
        image[order],
        rank[order],
        np.concatenate([part.score for part in parts])[order],
        np.concatenate([part.outcome for part in parts], axis=1)[:, order],
        np.sum([part.positives for part in parts], axis=0),
    )


def _fast_outcomes(run: Any, max_dets: int) -> Outcomes:
    # The engine's own precision and recall come from these; it numbers outcomes as this module does.
    areas = [run._engine.outcomes(area, max_dets) for area in range(len(run.params.areaRng))]
    slot, image = areas[0]["cat_slot"].astype(np.int64), areas[0]["image_id"].astype(np.int64)
    outcome = np.stack([area["outcome"] for area in areas])
    positives = np.stack([area["npig"] for area in areas]).astype(np.int64)
    return Outcomes(slot, image, _ranks(slot, image), areas[0]["score"], outcome, positives)


def _reference_outcomes(run: Any) -> Outcomes:
    num_areas, num_categories = len(run.params.areaRng), len(run.params.catIds)
    by_image = np.array(run.evalImgs, dtype=object).reshape(num_categories, num_areas, -1)
    slot: list[int] = []
    image: list[int] = []
    score: list[float] = []
    by_area: list[list[npt.NDArray[np.uint8]]] = [[] for _ in range(num_areas)]
    positives = np.zeros((num_areas, num_categories), np.int64)
    for k, a, i in np.ndindex(by_image.shape):
        if (found := by_image[k, a, i]) is None:
            continue
        positives[a, k] += np.count_nonzero(np.asarray(found["gtIgnore"]) == 0)
        outcome = np.where(found["dtMatches"] != 0, TRUE_POSITIVE, FALSE_POSITIVE)
        by_area[a].append(np.where(found["dtIgnore"], IGNORED, outcome).astype(np.uint8).T)
        if a == 0:
            slot += [k] * len(found["dtScores"])
            image += [int(found["image_id"])] * len(found["dtScores"])
            score += found["dtScores"]
    none: list[npt.NDArray[np.uint8]] = [np.zeros((0, len(run.params.iouThrs)), np.uint8)]
    slots, images = np.array(slot, np.int64), np.array(image, np.int64)
    outcomes = np.stack([np.concatenate(none + each) for each in by_area])
    return Outcomes(slots, images, _ranks(slots, images), np.array(score, np.float64), outcomes, positives)


def _ranks(slot: Ints, image: Ints) -> Ints:
    """The place of each detection in its run of equal (category, image)."""
    if not len(slot):
        return np.zeros(0, np.int64)
    begins = np.flatnonzero(np.append(True, (slot[1:] != slot[:-1]) | (image[1:] != image[:-1])))
    lengths = np.diff(np.append(begins, len(slot)))
    return np.arange(len(slot)) - np.repeat(begins, lengths)
