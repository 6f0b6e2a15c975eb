"""Pixel metrics by category, from one confusion matrix, whose size does not depend on the number of images."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from segkit.data.bands import band_distance, mask_band
from segkit.data.label_maps import IGNORED, paint_labels
from segkit.data.records import Annotation, Dataset, Image
from segkit.evaluation.analysis.coverage import measured_coverage
from segkit.evaluation.analysis.intervals import Parts, confidence_interval
from segkit.evaluation.coco.ids import unique_names
from segkit.evaluation.metrics import SemanticMetrics

LabelMap = npt.NDArray[np.uint8]  # [H, W]: 0 background, 1..K the categories in the order of their ids, 255 ignored


def paint(image: Image, annotations: Sequence[Annotation], labels: dict[int, int], uncovered: str) -> LabelMap:
    """The label of every pixel: later annotations over earlier ones, crowds ignored.

    Args:
        image: The image.
        annotations: Its annotations.
        labels: Label by category id.
        uncovered: ``background`` or ``ignore``: what pixels under no annotation are.
    """
    regions = (
        (annotation.segmentation, IGNORED if annotation.iscrowd else labels[annotation.category_id])
        for annotation in annotations
        if annotation.segmentation is not None
    )
    return paint_labels(image.height, image.width, regions, IGNORED if uncovered == "ignore" else 0)


class Confusion:
    """Counts of (true label, predicted label) over all pixels that are not ignored.

    Args:
        dataset: The categories; background is a class unless the dataset ignores uncovered pixels.
        intervals: Whether to keep the areas of each image, for confidence intervals.
        boundary: Whether to count for boundary IoU, too.
    """

    def __init__(self, dataset: Dataset, *, intervals: bool = False, boundary: bool = False) -> None:
        names = ["background", *(category.name for category in dataset.categories)]
        self.first = 1 if dataset.uncovered == "ignore" else 0  # the first label that has metrics
        self._names, num_labels = unique_names(dict(enumerate(names))), len(names)
        self.counts = np.zeros((num_labels, num_labels), np.int64)  # [truth, prediction]
        self._areas: dict[int, npt.NDArray[np.int64]] | None = {} if intervals else None
        self.boundary = np.zeros((num_labels, 2), np.int64) if boundary else None  # pixels in both bands, in either

    def add(self, truth: LabelMap, prediction: npt.NDArray[np.integer], image_id: int = 0) -> npt.NDArray[np.int64]:
        """Count one image, and return its own counts."""
        counted = truth != IGNORED
        pairs = truth[counted].astype(np.int64) * len(self.counts) + prediction[counted]
        own = np.bincount(pairs, minlength=self.counts.size).reshape(self.counts.shape)
        self.counts += own
        if self._areas is not None:
            self._areas[image_id] = np.stack([np.diag(own), own.sum(axis=1) + own.sum(axis=0) - np.diag(own)], axis=1)
        if self.boundary is not None:
            self._add_boundary(self.boundary, truth, prediction)
        return own

    @staticmethod
    def _add_boundary(sums: npt.NDArray[np.int64], truth: LabelMap, prediction: npt.NDArray[np.integer]) -> None:
        counted, distance = truth != IGNORED, band_distance(*truth.shape)
        for label in np.union1d(truth[counted], prediction[counted]).tolist():
            # What is ignored lies outside of both masks: so a contour beside it is one in both.
            real, found = (mask_band((labels == label) & counted, distance) for labels in (truth, prediction))
            sums[label] += ((real & found).sum(), (real | found).sum())

    def metrics(self) -> SemanticMetrics:
        """IoU and F1 of every class.

        A class that occurs neither in truth nor in prediction has None, and is not part of the means.
        """
        per_category = {name: self._class_metrics(n) for n, name in self._names.items() if n >= self.first}
        scored = [scores for scores in per_category.values() if scores["IoU"] is not None]
        total = float(self.counts[self.first :].sum())
        boundary = [scores["boundary_IoU"] for scores in scored if scores.get("boundary_IoU") is not None]
        correct = np.diag(self.counts).astype(float).sum()
        return SemanticMetrics(
            mIoU=_mean([s["IoU"] for s in scored]),
            pixel_accuracy=float(correct / self.counts.sum()) if self.counts.sum() else -1.0,
            mean_accuracy=_mean([s["recall"] for s in scored if s["recall"] is not None]),
            F1=_mean([s["F1"] for s in scored]),
            fwIoU=float(sum((s["IoU"] or 0) * (s["pixels"] or 0) for s in scored)) / total if total else -1.0,
            per_category=per_category,
            boundary_IoU=_mean(boundary) if self.boundary is not None else None,
            mIoU_interval=(interval := self._interval()),
            mIoU_coverage=None if interval is None else self._coverage(len(scored)),
            confusion=self.counts.tolist() if self.boundary is not None else None,
        )

    def _class_metrics(self, label: int) -> dict[str, float | None]:
        tp = float(self.counts[label, label])
        truth, found = self.counts[label].sum(), self.counts[:, label].sum()
        either = truth + found - tp
        scores: dict[str, float | None] = {
            "IoU": float(tp / either) if either else None,
            "F1": float(2 * tp / (truth + found)) if either else None,
            "precision": float(tp / found) if found else None,
            "recall": float(tp / truth) if truth else None,
            "pixels": float(truth),
        }
        if self.boundary is not None:
            both, union = self.boundary[label]
            scores["boundary_IoU"] = float(both / union) if union else None
        return scores

    def areas(self) -> npt.NDArray[np.int64]:
        """Pixels in both and in either of truth and prediction, of each image (by id) and class, [images, K, 2]."""
        assert self._areas is not None
        known = [self._areas[image_id][self.first :] for image_id in sorted(self._areas, key=str)]
        return np.array(known, np.int64).reshape(len(known), len(self.counts) - self.first, 2)

    def _interval(self) -> list[float] | None:
        if self._areas is None:
            return None
        areas = self.areas()
        parts = Parts.of(len(areas))
        return confidence_interval(iou_of_parts(areas, parts.weights), parts.groups, (areas[..., 1] > 0).sum(axis=0))

    def _coverage(self, classes: int) -> list[float] | None:
        return measured_coverage("mIoU", len(self._areas or ()), classes)


def iou_of_parts(areas: npt.NDArray[np.int64], weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """IoU of each class in each part of the images, [B, K]; NaN where a class is in none of them.

    Args:
        areas: Of each image and class, as ``Confusion.areas`` gives them.
        weights: How often each part has each image, [B, images].
    """
    both, either = np.moveaxis(np.tensordot(weights.astype(np.float64), areas.astype(np.float64), 1), -1, 0)
    return np.where(either > 0, both / np.maximum(either, 1), np.nan)


def mean_iou(counts: npt.NDArray[np.int64], first: int) -> float:
    """The mean over classes from ``first`` on that occur, from their confusion; NaN where none does."""
    tp = np.diag(counts)
    either = (counts.sum(axis=1) + counts.sum(axis=0) - tp)[first:]
    return float(np.mean(tp[first:][either > 0] / either[either > 0])) if either.any() else float("nan")


def _mean(values: Sequence[float | None]) -> float:
    return float(np.mean(np.array(values, float))) if values else -1.0
