"""Pixel scores by class, from one confusion matrix that grows with classes and not with pictures."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from segkit.dataset import Annotation, Dataset, Image
from segkit.evaluate.metrics import SemanticMetrics
from segkit.masks import rle_to_mask, to_rle

IGNORED = 255
LabelMap = npt.NDArray[np.uint8]  # [H, W]: 0 background, 1..K the categories in their order, 255 ignored


def paint(image: Image, annotations: Sequence[Annotation], labels: dict[int, int], uncovered: str) -> LabelMap:
    """The label of every pixel: later annotations over earlier ones, crowds ignored.

    Args:
        image: The image.
        annotations: Its annotations.
        labels: Label by category id.
        uncovered: ``background`` or ``ignore``: what pixels under no annotation are.
    """
    out = np.full((image.height, image.width), IGNORED if uncovered == "ignore" else 0, np.uint8)
    for annotation in annotations:
        if annotation.segmentation is not None:
            rle = to_rle(annotation.segmentation, image.height, image.width)
            out[rle_to_mask(rle) > 0] = IGNORED if annotation.iscrowd else labels[annotation.category_id]
    return out


class Confusion:
    """Counts of (true label, predicted label) over all pixels that are not ignored."""

    def __init__(self, num_labels: int) -> None:
        self.counts = np.zeros((num_labels, num_labels), np.int64)  # [truth, prediction]

    def add(self, truth: LabelMap, prediction: npt.NDArray[np.integer]) -> None:
        """Count one picture."""
        counted = truth != IGNORED
        pairs = truth[counted].astype(np.int64) * len(self.counts) + prediction[counted]
        self.counts += np.bincount(pairs, minlength=self.counts.size).reshape(self.counts.shape)

    def metrics(self, dataset: Dataset) -> SemanticMetrics:
        """IoU and F1 of every class; background is one unless the dataset ignores uncovered pixels.

        A class that occurs neither in truth nor in prediction has no score (None) and no part in the means.
        """
        names = ["background", *(category.name for category in dataset.categories)]
        first = 1 if dataset.uncovered == "ignore" else 0
        hits = np.diag(self.counts).astype(float)
        truth, found = self.counts.sum(axis=1), self.counts.sum(axis=0)
        per_category: dict[str, dict[str, float | None]] = {}
        for label in range(first, len(names)):
            either = truth[label] + found[label] - hits[label]
            per_category[names[label]] = {
                "IoU": float(hits[label] / either) if either else None,
                "F1": float(2 * hits[label] / (truth[label] + found[label])) if either else None,
                "pixels": float(truth[label]),
            }
        scored = [scores for scores in per_category.values() if scores["IoU"] is not None]
        return SemanticMetrics(
            mIoU=float(np.mean([s["IoU"] for s in scored])) if scored else -1.0,
            pixel_accuracy=float(hits.sum() / self.counts.sum()) if self.counts.sum() else -1.0,
            F1=float(np.mean([s["F1"] for s in scored])) if scored else -1.0,
            per_category=per_category,
        )
