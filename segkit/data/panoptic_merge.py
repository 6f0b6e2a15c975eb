"""Things and stuff as one map, in which each pixel is of one segment or of none.

The heuristic of Panoptic FPN (Kirillov et al. 2019, https://arxiv.org/abs/1901.02446, section 3): instances are laid
down by falling score, each without the pixels that are taken; one of which half is taken is left out. Where no instance
is, stuff is what the semantic branch says, and regions that are too small are left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from segkit.data.masks import crop_to_rle, rle_crop, tight_crop, to_rle
from segkit.data.records import Result

LEAST_SCORE = 0.5
"""Instances of a lower score are not laid down."""
_MOST_TAKEN = 0.5  # share of an instance that others may have taken
_LEAST_STUFF = 4096 / (640 * 480)  # share of the image: the 4096 pixels of the paper, in an image of COCO's usual size


@dataclass(frozen=True, slots=True)
class Segment:
    """A thing, or all regions of a category that is stuff.

    Attributes:
        number: Its id in the map.
        category_id: Its category.
        score: Of the instance; of stuff, the mean probability of its pixels.
        area: Pixels.
        bbox: Its box, xywh in pixels.
        isthing: Whether it is a thing.
    """

    number: int
    category_id: int
    score: float
    area: int
    bbox: tuple[int, int, int, int]
    isthing: bool


@dataclass(frozen=True, slots=True)
class Panoptic:
    """The segments of an image: ``numbers`` has the id of each pixel's segment [H, W], 0 where there is none."""

    numbers: npt.NDArray[np.int32]
    segments: tuple[Segment, ...]

    def label_map(self, labels: Mapping[int, int]) -> npt.NDArray[np.uint8]:
        """The label of each pixel [H, W], 0 where it has no segment; ``labels`` are those of category ids."""
        table = np.zeros(len(self.segments) + 1, np.uint8)
        for each in self.segments:
            table[each.number] = labels[each.category_id]
        return table[self.numbers]

    def stuff(self) -> list[Result]:
        """The regions of stuff, as results."""
        height, width = self.numbers.shape
        found = []
        for each in (segment for segment in self.segments if not segment.isthing):
            x, y, w, h = each.bbox
            inside = self.numbers[y : y + h, x : x + w] == each.number
            rle = crop_to_rle(inside, y, x, height, width)
            found.append(Result(0, each.category_id, each.score, (float(x), float(y), float(w), float(h)), rle))
        return found


@dataclass(frozen=True, slots=True)
class ClassMap:
    """The most probable class of each pixel [H, W], and its probability [H, W]."""

    classes: npt.NDArray[np.uint8]
    probability: npt.NDArray[np.float32]


def class_map_in_image(
    probabilities: npt.NDArray[np.float32], stride: int, model_size: tuple[int, int], size: tuple[int, int]
) -> ClassMap:
    """The class of each pixel of an image, from probabilities in cells of the image as the model got it.

    Probabilities are interpolated between the centres of cells, one class after the other.

    Args:
        probabilities: [C, h, w].
        stride: Pixels to a cell, in the frame of the model.
        model_size: Height and width of that frame.
        size: Height and width of the image.
    """
    height, width = size
    down, across = model_size[0] / (height * stride), model_size[1] / (width * stride)  # cells to a pixel
    to_cells = np.array([[across, 0, across / 2 - 0.5], [0, down, down / 2 - 0.5]])
    classes, best = np.zeros(size, np.uint8), np.full(size, -1.0, np.float32)
    for number, each in enumerate(probabilities):
        here = cv2.warpAffine(
            np.ascontiguousarray(each, np.float32), to_cells, (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        more = here > best
        classes[more], best[more] = number, here[more]
    return ClassMap(classes, best)


def merge_panoptic(
    results: Sequence[Result], found: ClassMap, stuff: Mapping[int, int], least_score: float = LEAST_SCORE
) -> Panoptic:
    """The segments of an image.

    Args:
        results: Its instances with masks, in any order.
        found: The class of each pixel.
        stuff: The category ids of the classes that are stuff.
        least_score: Instances of a lower score are not laid down.
    """
    height, width = found.classes.shape
    numbers = np.zeros((height, width), np.int32)
    segments: list[Segment] = []
    certain = [each for each in results if each.score >= least_score and each.segmentation is not None]
    for result in sorted(certain, key=lambda each: -each.score):
        crop = rle_crop(to_rle(result.segmentation or [], height, width))
        if crop is None:
            continue
        top, left, mask = crop
        window = numbers[top : top + mask.shape[0], left : left + mask.shape[1]]
        free = (mask > 0) & (window == 0)
        area = int(free.sum())
        if not area or area < (1 - _MOST_TAKEN) * int((mask > 0).sum()):
            continue
        number = len(segments) + 1
        window[free] = number
        segments.append(Segment(number, result.category_id, result.score, area, _box(free, top, left), True))
    for place, category_id in stuff.items():
        region = (found.classes == place) & (numbers == 0)
        area = int(region.sum())
        if not area or area < _LEAST_STUFF * region.size:
            continue
        number = len(segments) + 1
        numbers[region] = number
        score = float(found.probability[region].mean())
        segments.append(Segment(number, category_id, score, area, _box(region, 0, 0), False))
    return Panoptic(numbers, tuple(segments))


def _box(mask: npt.NDArray[np.bool_], top: int, left: int) -> tuple[int, int, int, int]:
    """The tight box of a mask that is not empty, whose corner is at a place; xywh."""
    tight = tight_crop(mask)
    assert tight is not None
    return left + tight[1], top + tight[0], tight[2].shape[1], tight[2].shape[0]
