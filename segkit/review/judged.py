"""Annotations and predictions of a picture beside each other, and how much the predictions are worth.

A score is no probability. What a prediction is worth is read off the dataset itself, most of which is taken to be
right: the share of predictions of about this score that an annotation confirms (isotonic regression, Zadrozny & Elkan,
KDD 2002). The geometric mean of the two is used, as annotations that lack by the hundred make good scores look bad.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression

from segkit.data.masks import Box, box_ious, mask_ious, to_rle
from segkit.data.records import Dataset, Result
from segkit.evaluation.coco.engine import EvaluationInputs, IouType
from segkit.evaluation.coco.inputs import prepare_inputs
from segkit.evaluation.coco.overlap import ImageOverlaps, ious, overlaps_by_image

MATCH = 0.5  # IoU from which on a prediction is of an annotation, as in eval
_LEAST_SCORE = 0.05  # predictions below say nothing
_INSIDE_CROWD = 0.5  # share of a prediction
_SAME = 0.5  # IoU from which on two predictions are of one object
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Judged:
    """One picture: G annotations without crowds, D predictions by falling score.

    Attributes:
        image_id: Of the dataset, from 1.
        annotations: Their ids, [G].
        true_category: [G].
        true_area: [G], pixels.
        true_iou: Of the annotations with each other, [G, G].
        results: The predictions.
        category: [D].
        score: [D].
        area: [D], pixels.
        iou: [D, G].
        found_iou: Of the predictions with each other, [D, D].
        inside: The share of each prediction inside each annotation, [D, G].
        first: Whether no prediction of a higher score is of the same object, [D].
        worth: How likely each prediction is right, [D].
    """

    image_id: int
    annotations: Ints
    true_category: Ints
    true_area: Floats
    true_iou: Floats
    results: tuple[Result, ...]
    category: Ints
    score: Floats
    area: Floats
    iou: Floats
    found_iou: Floats
    inside: Floats
    first: Bools
    worth: Floats

    @property
    def confirmed(self) -> Bools:
        """Whether each prediction is of an annotation, of whatever category, [D]."""
        return np.asarray(self.iou.max(axis=1, initial=0.0) >= MATCH)


def judge(dataset: Dataset, results: Sequence[Result]) -> tuple[list[Judged], IouType]:
    """Put annotations and predictions beside each other, picture by picture.

    Args:
        dataset: Images and annotations have ids from 1, in their order; categories of results are among its own.
        results: The predictions.

    Returns:
        The pictures, and what is compared: masks where both sides have them, else boxes.
    """
    kept = [result for result in results if result.score >= _LEAST_SCORE]
    masks = all(result.segmentation is not None for result in kept) and all(a.segmentation for a in dataset.annotations)
    kind: IouType = "segm" if masks else "bbox"
    inputs = prepare_inputs(dataset, kept, (kind,))
    judged = [_of_image(inputs, kept, overlaps, kind) for overlaps in overlaps_by_image(inputs, kind)]
    scores = np.concatenate([each.score[each.first] for each in judged]) if judged else np.zeros(0)
    right = np.concatenate([each.confirmed[each.first] for each in judged]) if judged else np.zeros(0)
    order = np.argsort(scores, kind="stable")
    shares = isotonic_regression(right[order].astype(np.float64)).x if len(order) else np.zeros(0)
    for each in judged:
        if len(each.score):
            share = np.interp(each.score, scores[order], shares) if len(order) else np.zeros(len(each.score))
            each.worth[:] = np.sqrt(np.clip(each.score, 0, 1) * share)
    return judged, kind


def _of_image(inputs: EvaluationInputs, kept: Sequence[Result], overlaps: ImageOverlaps, kind: IouType) -> Judged:
    truth = [inputs.truth["annotations"][n] for n in overlaps.annotation_index.tolist()]
    found = [inputs.results[n] for n in overlaps.result_index.tolist()]
    record = inputs.truth["images"][overlaps.image_id - 1]
    size = (record["height"], record["width"])
    in_crowd = (overlaps.iou[:, overlaps.crowd] >= _INSIDE_CROWD).any(axis=1)
    rows, columns = np.flatnonzero(~in_crowd), np.flatnonzero(~overlaps.crowd)
    truth, found = [truth[g] for g in columns], [found[d] for d in rows]
    inside = ious(found, truth, np.ones(len(truth), bool), kind, size)
    found_iou = _among(found, kind, size)
    first = np.array([not (found_iou[d, :d] >= _SAME).any() for d in range(len(found))], bool)
    return Judged(
        overlaps.image_id,
        np.array([a["id"] for a in truth], np.int64),
        overlaps.true_category[columns],
        np.array([a["area"] for a in truth], np.float64),
        _among(truth, kind, size),
        tuple(kept[int(r["id"]) - 1] for r in found),
        overlaps.category[rows],
        overlaps.score[rows],
        np.array([r["area"] for r in found], np.float64),
        overlaps.iou[np.ix_(rows, columns)],
        found_iou,
        inside,
        first,
        np.zeros(len(found)),
    )


def _among(records: Sequence[dict[str, Any]], kind: IouType, size: tuple[int, int]) -> Floats:
    """The IoU of records of one kind with each other."""
    no_crowd = [False] * len(records)
    if kind == "bbox":
        boxes: list[Box] = [tuple(r["bbox"]) for r in records]
        return box_ious(boxes, boxes, no_crowd)
    rles = [to_rle(r["segmentation"], *size) for r in records]
    return mask_ious(rles, rles, no_crowd)
