"""Panoptic quality of instances.

Source: Kirillov et al., Panoptic Segmentation (CVPR 2019).
"""

from dataclasses import dataclass

import numpy as np

from segkit.evaluation.coco.overlap import ImageOverlaps, match_in_category

_MORE_THAN_HALF = float(np.nextafter(0.5, 1))


@dataclass(frozen=True, slots=True)
class PanopticSums:
    """The sums of which panoptic quality is computed; ``iou`` is that of the true positives."""

    iou: float = 0.0
    tp: int = 0
    fp: int = 0
    fn: int = 0

    def __add__(self, other: "PanopticSums") -> "PanopticSums":
        return PanopticSums(self.iou + other.iou, self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)

    def quality(self) -> dict[str, float]:
        """PQ and its factors: SQ, the mean IoU of true positives, and RQ, their F1; -1 without instances."""
        total = self.tp + self.fp / 2 + self.fn / 2
        if not total:
            return {"PQ": -1.0, "SQ": -1.0, "RQ": -1.0}
        return {"PQ": self.iou / total, "SQ": self.iou / self.tp if self.tp else 0.0, "RQ": self.tp / total}


def panoptic_sums(image: ImageOverlaps, score: float) -> dict[int, PanopticSums]:
    """The sums of an image by category, of detections with a score of at least ``score``.

    A match needs an IoU of more than 0.5. Segments that do not overlap each other then have at most one match; where
    they do overlap, the detection with the higher score takes the annotation. Detections inside crowds do not count.
    """
    kept = image.score >= score
    annotation = match_in_category(image, _MORE_THAN_HALF, kept)
    sums: dict[int, PanopticSums] = {}
    for category in np.union1d(image.category[kept], image.true_category):
        own = kept & (image.category == category)
        real = ~image.crowd & (image.true_category == category)
        rows = np.flatnonzero(own & (annotation >= 0))
        rows = rows[real[annotation[rows]]] if len(rows) else rows
        sums[int(category)] = PanopticSums(
            float(image.iou[rows, annotation[rows]].sum()),
            len(rows),
            int((own & (annotation < 0)).sum()),
            int(real.sum()) - len(rows),
        )
    return sums
