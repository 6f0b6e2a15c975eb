"""Pixel scores image by image: sums over all, a row for each, and the label maps of those that the report shows."""

import heapq
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segkit.data.label_maps import MOST_CATEGORIES
from segkit.data.records import Dataset, Image
from segkit.errors import InputError
from segkit.evaluation.pixels.confusion import Confusion, LabelMap, mean_iou

SHOWN = 6  # of the worst, and of the best


@dataclass(frozen=True, slots=True)
class PixelRow:
    """The score of one image; ``mIoU`` is over the categories that occur in it, NaN where none does."""

    image: Image
    mIoU: float
    pixel_accuracy: float


@dataclass(frozen=True, slots=True)
class LabelMaps:
    """An image's true and predicted labels, compressed."""

    row: PixelRow
    truth: bytes
    prediction: bytes

    def unpacked(self) -> tuple[LabelMap, LabelMap]:
        """Both maps [H, W]."""
        size = (self.row.image.height, self.row.image.width)
        truth, prediction = (
            np.frombuffer(zlib.decompress(data), np.uint8).reshape(size) for data in (self.truth, self.prediction)
        )
        return truth, prediction


class PixelScores:
    """Sums over all images; with details also a row for each, and the label maps of the worst and the best.

    Args:
        dataset: The ground truth.
        intervals: Keep what a confidence interval needs.
        details: Keep rows and label maps, and compute boundary IoU.
        boundary: Compute boundary IoU.
    """

    def __init__(
        self, dataset: Dataset, *, intervals: bool = False, details: bool = False, boundary: bool = False
    ) -> None:
        num_categories = len(dataset.categories)
        if num_categories > MOST_CATEGORIES:
            raise InputError(f"{num_categories} categories: label maps hold at most {MOST_CATEGORIES}")
        self.confusion = Confusion(dataset, intervals=intervals, boundary=boundary or details)
        self.rows: list[PixelRow] = []
        self._details = details
        self._worst: list[tuple[float, int, LabelMaps]] = []
        self._best: list[tuple[float, int, LabelMaps]] = []

    def add(self, image: Image, truth: LabelMap, prediction: npt.NDArray[np.integer]) -> None:
        """Score one image."""
        counts = self.confusion.add(truth, prediction, image.id)
        if not self._details:
            return
        total = counts.sum()
        accuracy = float(np.trace(counts) / total) if total else float("nan")
        row = PixelRow(image, mean_iou(counts, self.confusion.first), accuracy)
        self.rows.append(row)
        if not np.isnan(row.mIoU):
            maps = LabelMaps(row, _packed(truth), _packed(prediction))
            for heap, key in ((self._worst, -row.mIoU), (self._best, row.mIoU)):
                heapq.heappush(heap, (key, len(self.rows), maps))
                if len(heap) > SHOWN:
                    heapq.heappop(heap)

    def worst(self) -> list[LabelMaps]:
        """The images with the lowest mIoU, worst first."""
        return [maps for _, _, maps in sorted(self._worst, key=lambda item: -item[0])]

    def best(self) -> list[LabelMaps]:
        """The images with the highest mIoU that are not among the worst, best first."""
        shown = {maps.row.image.id for maps in self.worst()}
        return [m for _, _, m in sorted(self._best, key=lambda item: -item[0]) if m.row.image.id not in shown]


def _packed(labels: npt.NDArray[np.integer]) -> bytes:
    return zlib.compress(labels.astype(np.uint8).tobytes(), level=1)
