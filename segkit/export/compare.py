"""Whether an exported file predicts what its source predicts."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_iou

from segkit.models.tensors import Prediction

_LEAST_SCORE = 0.05  # torchvision's detectors leave out what scores less


@dataclass(frozen=True, slots=True)
class Difference:
    """The largest differences on one picture.

    Attributes:
        picture: What it shows.
        instances: How many the source finds.
        boxes: Of box corners, as a share of the picture's longer side.
        scores: Of scores.
        masks: Of mask or label probabilities.
        unmatched: Instances that only one of the two finds, other than those on the verge of being left out.
    """

    picture: str
    instances: int
    boxes: float
    scores: float
    masks: float
    unmatched: int

    def within(self, tolerance: float) -> bool:
        """Whether all of it is tolerable."""
        return self.unmatched == 0 and max(self.boxes, self.scores, self.masks) <= tolerance


def compare(
    picture: str, image: Tensor, source: Prediction, exported: Prediction, *, tolerance: float, cap: int
) -> Difference:
    """Match instances by label and box, and measure.

    Order is not compared: two instances may score alike to the last bit that rounding leaves.

    Args:
        picture: What it shows.
        image: What both were given, [3, H, W].
        source: From the model.
        exported: From the file.
        tolerance: Instances this near to a cut-off may be on either side of it.
        cap: How many instances the model predicts at most.
    """
    pairs, unmatched = _match(source, exported, tolerance, cap)
    here, there = (torch.tensor([pair[side] for pair in pairs], dtype=torch.int64) for side in (0, 1))
    boxes = _largest(source["boxes"][here].cpu(), exported["boxes"][there]) / max(image.shape[-2:])
    scores = _largest(source["scores"][here].cpu(), exported["scores"][there])
    masks = 0.0
    if "masks" in source:
        masks = _largest(source["masks"][here].cpu(), exported["masks"][there])
    if "semantic" in source:
        masks = float((source["semantic"] != exported["semantic"]).mean())
    return Difference(picture, len(source["boxes"]), boxes, scores, masks, unmatched)


def _largest(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max()) if a.numel() else 0.0


def _match(source: Prediction, exported: Prediction, tolerance: float, cap: int) -> tuple[list[tuple[int, int]], int]:
    """Pairs of indices that are the same instance, and how many instances of note have no partner."""
    scores_a, scores_b = source["scores"].cpu(), exported["scores"]
    alike = source["labels"].cpu()[:, None] == exported["labels"][None]
    overlaps = box_iou(source["boxes"].cpu(), exported["boxes"]) * alike  # [A, B]
    closeness = overlaps - (scores_a[:, None] - scores_b[None]).abs()
    pairs, used = [], set()
    for a in range(len(scores_a)):
        for b in closeness[a].argsort(descending=True).tolist():
            if overlaps[a, b] < 0.9:
                continue
            if b not in used:
                pairs.append((a, b))
                used.add(b)
                break
    lonely = [scores_a[a] for a in range(len(scores_a)) if a not in {pair[0] for pair in pairs}]
    lonely += [scores_b[b] for b in range(len(scores_b)) if b not in used]
    full = len(scores_a) == len(scores_b) == cap  # where both lists are cut, the last of them may differ
    verge = max(_LEAST_SCORE, float(scores_a.min()) if full else 0.0) + tolerance
    return pairs, sum(float(score) > verge for score in lonely)
