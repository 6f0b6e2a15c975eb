"""Annotations and results, checked and completed: the plain dicts that COCOeval takes.

pycocotools expects an ``area`` on every annotation, integer ids from 1, and a box with every mask; without them it
crashes or counts wrongly. Here each such case is corrected, with a warning where a number depends on it, or raises an
InputError.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from segkit.data.masks import rle_area, rle_bbox, to_rle
from segkit.data.records import Dataset, Result
from segkit.errors import InputError
from segkit.evaluation.coco.engine import EvaluationInputs, IouType, Records
from segkit.evaluation.coco.ids import IntegerIds, category_names
from segkit.formats.coco.segmentation import check_run_lengths
from segkit.units import counted

Sizes = dict[Any, tuple[int, int]]


def prepare_inputs(
    dataset: Dataset, results: Sequence[Result], iou_types: Sequence[IouType], ids: IntegerIds | None = None
) -> EvaluationInputs:
    """Complete annotations and results with what COCOeval needs.

    Args:
        dataset: The ground truth, or the part of it that belongs to some images.
        results: Predictions for its images, in any order.
        iou_types: What is compared.
        ids: Those of the whole dataset, where this is a part.

    Raises:
        InputError: A result is of an unknown image, or lacks what is compared.
    """
    ids = ids or IntegerIds.of(dataset)
    sizes = {ids.images[image.id]: (image.height, image.width) for image in dataset.images}
    if unknown := {result.image_id for result in results} - {image.id for image in dataset.images}:
        raise InputError(
            f"{counted(len(unknown), 'image of the results is', 'images of the results are')} not in the annotations: "
            f"{_first_few(sorted(str(i) for i in unknown))}",
            "are these the annotations that the results were made for? name others with --data",
        )
    empty = sum(not a.segmentation for a in dataset.annotations) if "segm" in iou_types else 0
    annotations = [
        {
            "id": ids.annotations.get(a.id, a.id),
            "image_id": ids.images[a.image_id],
            "category_id": ids.categories[a.category_id],
            "segmentation": a.segmentation or (_no_mask(sizes[ids.images[a.image_id]]) if empty else a.segmentation),
            "bbox": list(a.bbox),
            "area": a.area,
            "iscrowd": a.iscrowd,
        }
        for a in dataset.annotations
    ]
    found, left_out = _result_records(results, ids, sizes, iou_types)
    warnings = []
    if left_out:
        what = "1 result is of a category" if len(left_out) == 1 else f"{len(left_out)} results are of categories"
        from_zero = "; does their tool count categories from 0?" if _count_from_zero(results, ids.categories) else ""
        which = _first_few(sorted(set(left_out)))
        count = "does" if len(left_out) == 1 else "do"
        warnings.append(f"{what} that the data does not have, and {count} not count: {which}{from_zero}")
    if empty:
        have = counted(empty, "annotation has", "annotations have")
        warnings.append(f"{have} an empty segmentation: masks that can only be false negatives")
    truth = {
        "images": [{"id": i, "height": h, "width": w} for i, (h, w) in sizes.items()],
        "annotations": annotations,
        "categories": [{"id": ids.categories[c.id], "name": c.name} for c in dataset.categories],
    }
    return EvaluationInputs(truth, found, category_names(dataset, ids), tuple(warnings))


def check_comparable(dataset: Dataset, iou_types: Sequence[str]) -> None:
    """Check that the annotations have what is compared.

    Raises:
        InputError: Masks are compared, and no annotation has one.
    """
    if (
        set(iou_types) & {"segm", "boundary"}
        and dataset.annotations
        and not any(a.segmentation for a in dataset.annotations)
    ):
        raise InputError(
            f"annotation {dataset.annotations[0].id} has no segmentation to compare masks with",
            "score its boxes: --iou bbox",
        )


def comparable_iou_types(dataset: Dataset, results: Sequence[Result]) -> tuple[IouType, ...]:
    """What both sides have: masks, boxes or both; masks where neither side has records."""
    first = results[0] if results else None
    masks = not dataset.annotations or any(a.segmentation for a in dataset.annotations)
    segm = masks and (first is None or first.segmentation is not None)
    bbox = first is None or first.bbox is not None
    iou_types: tuple[tuple[IouType, bool], ...] = (("segm", segm), ("bbox", bbox))
    return tuple(iou_type for iou_type, present in iou_types if present) or ("segm",)


def resolve_max_dets(dataset: Dataset, max_dets: str) -> int:
    """The limit on detections of a category in an image: a number, or ``auto``: 100, or the most instances."""
    if max_dets != "auto":
        return int(max_dets)
    instances = Counter((a.image_id, a.category_id) for a in dataset.annotations if not a.iscrowd)
    return max(100, max(instances.values(), default=0))


def _result_records(
    results: Sequence[Result], ids: IntegerIds, sizes: Sizes, iou_types: Sequence[IouType]
) -> tuple[Records, list[str]]:
    """Results with the keys that ``COCO.loadRes`` adds, and the unknown categories of those that are left out.

    As in loadRes, the first result decides for all: if it has a box, areas are those of the boxes, else of the masks.
    """
    boxed = bool(results) and results[0].bbox is not None
    records: Records = []
    left_out = []
    for number, r in enumerate(results):
        if not math.isfinite(r.score):
            raise InputError(f"result {number}: its score is {r.score}", "a score must be a finite number")
        if "segm" in iou_types and r.segmentation is None:
            raise InputError(f"result {number} has no segmentation", "score its boxes: --iou bbox")
        if r.category_id not in ids.categories:
            left_out.append(str(r.category_id))
            continue
        record: dict[str, Any] = {
            "id": number + 1,
            "image_id": ids.images[r.image_id],
            "category_id": ids.categories[r.category_id],
            "score": r.score,
            "iscrowd": 0,
        }
        size = sizes[record["image_id"]]
        if r.segmentation is not None:
            if isinstance(r.segmentation, dict):
                try:
                    check_run_lengths(r.segmentation, *size)
                except ValueError as error:
                    raise InputError(f"result {number}: {error}", "were images resized in between?") from error
            record["segmentation"] = r.segmentation or _no_mask(size)
        if r.bbox is not None and (boxed or r.segmentation is None):
            record |= {"bbox": list(r.bbox), "area": r.bbox[2] * r.bbox[3]}
        elif r.segmentation is not None:
            rle = to_rle(r.segmentation, *size)
            record |= {"area": rle_area(rle), "bbox": list(r.bbox or rle_bbox(rle))}
        else:
            raise InputError(f"result {number} has neither a box nor a segmentation")
        records.append(record)
    return records, left_out


def _count_from_zero(results: Sequence[Result], categories: Mapping[Any, int]) -> bool:
    """Whether the categories of the results are those of the data less one."""
    found = {result.category_id for result in results}
    numbers = {number for number in categories if isinstance(number, int)}
    return 0 in found - numbers and found <= {number - 1 for number in numbers}


def _no_mask(size: tuple[int, int]) -> dict[str, Any]:
    return {"size": list(size), "counts": [size[0] * size[1]]}


def _first_few(items: list[str]) -> str:
    return ", ".join(items[:3]) + (", ..." if len(items) > 3 else "")
