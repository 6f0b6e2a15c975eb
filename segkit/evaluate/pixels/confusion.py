"""Pixel scores by class, from one confusion matrix that grows with classes and not with pictures."""

from collections.abc import Sequence
from zlib import crc32

import numpy as np
import numpy.typing as npt

from segkit.data.masks import rle_to_mask, to_rle
from segkit.data.records import Annotation, Dataset, Image
from segkit.evaluate.analysis.bootstrap import interval
from segkit.evaluate.coco.band import band_distance, mask_band
from segkit.evaluate.coco.inputs import unique_names
from segkit.evaluate.metrics import SemanticMetrics

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
    """Counts of (true label, predicted label) over all pixels that are not ignored.

    Args:
        num_labels: Background and the categories.
        draws: Bootstrap draws of the pictures to count as well; they grow with labels, not with pictures.
        edges: Whether boundary IoU is to be had.
    """

    def __init__(self, num_labels: int, *, draws: int = 0, edges: bool = False) -> None:
        self.counts = np.zeros((num_labels, num_labels), np.int64)  # [truth, prediction]
        self.drawn = np.zeros((draws, num_labels, num_labels), np.int64)
        self.edges = np.zeros((num_labels, 2), np.int64) if edges else None  # pixels in both bands, in either

    def add(self, truth: LabelMap, prediction: npt.NDArray[np.integer], image_id: int = 0) -> npt.NDArray[np.int64]:
        """Count one picture, and return its own counts.

        A draw has each picture 0, 1, 2, ... times (Poisson, mean 1): the bootstrap for pictures that pass by one at a
        time (Chamandy et al., Estimating Uncertainty for Massive Data Streams, 2012). The times follow from the
        image id, so two models that are compared are drawn alike.
        """
        counted = truth != IGNORED
        pairs = truth[counted].astype(np.int64) * len(self.counts) + prediction[counted]
        own = np.bincount(pairs, minlength=self.counts.size).reshape(self.counts.shape)
        self.counts += own
        if len(self.drawn):
            times = np.random.default_rng([crc32(str(image_id).encode()), len(self.drawn)]).poisson(1, len(self.drawn))
            self.drawn += times[:, None, None] * own
        if self.edges is not None:
            self._add_edges(truth, prediction)
        return own

    def _add_edges(self, truth: LabelMap, prediction: npt.NDArray[np.integer]) -> None:
        assert self.edges is not None
        counted, distance = truth != IGNORED, band_distance(*truth.shape)
        for label in np.union1d(truth[counted], prediction[counted]).tolist():
            real, found = (mask_band(labels == label, distance) & counted for labels in (truth, prediction))
            self.edges[label] += ((real & found).sum(), (real | found).sum())

    def metrics(self, dataset: Dataset) -> SemanticMetrics:
        """IoU and F1 of every class; background is one unless the dataset ignores uncovered pixels.

        A class that occurs neither in truth nor in prediction has no score (None) and no part in the means.
        """
        names, first = self._names(dataset)
        hits = np.diag(self.counts).astype(float)
        truth, found = self.counts.sum(axis=1), self.counts.sum(axis=0)
        per_category: dict[str, dict[str, float | None]] = {}
        for label in range(first, len(names)):
            either = truth[label] + found[label] - hits[label]
            scores: dict[str, float | None] = {
                "IoU": float(hits[label] / either) if either else None,
                "F1": float(2 * hits[label] / (truth[label] + found[label])) if either else None,
                "precision": float(hits[label] / found[label]) if found[label] else None,
                "recall": float(hits[label] / truth[label]) if truth[label] else None,
                "pixels": float(truth[label]),
            }
            if self.edges is not None:
                both, union = self.edges[label]
                scores["boundary_IoU"] = float(both / union) if union else None
            per_category[names[label]] = scores
        scored = [scores for scores in per_category.values() if scores["IoU"] is not None]
        total = float(truth[first:].sum())
        edges = [scores["boundary_IoU"] for scores in scored if scores.get("boundary_IoU") is not None]
        return SemanticMetrics(
            mIoU=_mean([s["IoU"] for s in scored]),
            pixel_accuracy=float(hits.sum() / self.counts.sum()) if self.counts.sum() else -1.0,
            mean_accuracy=_mean([s["recall"] for s in scored if s["recall"] is not None]),
            F1=_mean([s["F1"] for s in scored]),
            fwIoU=float(sum((s["IoU"] or 0) * (s["pixels"] or 0) for s in scored)) / total if total else -1.0,
            per_category=per_category,
            boundary_IoU=_mean(edges) if self.edges is not None else None,
            mIoU_interval=interval(self.drawn_means(dataset)) if len(self.drawn) else None,
            confusion=self.counts.tolist() if self.edges is not None else None,
        )

    def drawn_means(self, dataset: Dataset) -> npt.NDArray[np.float64]:
        """MIoU of the pictures, and then of each draw of them, [1 + draws]; NaN where there is nothing."""
        _, first = self._names(dataset)
        return np.array([mean_iou(counts, first) for counts in (self.counts, *self.drawn)])

    def _names(self, dataset: Dataset) -> tuple[list[str], int]:
        names = ["background", *(category.name for category in dataset.categories)]
        distinct = unique_names(dict(enumerate(names)))
        return list(distinct.values()), 1 if dataset.uncovered == "ignore" else 0


def mean_iou(counts: npt.NDArray[np.int64], first: int) -> float:
    """The mean over classes from ``first`` on that occur, from their confusion; NaN where none does."""
    hits = np.diag(counts)
    either = (counts.sum(axis=1) + counts.sum(axis=0) - hits)[first:]
    return float(np.mean(hits[first:][either > 0] / either[either > 0])) if either.any() else float("nan")


def _mean(values: Sequence[float | None]) -> float:
    return float(np.mean(np.array(values, float))) if values else -1.0
