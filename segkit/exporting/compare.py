"""The difference between the predictions of an exported file and of its source."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_iou

from segkit.choices import InstancesName
from segkit.models.tensors import Prediction
from segkit.models.unet import split_instances

_MIN_SCORE = 0.05  # of the instances that torchvision's detectors return (box_score_thresh)
_SUPPRESSES = 0.5  # IoU from which on one of two boxes of a label is left out (box_nms_thresh)
_SAME = 0.9  # IoU of two boxes of one instance
_WHOLE = 28  # rows and columns of a mask that is predicted as a whole
_TIES = 200


@dataclass(frozen=True, slots=True)
class PredictionDifference:
    """The largest differences on one image.

    Attributes:
        picture: Its name.
        instances: Number of instances that the source predicts.
        boxes: Of box corners, as a share of the image's longer side.
        scores: Of scores.
        masks: Of mask probabilities, and of those of classes; of a U-Net, of all its maps at all pixels.
        unmatched: Number of instances that only one of the two predicts, without those near a cut-off.
    """

    picture: str
    instances: int
    boxes: float
    scores: float
    masks: float
    unmatched: int

    def within(self, tolerance: float) -> bool:
        """Whether no difference is larger than the tolerance."""
        return self.unmatched == 0 and all(each <= tolerance for each in (self.boxes, self.scores, self.masks))


def compare(
    picture: str,
    image: Tensor,
    source: Prediction,
    exported: Prediction,
    *,
    tolerance: float,
    cap: int,
    candidates: Prediction | None = None,
) -> PredictionDifference:
    """Match instances by label and box, and measure how they differ.

    Their order is not compared, as rounding may swap two instances of nearly equal score.

    Args:
        picture: Name of the image.
        image: The image, [3, H, W].
        source: Prediction of the model.
        exported: Prediction of the exported file.
        tolerance: Instances whose score is this near to a cut-off may be in one prediction only.
        cap: Largest number of instances that the model predicts.
        candidates: All instances that the source finds before one of two that overlap is left out. Where their scores
            are equal, rounding or the order of sorting decides which; the exported file may have decided otherwise.
    """
    pairs, left_here, left_there = _match(source, exported)
    if candidates is not None:
        left_here, left_there = _without_ties(source, exported, candidates, left_here, left_there, tolerance)
    unmatched = _num_clear(source, exported, left_here, left_there, tolerance, cap)
    here, there = (torch.tensor([pair[side] for pair in pairs], dtype=torch.int64) for side in (0, 1))
    boxes = _largest(source["boxes"][here].cpu(), exported["boxes"][there]) / max(image.shape[-2:])
    scores = _largest(source["scores"][here].cpu(), exported["scores"][there])
    masks = 0.0
    if "masks" in source:
        masks = _of_masks(source["masks"][here].cpu(), exported["masks"][there])
    if "classes" in source:
        masks = max(masks, _largest(source["classes"].cpu(), exported["classes"]))
    if "semantic" in source:
        masks = float((source["semantic"] != exported["semantic"]).mean())
    return PredictionDifference(picture, len(source["boxes"]), boxes, scores, masks, unmatched)


def compare_maps(
    picture: str, source: Tensor, exported: Tensor, instances: InstancesName = "components"
) -> PredictionDifference:
    """Measure how the maps [M, H, W] of two U-Nets differ: probabilities, and distances where there are any.

    Labels and instances are not compared. They follow from the maps by the same code; but where two labels
    are equally probable, rounding alone decides, and may join two instances or split one.

    Args:
        picture: Name of the image.
        source: Maps of the model.
        exported: Those of the exported file.
        instances: How instances are made of them.
    """
    count = len(split_instances(source, instances)["boxes"])
    return PredictionDifference(picture, count, 0.0, 0.0, _largest(source.cpu(), exported), 0)


def _of_masks(a: Tensor, b: Tensor) -> float:
    """The largest difference of masks [N, M, M]; of fine ones, without the 200th part of the cells that differs most.

    A subdivision predicts the most uncertain cells again: of two that are equally uncertain, rounding decides which.
    """
    if not a.numel() or a.shape[-1] <= _WHOLE:
        return _largest(a, b)
    differences = (a - b).abs().flatten(1)
    left_out = differences.shape[1] // _TIES
    return float(differences.topk(left_out + 1, dim=1).values[:, -1].max())


def _largest(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max()) if a.numel() else 0.0


def _match(source: Prediction, exported: Prediction) -> tuple[list[tuple[int, int]], list[int], list[int]]:
    """Pairs of indices of the same instance, and the indices of those that are in one prediction only."""
    scores_a, scores_b = source["scores"].cpu(), exported["scores"]
    overlaps = _overlaps(source, exported)
    closeness = overlaps - (scores_a[:, None] - scores_b[None]).abs()
    pairs, used = [], set()
    for a in range(len(scores_a)):
        for b in closeness[a].argsort(descending=True).tolist():
            if overlaps[a, b] < _SAME:
                continue
            if b not in used:
                pairs.append((a, b))
                used.add(b)
                break
    matched = {pair[0] for pair in pairs}
    left = [a for a in range(len(scores_a)) if a not in matched], [b for b in range(len(scores_b)) if b not in used]
    return pairs, *left


def _overlaps(a: Prediction, b: Prediction) -> Tensor:
    """IoU of boxes with the same label, else 0 [A, B]."""
    alike = a["labels"].cpu()[:, None] == b["labels"].cpu()[None]
    overlaps: Tensor = box_iou(a["boxes"].cpu(), b["boxes"].cpu()) * alike
    return overlaps


def _without_ties(
    source: Prediction,
    exported: Prediction,
    candidates: Prediction,
    left_here: list[int],
    left_there: list[int],
    tolerance: float,
) -> tuple[list[int], list[int]]:
    """Leave out the instances that only one prediction has as the other one kept what overlaps them.

    Of two boxes with equal scores either may suppress the other one, and with it decide about further boxes. An answer
    is as right as the source's when the source found all its instances, too, and each of the source's that is missing
    overlaps one in its place that does not score lower; and the reverse. A graph with a fault finds others.

    Args:
        source: Prediction of the model.
        exported: Prediction of the exported file.
        candidates: Those of the source before suppression.
        left_here: Instances of the source that the exported file does not have.
        left_there: The reverse.
        tolerance: The largest difference of equal scores.

    Returns:
        The instances of each that are not explained so.
    """
    overlap = _overlaps(source, exported) > _SUPPRESSES
    lead = source["scores"].cpu()[:, None] - exported["scores"][None]
    found = _overlaps(candidates, exported) > _SAME
    found &= (candidates["scores"].cpu()[:, None] - exported["scores"][None]).abs() <= tolerance
    here, there = set(left_here), {b for b in left_there if found[:, b].any()}
    while True:  # what is not explained explains nothing
        kept_here = {a for a in here if any(overlap[a, b] and lead[a, b] <= tolerance for b in there)}
        kept_there = {b for b in there if any(overlap[a, b] and lead[a, b] >= -tolerance for a in kept_here)}
        if (kept_here, kept_there) == (here, there):
            break
        here, there = kept_here, kept_there
    return [a for a in left_here if a not in here], [b for b in left_there if b not in there]


def _num_clear(
    source: Prediction, exported: Prediction, left_here: list[int], left_there: list[int], tolerance: float, cap: int
) -> int:
    """How many instances of one prediction only are not near a cut-off."""
    scores_a, scores_b = source["scores"].cpu(), exported["scores"]
    full = len(scores_a) == len(scores_b) == cap  # the lowest scores of full lists may differ
    cutoff = max(_MIN_SCORE, float(scores_a.min()) if full else 0.0) + tolerance
    left = [*(scores_a[a] for a in left_here), *(scores_b[b] for b in left_there)]
    return sum(float(score) > cutoff for score in left)
