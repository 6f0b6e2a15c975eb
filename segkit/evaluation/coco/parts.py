"""Files that are evaluated a part of their images at a time, as the engine keeps the overlaps of all pairs in memory.

A thousand images of a thousand cells each have a thousand million pairs, and so eight gigabytes. The outcomes of parts
are joined and summed as those of batches are (``segkit.evaluation.coco.streaming``): the same numbers to the last bit.
"""

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from segkit.data.read_file import read_file
from segkit.evaluation.coco.accumulate import accumulate
from segkit.evaluation.coco.engine import IouType, PrecisionRecall
from segkit.evaluation.coco.instance_metrics import COCO_MAX_DETS
from segkit.evaluation.coco.outcomes import Outcomes, match_files, merge

MOST_PAIRS = 50_000_000  # overlaps in memory at once, of eight bytes
Places = Mapping[tuple[int, int], int]  # a number by image and category


class _Truth(msgspec.Struct):
    images: list[msgspec.Raw]
    annotations: list[msgspec.Raw]
    categories: msgspec.Raw


class _Of(msgspec.Struct, gc=False):
    image_id: int


class _Image(msgspec.Struct, gc=False):
    id: int


def num_pairs(instances: Places, results: Places) -> Counter[int]:
    """How many pairs of a result and an annotation of its category each image has."""
    pairs: Counter[int] = Counter()
    for (image_id, category_id), number in results.items():
        pairs[image_id] += number * instances.get((image_id, category_id), 0)
    return pairs


def evaluate_in_parts(
    truth: Path,
    results: Path,
    iou_types: Sequence[IouType],
    max_dets: list[int],
    category_ids: Sequence[int],
    pairs: Mapping[int, int],
) -> dict[IouType, PrecisionRecall]:
    """COCO's numbers of two files that need no correction, by IoU type.

    Args:
        truth: The annotation file.
        results: The results file.
        iou_types: What is compared.
        max_dets: Limits on the detections of a category in an image, rising.
        category_ids: All categories.
        pairs: As ``num_pairs`` counts them.
    """
    found: dict[IouType, list[Outcomes]] = {iou_type: [] for iou_type in iou_types}
    with tempfile.TemporaryDirectory() as folder:
        for files in _parts(truth, results, pairs, Path(folder)):
            for iou_type, parts in found.items():
                parts.append(match_files(str(files[0]), str(files[1]), iou_type, max_dets[-1]))
    ids = sorted(category_ids)
    return {
        iou_type: accumulate(merge(parts, len(ids)), ids, max_dets, curves_from=len(COCO_MAX_DETS) - 1)
        for iou_type, parts in found.items()
    }


def _parts(truth: Path, results: Path, pairs: Mapping[int, int], folder: Path) -> Iterator[tuple[Path, Path]]:
    """Files with a part of the images each, under the same two names, one after another."""
    top = msgspec.json.decode(read_file(truth), type=_Truth)
    images = {msgspec.json.decode(raw, type=_Image).id: raw for raw in top.images}
    annotations, found = (
        _by_image(records)
        for records in (top.annotations, msgspec.json.decode(read_file(results), type=list[msgspec.Raw]))
    )
    paths = folder / "truth.json", folder / "results.json"
    for part in _groups(list(images), pairs, found):
        document = {
            "images": [images[each] for each in part],
            "annotations": [raw for each in part for raw in annotations.get(each, ())],
            "categories": top.categories,
        }
        paths[0].write_bytes(msgspec.json.encode(document))
        paths[1].write_bytes(msgspec.json.encode([raw for each in part for raw in found.get(each, ())]))
        yield paths


def _by_image(records: Sequence[msgspec.Raw]) -> dict[int, list[msgspec.Raw]]:
    groups: dict[int, list[msgspec.Raw]] = {}
    for raw in records:
        groups.setdefault(msgspec.json.decode(raw, type=_Of).image_id, []).append(raw)
    return groups


def _groups(
    images: Sequence[int], pairs: Mapping[int, int], found: Mapping[int, Sequence[msgspec.Raw]]
) -> list[list[int]]:
    """The images in groups of about ``MOST_PAIRS`` pairs; each group has results, as the engine reads no empty file."""
    groups: list[list[int]] = []
    last: list[int] = []
    number = 0
    for image in images:
        last.append(image)
        number += pairs.get(image, 0)
        if number >= MOST_PAIRS and any(each in found for each in last):
            groups.append(last)
            last, number = [], 0
    if groups and not any(each in found for each in last):
        groups[-1] += last
    elif last:
        groups.append(last)
    return groups
