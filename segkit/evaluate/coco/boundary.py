"""Boundary AP: AP by the overlap of contours as well as of masks, in which errors of large instances count.

Source: Cheng et al., Boundary IoU (CVPR 2021): the overlap is the smaller of mask IoU and the IoU of the bands inside
the contours; of crowds it is that of the masks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segkit.data.masks import mask_ious, rle_bbox, rle_crops, to_rle
from segkit.data.records import Rle
from segkit.evaluate.coco.accumulate import THRESHOLDS, Floats, accumulate
from segkit.evaluate.coco.band import band_distance, mask_band
from segkit.evaluate.coco.engine import EvaluationInputs, PrecisionRecall
from segkit.evaluate.coco.instance_metrics import COCO_MAX_DETS
from segkit.evaluate.coco.matching import Place, match_by_overlap

_PIXELS = 4_000_000  # in the boxes of masks that are decoded at once
Band = tuple[int, int, npt.NDArray[np.bool_]]  # top, left, the band in the mask's box


def evaluate_boundary(inputs: EvaluationInputs, max_dets: list[int]) -> PrecisionRecall:
    """COCO's numbers with boundary IoU.

    Args:
        inputs: Annotations, with ids from 1, and results, with masks.
        max_dets: Limits on the detections of a category in an image, rising.
    """
    found = match_by_overlap(inputs, max_dets[-1], _overlaps)
    return accumulate(found, sorted(inputs.names), max_dets, curves_from=len(COCO_MAX_DETS) - 1)


@dataclass(slots=True)
class _Masks:
    """The masks of a place: their IoU, and the pairs and masks whose bands are needed to know it."""

    overlap: Floats  # [D, G]
    pairs: list[tuple[int, int]]
    found: list[Rle]
    truth: list[Rle]
    distance: int

    @classmethod
    def of(cls, place: Place) -> "_Masks":
        """Of all masks the overlap; of those that may match the pairs."""
        found: list[Rle] = [to_rle(r["segmentation"], *place.size) for r in place.results]
        truth: list[Rle] = [to_rle(a["segmentation"], *place.size) for a in place.annotations]
        crowd = [bool(a["iscrowd"]) for a in place.annotations]
        overlap = mask_ious(found, truth, crowd)
        # The smaller of two is too low to match where one is: most pairs need no bands.
        near = np.argwhere((overlap >= THRESHOLDS[0]) & ~np.array(crowd, bool)).tolist()
        return cls(overlap, [(d, g) for d, g in near], found, truth, band_distance(*place.size))

    def needed(self) -> list[Rle]:
        """The masks whose bands are needed: of the results, then of the annotations."""
        found, truth = ({pair[side]: None for pair in self.pairs} for side in (0, 1))
        return [self.found[d] for d in found] + [self.truth[g] for g in truth]

    def compare(self, bands: Sequence[Band]) -> Floats:
        """The overlap with the bands of ``needed``."""
        found, truth = (list({pair[side]: None for pair in self.pairs}) for side in (0, 1))
        of_found = dict(zip(found, bands, strict=False))
        of_truth = dict(zip(truth, bands[len(found) :], strict=True))
        for d, g in self.pairs:
            self.overlap[d, g] = min(self.overlap[d, g], _iou(of_found[d], of_truth[g]))
        return self.overlap


def _overlaps(places: Sequence[Place]) -> Iterator[Floats]:
    """The smaller of mask IoU and band IoU of every place, [D, G]; that of the masks where it is too low to match."""
    waiting: list[_Masks] = []
    pixels = 0.0
    for place in places:
        waiting.append(masks := _Masks.of(place))
        pixels += sum(w * h for _, _, w, h in map(rle_bbox, masks.needed()))
        if pixels > _PIXELS:
            yield from _compared(waiting)
            waiting, pixels = [], 0.0
    yield from _compared(waiting)


def _compared(waiting: Sequence[_Masks]) -> Iterator[Floats]:
    needed = [masks.needed() for masks in waiting]
    crops = iter(rle_crops([rle for rles in needed for rle in rles]))
    for masks, rles in zip(waiting, needed, strict=True):
        bands = []
        for _ in rles:
            crop = next(crops)
            assert crop is not None  # it overlaps another
            bands.append((crop[0], crop[1], mask_band(crop[2], masks.distance)))
        yield masks.compare(bands)


def _iou(first: Band, second: Band) -> float:
    (y1, x1, one), (y2, x2, two) = first, second
    top, left = max(y1, y2), max(x1, x2)
    bottom, right = min(y1 + one.shape[0], y2 + two.shape[0]), min(x1 + one.shape[1], x2 + two.shape[1])
    shared = one[top - y1 : bottom - y1, left - x1 : right - x1], two[top - y2 : bottom - y2, left - x2 : right - x2]
    both = np.count_nonzero(shared[0] & shared[1])
    return both / (np.count_nonzero(one) + np.count_nonzero(two) - both)
