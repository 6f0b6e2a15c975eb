"""A fast path: two files that need no correction are read by the engine itself.

Reading polygons into Python lists costs more than scoring them. If everything but the masks themselves (ids,
references, boxes, scores, mask sizes) is valid, the engine reads the files. All other files go through
``segkit.evaluation.coco.inputs``, which gives the same numbers or reports what is wrong.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from segkit.data.masks import Box
from segkit.data.polygons import REACH, run_totals
from segkit.data.read_file import read_file
from segkit.errors import InputError
from segkit.evaluation.coco.engine import IouType
from segkit.evaluation.coco.kept_run_lengths import LEAST, keep_run_lengths, kept_run_lengths
from segkit.evaluation.coco.parts import num_pairs
from segkit.evaluation.coco.plausible import boxes_warning, copies_warning, coverage_warning

_WHOLE, _SIDE = 2**62, 2**31
_DIGITS = bytes.maketrans(b"123456789E", b"000000000e")  # to look for seven digits in a row without a regex, fast
_FAR = re.compile(rb"(?<![\d.])\d{7}|[eE]")  # a number with seven digits before the point, or with an exponent


class _Rle(msgspec.Struct, gc=False):
    size: tuple[int, int]
    counts: str | list[int]


class _Image(msgspec.Struct, gc=False):
    id: int
    height: int
    width: int


class _Category(msgspec.Struct, gc=False):
    id: int
    name: str


class _Annotation(msgspec.Struct, gc=False):
    id: int
    image_id: int
    category_id: int
    area: float
    iscrowd: int
    bbox: Box
    segmentation: list[msgspec.Raw] | _Rle | None = None


class _Truth(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


class _Result(msgspec.Struct, gc=False):
    image_id: int
    category_id: int
    score: float
    bbox: Box
    segmentation: list[msgspec.Raw] | _Rle | None = None


@dataclass(frozen=True, slots=True)
class PlainFiles:
    """Two files that the engine can read itself, without their masks."""

    truth: Path  # the annotation file, or what stands for it
    images: int
    annotations: int
    names: dict[int, str]
    most: int  # instances of a category in an image
    results: Counter[tuple[int, int]]  # by image and category
    pairs: Counter[int]  # of a result and an annotation of its category, by image
    lowest: float  # score
    highest: float
    oddities: list[str]
    iou_types: tuple[IouType, ...]  # what can be compared


def check_files(truth_path: Path, results_path: Path) -> PlainFiles | None:
    """Check two files; None: they need correction, or are not valid.

    The run lengths of an annotation file with many polygons are kept beside it, and taken in its place.
    """
    kept = kept_run_lengths(truth_path)
    try:
        truth_path, original = kept or truth_path, truth_path
        truth = msgspec.json.decode(read_file(truth_path), type=_Truth)
        results = msgspec.json.decode(read_file(results_path), type=list[_Result])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, InputError):
        return None
    annotations = truth.annotations
    sizes = {image.id: (image.height, image.width) for image in truth.images}
    names = {category.id: category.name for category in truth.categories}
    ids = {annotation.id for annotation in annotations}
    records: list[_Annotation | _Result] = [*annotations, *results]
    masks = {bool(record.segmentation) for record in records}
    plain = (
        annotations
        and results
        and len(masks) == 1
        and len(sizes) == len(truth.images)
        and len(names) == len(truth.categories) == len(set(names.values()))
        and len(ids) == len(annotations)
        and 0 not in ids
        and all(-_WHOLE < number < _WHOLE for numbers in (ids, sizes, names) for number in numbers)
        and all(0 < h < _SIDE and 0 < w < _SIDE and h * w < 2 * _SIDE for h, w in sizes.values())
        and {annotation.iscrowd for annotation in annotations} <= {0, 1}
        and all(math.isfinite(result.score) for result in results)
        and all(r.image_id in sizes and r.category_id in names for r in records)
        and all(max(r.bbox) < REACH and min(r.bbox) > -REACH and min(r.bbox[2:]) >= 0 for r in records)
        and _add_up(records, sizes)
        and _are_plain(part for r in records if isinstance(r.segmentation, list) for part in r.segmentation)
    )
    if not plain:
        return None
    polygons = sum(isinstance(annotation.segmentation, list) for annotation in annotations)
    if polygons >= LEAST:
        keep_run_lengths(original, truth.images, annotations, truth.categories)
    of_results = Counter((r.image_id, r.category_id) for r in results)
    instances = Counter((a.image_id, a.category_id) for a in annotations if not a.iscrowd)
    return PlainFiles(
        truth=truth_path,
        images=len(sizes),
        annotations=len(annotations),
        names=names,
        most=max(instances.values(), default=0),
        results=of_results,
        pairs=num_pairs(Counter((a.image_id, a.category_id) for a in annotations), of_results),
        lowest=min(result.score for result in results),
        highest=max(result.score for result in results),
        oddities=[
            *copies_warning("results", ((r.image_id, r.category_id, r.score, r.bbox) for r in results)),
            *copies_warning("annotations", ((a.image_id, a.category_id, a.area, a.bbox) for a in annotations)),
            *coverage_warning((a.image_id for a in annotations), (r.image_id for r in results)),
            *boxes_warning((r.bbox, sizes[r.image_id]) for r in results),
        ],
        iou_types=("segm", "bbox") if masks == {True} else ("bbox",),
    )


def _are_plain(polygons: Iterable[msgspec.Raw]) -> bool:
    """Whether polygons are whole pairs of coordinates, at least three, and none with a number beyond reach."""
    for polygon in polygons:
        text = bytes(polygon)
        commas = text.count(b",")
        if commas < 5 or commas % 2 == 0:
            return False
        digits = text.translate(_DIGITS)
        if (b"0000000" in digits or b"e" in digits) and _FAR.search(text):
            return False
    return True


def _add_up(records: Sequence[_Annotation | _Result], sizes: dict[int, tuple[int, int]]) -> bool:
    """Whether all RLEs have their image's size, and run lengths that add up to it."""
    rles = [(r.segmentation, sizes[r.image_id]) for r in records if isinstance(r.segmentation, _Rle)]
    if any(rle.size != size for rle, size in rles):
        return False
    listed = [(rle.counts, h * w) for rle, (h, w) in rles if isinstance(rle.counts, list)]
    texts = [(rle.counts, h * w) for rle, (h, w) in rles if isinstance(rle.counts, str)]
    return all(min(counts, default=0) >= 0 and sum(counts) == pixels for counts, pixels in listed) and run_totals(
        [text for text, _ in texts]
    ) == [pixels for _, pixels in texts]
