"""Truth and results side by side, checked and completed: the plain dicts that COCO's evaluators take.

pycocotools assumes much of its input (an ``area`` on every annotation, integer ids from 1, a box beside every mask)
and crashes or miscounts without a word where that does not hold. Here each such case is put right, with a warning
where a number depends on it, or ends in one clear message.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from segkit.data.masks import rle_area, rle_bbox, to_rle
from segkit.data.polygons import run_totals
from segkit.data.records import Dataset, Result
from segkit.errors import InputError
from segkit.evaluate.coco.engine import IouType, Records

_LARGEST = 2**62
Sizes = dict[Any, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Pair:
    """What is compared, and what has to be said about it; ``truth`` is a COCO document, ``names`` by category id."""

    truth: dict[str, Any]
    results: Records
    names: dict[int, str]
    warnings: tuple[str, ...] = ()

    def with_truth(self, truth: dict[str, Any]) -> "Pair":
        """The same results beside another document."""
        return replace(self, truth=truth)


@dataclass(frozen=True, slots=True)
class Numbers:
    """The whole numbers that COCOeval needs for ids; ids that are others get numbers in their sorted order."""

    images: dict[Any, int]
    categories: dict[Any, int]
    annotations: dict[Any, int]  # only those that differ from the id

    @classmethod
    def of(cls, dataset: Dataset) -> "Numbers":
        """The numbers of a dataset."""
        ids = [a.id for a in dataset.annotations]
        return cls(
            _numbers([i.id for i in dataset.images]),
            _numbers([c.id for c in dataset.categories]),
            # The id 0 stays what it is: COCOeval's number depends on it.
            {} if _whole(ids) else {i: n for n, i in enumerate(ids, 1) if i != 0},
        )


def pair_of(
    dataset: Dataset, results: Sequence[Result], kinds: Sequence[IouType], numbers: Numbers | None = None
) -> Pair:
    """Complete a dataset's annotations and results for the comparisons that are asked for.

    Args:
        dataset: The truth, or the part of it that belongs to some images.
        results: Predictions for its images, in any order.
        kinds: What is to be compared.
        numbers: Those of the whole dataset, where this is a part.

    Raises:
        InputError: A result is of an unknown image, or lacks what is compared.
    """
    numbers = numbers or Numbers.of(dataset)
    sizes = {numbers.images[image.id]: (image.height, image.width) for image in dataset.images}
    named = {numbers.categories[category.id]: category.name for category in dataset.categories}
    if strangers := {result.image_id for result in results} - {image.id for image in dataset.images}:
        raise InputError(
            f"{len(strangers)} images of the results are not in the annotations: "
            f"{_some(sorted(str(i) for i in strangers))}",
            "are these the annotations that the results were made for? name others with --data",
        )
    annotations, empty = _annotations(dataset, numbers, sizes, "segm" in kinds)
    found, unknown = _found(results, numbers, sizes, kinds)
    warnings = []
    if unknown:
        what = "1 result is of a category" if len(unknown) == 1 else f"{len(unknown)} results are of categories"
        warnings.append(f"{what} that the data does not have, and does not count: {_some(sorted(set(unknown)))}")
    if empty:
        warnings.append(f"{empty} annotations have an empty segmentation: as masks they can only be missed")
    truth = {
        "images": [{"id": i, "height": h, "width": w} for i, (h, w) in sizes.items()],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in named.items()],
    }
    return Pair(truth, found, unique_names(named), tuple(warnings))


def check_comparable(dataset: Dataset, kinds: Sequence[str]) -> None:
    """See that there is something to compare with.

    Raises:
        InputError: Masks are to be compared, and no annotation has one.
    """
    if (
        set(kinds) & {"segm", "boundary"}
        and dataset.annotations
        and not any(a.segmentation for a in dataset.annotations)
    ):
        raise InputError(
            f"annotation {dataset.annotations[0].id} has no segmentation to compare masks with",
            "score its boxes: --iou bbox",
        )


def kinds_there(dataset: Dataset, results: Sequence[Result]) -> tuple[IouType, ...]:
    """What both sides can be compared by: masks, boxes or both; masks where there is nothing to tell from."""
    first = results[0] if results else None
    masks = not dataset.annotations or any(a.segmentation for a in dataset.annotations)
    segm = masks and (first is None or first.segmentation is not None)
    bbox = first is None or first.bbox is not None
    kinds: tuple[tuple[IouType, bool], ...] = (("segm", segm), ("bbox", bbox))
    return tuple(kind for kind, there in kinds if there) or ("segm",)


def starts_at_zero(truth: dict[str, Any]) -> bool:
    """Whether an annotation has the id 0, whose match COCOeval takes for none."""
    return any(annotation["id"] == 0 for annotation in truth["annotations"])


def renumbered(truth: dict[str, Any]) -> dict[str, Any]:
    """The same document with annotation ids from 1."""
    annotations = [annotation | {"id": number} for number, annotation in enumerate(truth["annotations"], 1)]
    return truth | {"annotations": annotations}


def max_dets_needed(dataset: Dataset, asked: str) -> int:
    """The cap on detections of a category in an image: what was asked for, or (auto) at least the most instances."""
    if asked != "auto":
        return int(asked)
    pairs = Counter((a.image_id, a.category_id) for a in dataset.annotations if not a.iscrowd)
    return max(100, max(pairs.values(), default=0))


def _numbers(ids: list[Any]) -> dict[Any, int]:
    if _whole(ids):
        return {i: i for i in ids}
    alike = all(isinstance(i, int) for i in ids)
    return {i: number for number, i in enumerate(sorted(ids, key=None if alike else str), 1)}


def _whole(ids: list[Any]) -> bool:
    """Whether ids are numbers that every engine takes."""
    return all(type(i) is int and abs(i) < _LARGEST for i in ids)


def _annotations(dataset: Dataset, numbers: Numbers, sizes: Sizes, masks: bool) -> tuple[Records, int]:
    """Annotations with every key, and how many have no mask.

    Raises:
        InputError: A mask is not of its image's size.
    """
    records, empty = [], 0
    for a in dataset.annotations:
        image_id = numbers.images[a.image_id]
        segmentation: Any = a.segmentation
        if not segmentation and masks:
            segmentation, empty = _no_mask(sizes[image_id]), empty + 1
        _check_size(segmentation, sizes[image_id], f"annotation {a.id}")
        records.append(
            {
                "id": numbers.annotations.get(a.id, a.id),
                "image_id": image_id,
                "category_id": numbers.categories[a.category_id],
                "segmentation": segmentation,
                "bbox": list(a.bbox),
                "area": a.area,
                "iscrowd": a.iscrowd,
            }
        )
    return records, empty


def _found(
    results: Sequence[Result], numbers: Numbers, sizes: Sizes, kinds: Sequence[IouType]
) -> tuple[Records, list[str]]:
    """Results with the keys that ``COCO.loadRes`` adds, and the unknown categories of those that are left out.

    loadRes asks the first result what all of them hold: of masks with boxes beside them the area is the box's.
    """
    boxed = bool(results) and results[0].bbox is not None
    records: Records = []
    unknown = []
    for number, r in enumerate(results):
        if not math.isfinite(r.score):
            raise InputError(f"result {number}: its score is {r.score}", "a score must be a finite number")
        if "segm" in kinds and r.segmentation is None:
            raise InputError(f"result {number} has no segmentation", "score its boxes: --iou bbox")
        if r.category_id not in numbers.categories:
            unknown.append(str(r.category_id))
            continue
        record: dict[str, Any] = {
            "id": number + 1,
            "image_id": numbers.images[r.image_id],
            "category_id": numbers.categories[r.category_id],
            "score": r.score,
            "iscrowd": 0,
        }
        size = sizes[record["image_id"]]
        if r.segmentation is not None:
            _check_size(r.segmentation, size, f"result {number}")
            record["segmentation"] = r.segmentation
        if r.bbox is not None and (boxed or r.segmentation is None):
            record |= {"bbox": list(r.bbox), "area": r.bbox[2] * r.bbox[3]}
        elif r.segmentation is not None:
            rle = to_rle(r.segmentation, *size)
            record |= {"area": rle_area(rle), "bbox": list(r.bbox or rle_bbox(rle))}
        else:
            raise InputError(f"result {number} has neither a box nor a segmentation")
        records.append(record)
    return records, unknown


def _check_size(segmentation: Any, size: tuple[int, int], whose: str) -> None:
    if not isinstance(segmentation, dict):
        return
    if tuple(segmentation["size"]) != size:
        own, theirs = (f"{w} x {h}" for h, w in (segmentation["size"], size))
        raise InputError(f"{whose}: its mask is {own} pixels, its image {theirs}", "were images resized in between?")
    counts = segmentation["counts"]
    if isinstance(counts, list):
        total = sum(counts) if all(type(run) is int and run >= 0 for run in counts) else -1
    else:
        total = run_totals([counts])[0]
    if total != size[0] * size[1]:
        raise InputError(f"{whose}: the run lengths of its mask do not add up to its image's pixels")


def _no_mask(size: tuple[int, int]) -> dict[str, Any]:
    return {"size": list(size), "counts": [size[0] * size[1]]}


def category_names(dataset: Dataset, numbers: Numbers) -> dict[int, str]:
    """Names by number that tell categories apart, even where two are called the same."""
    return unique_names({numbers.categories[category.id]: category.name for category in dataset.categories})


def unique_names(names: dict[int, str]) -> dict[int, str]:
    """Names that tell things apart: those that stand for several get their number added."""
    count = Counter(names.values())
    while max(count.values(), default=1) > 1:
        names = {number: name if count[name] == 1 else f"{name} ({number})" for number, name in names.items()}
        count = Counter(names.values())
    return names


def _some(items: list[str]) -> str:
    return ", ".join(items[:3]) + (", ..." if len(items) > 3 else "")
