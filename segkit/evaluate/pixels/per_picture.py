"""Pixel scores picture by picture: sums for all, a row for each, and label maps of the few that are shown."""

import heapq
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segkit.data.records import Dataset, Image
from segkit.errors import InputError
from segkit.evaluate.pixels.confusion import IGNORED, Confusion, LabelMap, mean_iou

SHOWN = 6  # of the worst, and of the best


@dataclass(frozen=True, slots=True)
class PixelRow:
    """The score of one picture; ``mIoU`` is over the categories that occur in it, NaN where none does."""

    image: Image
    mIoU: float
    pixel_accuracy: float


@dataclass(frozen=True, slots=True)
class LabelMaps:
    """A picture's true and predicted labels, packed until the report is written."""

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
    """Sums over all pictures; where the reason is wanted also a row for each, and the worst and the best to look at.

    Args:
        dataset: The ground truth.
        draws: Bootstrap draws behind the confidence interval; 0: none.
        explains: Whether rows, label maps and boundary IoU are wanted.
        edges: Whether boundary IoU is wanted.
    """

    def __init__(self, dataset: Dataset, *, draws: int = 0, explains: bool = False, edges: bool = False) -> None:
        if len(dataset.categories) >= IGNORED:
            raise InputError(f"{len(dataset.categories)} categories: label maps hold at most {IGNORED - 1}")
        self.dataset, self.explains = dataset, explains
        self.confusion = Confusion(len(dataset.categories) + 1, draws=draws, edges=edges or explains)
        self.rows: list[PixelRow] = []
        self._first = 1 if dataset.uncovered == "ignore" else 0
        self._worst: list[tuple[float, int, LabelMaps]] = []
        self._best: list[tuple[float, int, LabelMaps]] = []

    def add(self, image: Image, truth: LabelMap, prediction: npt.NDArray[np.integer]) -> None:
        """Score one picture."""
        counts = self.confusion.add(truth, prediction, image.id)
        if not self.explains:
            return
        total = counts.sum()
        row = PixelRow(image, mean_iou(counts, self._first), float(np.trace(counts) / total) if total else float("nan"))
        self.rows.append(row)
        if not np.isnan(row.mIoU):
            maps = LabelMaps(row, _packed(truth), _packed(prediction))
            for heap, key in ((self._worst, -row.mIoU), (self._best, row.mIoU)):
                heapq.heappush(heap, (key, len(self.rows), maps))
                if len(heap) > SHOWN:
                    heapq.heappop(heap)

    def worst(self) -> list[LabelMaps]:
        """The pictures of the lowest mIoU, worst first."""
        return [maps for _, _, maps in sorted(self._worst, key=lambda item: -item[0])]

    def best(self) -> list[LabelMaps]:
        """The pictures of the highest mIoU that are not among the worst, best first."""
        shown = {maps.row.image.id for maps in self.worst()}
        return [m for _, _, m in sorted(self._best, key=lambda item: -item[0]) if m.row.image.id not in shown]


def _packed(labels: npt.NDArray[np.integer]) -> bytes:
    return zlib.compress(labels.astype(np.uint8).tobytes(), level=1)
