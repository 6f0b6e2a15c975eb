"""Which of a picture's instances are kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from segkit.data.masks import rle_area, rle_bbox, to_rle
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
    """

    scores: Mapping[int, float]
    min_area: tuple[float, str] | None = None
    max_area: tuple[float, str] | None = None
    edge: Edge = "keep"

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
            if result.category_id not in self.scores or result.score < self.scores[result.category_id]:
                continue
            if low is not None or high is not None:
                area = area_of(result, height, width)
                if (low is not None and area < low) or (high is not None and area > high):
                    continue
            if self.edge == "drop" and touches_edge(result, height, width):
                continue
            kept.append(result)
        return tuple(kept)


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
