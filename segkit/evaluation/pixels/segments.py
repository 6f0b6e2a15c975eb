"""Panoptic quality of things and stuff, where each pixel is of one segment.

Kirillov et al. 2019 (https://arxiv.org/abs/1801.00868), with the rules of panopticapi's ``pq_compute``: pixels about
which nothing is known do not count, nor predictions that lie on them, or on a crowd of their category, by more than a
half.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from segkit.data.masks import rle_crop, to_rle
from segkit.data.panoptic_merge import Panoptic
from segkit.data.records import Annotation, Category, Dataset, Image
from segkit.evaluation.analysis.panoptic import PanopticSums
from segkit.evaluation.coco.ids import unique_names
from segkit.evaluation.metrics import PanopticMetrics

_UNKNOWN, _SEVERAL = -1, -2


@dataclass(frozen=True, slots=True)
class TrueSegments:
    """The annotated segments of an image.

    Attributes:
        numbers: The segment of each pixel [H, W]: 0 where nothing is, -1 where nothing is known.
        categories: The category id of each segment, from number 1 on.
        crowd: Whether each is a crowd.
    """

    numbers: npt.NDArray[np.int32]
    categories: tuple[int, ...]
    crowd: tuple[bool, ...]


def true_segments(
    image: Image, annotations: Sequence[Annotation], stuff: frozenset[int], uncovered: str
) -> TrueSegments:
    """The segments of an image: later annotations over earlier ones; stuff, and a category's crowds, are one each.

    Where crowds of several categories lie over each other, nothing is known: so are regions to ignore written.

    Args:
        image: The image.
        annotations: Its annotations.
        stuff: Ids of the categories that are stuff.
        uncovered: ``background`` or ``ignore``: what pixels under no annotation are.
    """
    numbers = np.full((image.height, image.width), _UNKNOWN if uncovered == "ignore" else 0, np.int32)
    number_of: dict[tuple[int, bool, int], int] = {}
    for place, each in enumerate(annotations):
        crop = rle_crop(to_rle(each.segmentation, image.height, image.width)) if each.segmentation else None
        if crop is None:
            continue
        whole = bool(each.iscrowd) or each.category_id in stuff
        key = (each.category_id, bool(each.iscrowd), -1 if whole else place)
        number = number_of.setdefault(key, len(number_of) + 1)
        top, left, mask = crop
        window = numbers[top : top + mask.shape[0], left : left + mask.shape[1]]
        inside = mask > 0
        if each.iscrowd:
            others = [at for (_, crowd, _), at in number_of.items() if crowd and at != number]
            several = inside & np.isin(window, [*others, _SEVERAL])
            window[inside] = number
            window[several] = _SEVERAL
        else:
            window[inside] = number
    numbers[numbers == _SEVERAL] = _UNKNOWN
    return TrueSegments(numbers, tuple(key[0] for key in number_of), tuple(key[1] for key in number_of))


def segment_sums(truth: TrueSegments, found: Panoptic) -> dict[int, PanopticSums]:
    """The sums of an image by category id."""
    columns = len(found.segments) + 1
    pairs = (truth.numbers.astype(np.int64) + 1) * columns + found.numbers
    both = np.bincount(pairs.ravel(), minlength=(len(truth.categories) + 2) * columns).reshape(-1, columns)
    unknown, both = both[0], both[1:]  # by found segment; [truth from 0 on, found from 0 on]
    true_area, area = both.sum(axis=1) + 0, both.sum(axis=0) + unknown
    sums: dict[int, PanopticSums] = {}
    matched: set[int] = set()
    crowds: dict[int, int] = {}
    for number, (category, crowd) in enumerate(zip(truth.categories, truth.crowd, strict=True), 1):
        if crowd:
            crowds[category] = number
            continue
        if not true_area[number]:
            continue  # hidden, or ignored
        iou, match = 0.0, 0
        for segment in found.segments:
            at = segment.number
            if segment.category_id == category and (inside := both[number, at]):
                own = inside / (true_area[number] + area[at] - inside - unknown[at])
                if own > 0.5:  # at most one is: segments do not overlap
                    iou, match = float(own), at
        matched |= {match}
        one = PanopticSums(iou, 1, 0, 0) if match else PanopticSums(fn=1)
        sums[category] = sums.get(category, PanopticSums()) + one
    for segment in found.segments:
        at, category = segment.number, segment.category_id
        excused = unknown[at] + (both[crowds[category], at] if category in crowds else 0)
        if at not in matched and excused <= 0.5 * area[at]:
            sums[category] = sums.get(category, PanopticSums()) + PanopticSums(fp=1)
    return sums


@dataclass(slots=True)
class SegmentScores:
    """The sums of images, by image id and category id: they are added in the order of the ids, whatever rank had them.

    Attributes:
        dataset: The ground truth.
        stuff: Ids of the categories that are stuff.
        images: The sums.
    """

    dataset: Dataset
    stuff: frozenset[int]
    images: dict[int, dict[int, PanopticSums]] = field(default_factory=dict)

    def add(self, image: Image, annotations: Sequence[Annotation], found: Panoptic) -> None:
        """Score one image."""
        truth = true_segments(image, annotations, self.stuff, self.dataset.uncovered)
        self.images[image.id] = segment_sums(truth, found)

    def metrics(self, images: Mapping[int, dict[int, PanopticSums]]) -> PanopticMetrics:
        """PQ and its factors, from the sums of all images: means over the categories that occur."""
        by_category: dict[int, PanopticSums] = {}
        for _, sums in sorted(images.items(), key=lambda pair: str(pair[0])):
            for category, own in sums.items():
                by_category[category] = by_category.get(category, PanopticSums()) + own
        names = unique_names({each.id: each.name for each in self.dataset.categories})
        rows = {each.id: by_category.get(each.id, PanopticSums()).quality() for each in self.dataset.categories}
        every, things, regions = (
            _mean([rows[each.id] for each in self.dataset.categories if (each.id in self.stuff) in kinds])
            for kinds in ((False, True), (False,), (True,))
        )
        return PanopticMetrics(
            **every,
            things=things,
            stuff=regions,
            per_category={names[each.id]: self._row(each, rows, by_category) for each in self.dataset.categories},
        )

    def _row(
        self, category: Category, rows: dict[int, dict[str, float]], sums: dict[int, PanopticSums]
    ) -> dict[str, float]:
        own = sums.get(category.id, PanopticSums())
        counts = {"tp": own.tp, "fp": own.fp, "fn": own.fn, "isthing": int(category.id not in self.stuff)}
        return rows[category.id] | counts


def _mean(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean over categories that occur; -1 where none does."""
    known = [row for row in rows if row["PQ"] >= 0]
    return {name: float(np.mean([row[name] for row in known])) if known else -1.0 for name in ("PQ", "SQ", "RQ")}
