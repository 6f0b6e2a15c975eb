"""Which of a picture's instances are kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from segkit.data.masks import box_ious, mask_ious, rle_area, rle_bbox, to_rle
from segkit.data.pixel_size import PixelSize
from segkit.data.records import Result
from segkit.errors import InputError

Edge = Literal["keep", "mark", "drop"]


@dataclass(frozen=True, slots=True)
class Choice:
    """What is kept of the instances that a model finds.

    Attributes:
        scores: The least score by category id; categories that are not in it are left out.
        min_area: Smaller ones are left out: a number and the unit whose squares it counts.
        max_area: Larger ones likewise.
        edge: Whether those are left out that the border of the picture cuts.
        nms: Of two of one category whose masks (boxes where there are none) have more IoU, the better one is kept.
        across: The same of any categories, as one pixel is one thing.
        most: Instances of a picture; the best ones are kept.
    """

    scores: Mapping[int, float]
    min_area: tuple[float, str] | None = None
    max_area: tuple[float, str] | None = None
    edge: Edge = "keep"
    nms: float | None = None
    across: float | None = None
    most: int | None = None

    def check(self, name: str, size: PixelSize | None) -> None:
        """Check that areas in a unit can be compared with those of a picture.

        Raises:
            InputError: The size of its pixels is not known.
        """
        for option, area in (("--min-area", self.min_area), ("--max-area", self.max_area)):
            if area is not None and area[1] != "px" and size is None:
                text = f"{area[0]:g}{area[1]}2"
                raise InputError(
                    f"{name}: {option} {text}: the size of its pixels is not known", "name it: --pixel-size"
                )

    def is_certain(self, result: Result) -> bool:
        """Whether a result has a category that is asked for, and its least score."""
        return result.score >= self.scores.get(result.category_id, float("inf"))

    def of(self, results: Sequence[Result], height: int, width: int, size: PixelSize | None) -> tuple[Result, ...]:
        """The results that are kept, in their order.

        Args:
            results: Of one picture.
            height: Of the picture.
            width: Likewise.
            size: Of its pixels.
        """
        low, high = (_in_pixels(area, size) for area in (self.min_area, self.max_area))
        kept = []
        for result in results:
            if not self.is_certain(result):
                continue
            if low is not None or high is not None:
                area = area_of(result, height, width)
                if (low is not None and area < low) or (high is not None and area > high):
                    continue
            if self.edge == "drop" and touches_edge(result, height, width):
                continue
            kept.append(result)
        kept = suppressed(kept, height, width, self.nms, self.across)
        return tuple(kept[: self.most])


def suppressed(
    results: Sequence[Result], height: int, width: int, nms: float | None, across: float | None
) -> list[Result]:
    """Results without those that overlap a better one too much.

    Args:
        results: Of one picture, by falling score.
        height: Of the picture.
        width: Likewise.
        nms: The most IoU with one of the same category; None: any.
        across: The most IoU with one of any category; None: any.
    """
    if (nms is None and across is None) or not results:
        return list(results)
    rles = [None if r.segmentation is None else to_rle(r.segmentation, height, width) for r in results]
    boxes = np.array([
        rle_bbox(rle) if rle is not None else result.bbox or (0, 0, 0, 0)
        for rle, result in zip(rles, results, strict=True)
    ])  # fmt: skip
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    categories = np.array([result.category_id for result in results])
    kept: list[int] = []
    for place, rle in enumerate(rles):
        before = np.array(kept, np.int64)
        near = before[(low[before] < high[place]).all(1) & (high[before] > low[place]).all(1)]
        if rle is not None:
            near = np.array([other for other in near.tolist() if rles[other] is not None], np.int64)
            ious = mask_ious([rle], [other for n in near.tolist() if (other := rles[n])], [False] * len(near))
        else:
            ious = box_ious([tuple(boxes[place])], [tuple(boxes[n]) for n in near.tolist()], [False] * len(near))
        same = categories[near] == categories[place]
        limits = np.where(same, min(_or_one(nms), _or_one(across)), _or_one(across))
        if not (ious.reshape(-1) > limits).any():
            kept.append(place)
    return [results[place] for place in kept]


def _or_one(value: float | None) -> float:
    return 1.0 if value is None else value


def _in_pixels(area: tuple[float, str] | None, size: PixelSize | None) -> float | None:
    if area is None:
        return None
    return area[0] if size is None else size.square_pixels(*area)


def area_of(result: Result, height: int, width: int) -> float:
    """The pixels of a result's mask, or the area of its box where it has none."""
    if result.segmentation is not None:
        return rle_area(to_rle(result.segmentation, height, width))
    return result.bbox[2] * result.bbox[3] if result.bbox is not None else 0.0


def touches_edge(result: Result, height: int, width: int) -> bool:
    """Whether a result has pixels at the border of its picture, so that it may go on outside."""
    box = result.bbox
    if result.segmentation is not None:
        box = rle_bbox(to_rle(result.segmentation, height, width))
    if box is None or not box[2] or not box[3]:
        return False
    return box[0] < 1 or box[1] < 1 or box[0] + box[2] > width - 1 or box[1] + box[3] > height - 1
