"""LVIS's federated AP: only what was looked for in an image counts against a detection.

Images list the categories that were looked for and not found (``neg_category_ids``) and those of which not every
instance was drawn (``not_exhaustive_category_ids``); detections of anything else there say nothing. Source: Gupta et
al., LVIS (CVPR 2019), and the official ``lvis`` package, whose numbers the engine's are.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segkit.errors import InputError
from segkit.evaluate.coco.engine import evaluate_lvis
from segkit.evaluate.coco.inputs import Numbers, Pair
from segkit.formats.coco.file import read_json

_LISTS = ("neg_category_ids", "not_exhaustive_category_ids")
_BY_FREQUENCY = ("APr", "APc", "APf")
Scores = dict[str, dict[str, float]]


def lvis_scores(path: Path, pair: Pair, numbers: Numbers, kinds: Sequence[str]) -> tuple[Scores, list[str]]:
    """LVIS's numbers by kind of comparison, and what must be said of them.

    Args:
        path: The annotation file that the truth was read from.
        pair: Annotations and results.
        numbers: Of the file's images and categories.
        kinds: Any of segm and bbox; boundary has no federated form and is passed over.

    Raises:
        InputError: The file does not say what was looked for.
    """
    top = read_json(path)
    images = {numbers.images[image["id"]]: image for image in top["images"]}
    bare = [
        str(image.get("file_name", image["id"]))
        for image in top["images"]
        if not all(isinstance(image.get(k), list) for k in _LISTS)
    ]
    if bare:
        raise InputError(
            f"{path}: {len(bare)} images do not list {' and '.join(_LISTS)}; the first is {bare[0]}",
            "only annotations in LVIS's form can be scored with --lvis; leave it out for COCO's AP",
        )
    frequency = {numbers.categories[c["id"]]: c.get("frequency") for c in top["categories"]}
    graded = all(value in ("r", "c", "f") for value in frequency.values())
    truth: dict[str, Any] = {
        "images": [
            image
            | {
                name: [numbers.categories[c] for c in images[image["id"]][name] if c in numbers.categories]
                for name in _LISTS
            }
            for image in pair.truth["images"]
        ],
        "annotations": pair.truth["annotations"],
        "categories": [c | {"frequency": frequency[c["id"]] if graded else "f"} for c in pair.truth["categories"]],
    }
    scores = {kind: evaluate_lvis(truth, pair.results, kind) for kind in ("segm", "bbox") if kind in kinds}
    if graded:
        return scores, []
    kept = {kind: {n: v for n, v in figures.items() if n not in _BY_FREQUENCY} for kind, figures in scores.items()}
    return kept, ["the categories have no frequency (r, c, f): LVIS's AP by frequency is left out"]
