"""LVIS's federated AP: a detection is a false positive only where its category was annotated in the image.

Images list the categories that are not in them (``neg_category_ids``) and those of which not every instance is
annotated (``not_exhaustive_category_ids``); detections of other categories are ignored. Source: Gupta et al., LVIS
(CVPR 2019), and the official ``lvis`` package, which the engine's numbers equal.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from segkit.errors import InputError
from segkit.evaluation.coco.engine import COCO_IOU_TYPES, EvaluationInputs, evaluate_lvis
from segkit.evaluation.coco.ids import IntegerIds
from segkit.formats.coco.values import identity
from segkit.formats.json_file import read_json

_LISTS = ("neg_category_ids", "not_exhaustive_category_ids")
_BY_FREQUENCY = ("APr", "APc", "APf")
Scores = dict[str, dict[str, float]]


def lvis_scores(
    path: Path, inputs: EvaluationInputs, ids: IntegerIds, iou_types: Sequence[str]
) -> tuple[Scores, list[str]]:
    """LVIS's numbers by IoU type, and warnings.

    Args:
        path: The annotation file that the ground truth was read from.
        inputs: Annotations and results.
        ids: The integer ids of the file's images and categories.
        iou_types: Any of segm and bbox; boundary has no federated form and is left out.

    Raises:
        InputError: The file does not have LVIS's lists.
    """
    top = read_json(path)
    _check_lists(path, top["images"])
    listed = {ids.images[identity(image, "id")]: image for image in top["images"]}
    frequency = {ids.categories[identity(c, "id")]: c.get("frequency") for c in top["categories"]}
    graded = all(value in ("r", "c", "f") for value in frequency.values())
    truth: dict[str, Any] = {
        "images": [
            image | {name: _known(listed[image["id"]][name], ids) for name in _LISTS}
            for image in inputs.truth["images"]
        ],
        "annotations": inputs.truth["annotations"],
        "categories": [c | {"frequency": frequency[c["id"]] if graded else "f"} for c in inputs.truth["categories"]],
    }
    federated = replace(inputs, truth=truth)
    scores: Scores = {each: evaluate_lvis(federated, each) for each in COCO_IOU_TYPES if each in iou_types}
    if graded:
        return scores, []
    kept = {each: {n: v for n, v in numbers.items() if n not in _BY_FREQUENCY} for each, numbers in scores.items()}
    return kept, ["the categories have no frequency (r, c, f): LVIS's AP by frequency is left out"]


def _known(category_ids: list[Any], ids: IntegerIds) -> list[int]:
    """The integer ids of the categories in a list of an image; others count for nothing."""
    known = []
    for each in category_ids:
        with contextlib.suppress(ValueError):
            if (number := identity({"id": each}, "id")) in ids.categories:
                known.append(ids.categories[number])
    return known


def _check_lists(path: Path, images: list[dict[str, Any]]) -> None:
    bare = [
        str(image.get("file_name", image["id"]))
        for image in images
        if not all(isinstance(image.get(name), list) for name in _LISTS)
    ]
    if bare:
        raise InputError(
            f"{path}: {len(bare)} images do not list {' and '.join(_LISTS)}; the first is {bare[0]}",
            "only annotations in LVIS's form can be scored with --lvis; leave it out for COCO's AP",
        )
