"""Who computes COCO's numbers: ultrafast-pycocotools, or pycocotools, the reference that it equals to the last bit.

The first line of ``_parts`` chooses. Both are fed the same plain dicts; nothing outside
this module knows which of the two answered.
"""

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from segkit.errors import ConfigError

try:
    import ultrafast_pycocotools as fast
except ImportError:  # no wheel for this machine
    fast = None

has_fast = fast is not None
EngineName = Literal["fast", "pycocotools"]
IouType = Literal["segm", "bbox"]
Records = list[dict[str, Any]]
IGNORED, HIT, MISS = 0, 1, 2  # what became of a detection at a threshold


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What COCOeval computed.

    As ``COCOeval.eval`` holds it: ``precision`` and ``scores`` are [thresholds, recalls, K, areas, caps], ``recall`` is
    [thresholds, K, areas, caps]. ``stats`` are the twelve numbers; ``category_ids`` is the order of K.
    """

    precision: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    stats: list[float]
    category_ids: list[int]


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What became of every counted detection of some pictures: flat arrays [D], by category, image, falling score.

    ``outcome`` is [areas, D, thresholds] of IGNORED, HIT and MISS; ``positives`` [areas, K] counts the annotations
    that can be found; ``slot`` indexes the sorted categories, ``rank`` counts within an image and category.
    """

    slot: npt.NDArray[np.int64]
    image: npt.NDArray[np.int64]
    rank: npt.NDArray[np.int64]
    score: npt.NDArray[np.float64]
    outcome: npt.NDArray[np.uint8]
    positives: npt.NDArray[np.int64]


def engine_name(asked: EngineName) -> str:
    """The library that will answer, with its version."""
    package = "ultrafast-pycocotools" if asked == "fast" and fast is not None else "pycocotools"
    return f"{package} {version(package)}"


def engine_warnings(asked: EngineName) -> list[str]:
    """What must be said where the engine that was asked for is not there."""
    if asked == "pycocotools" or fast is not None:
        return []
    return ["ultrafast-pycocotools is not installed: pycocotools computes AP, the same numbers in ten times the time"]


def evaluate(
    truth: dict[str, Any], results: Records, kind: IouType, caps: list[int], asked: EngineName = "fast"
) -> Evaluation:
    """COCO's numbers of checked and complete records (see ``segkit.evaluate.coco.inputs``).

    Args:
        truth: A COCO document: images, annotations, categories.
        results: Results with the keys that ``COCO.loadRes`` adds.
        kind: Compare masks or boxes.
        caps: Detections counted in an image and category, rising; COCO's own are 1, 10, 100.
        asked: Who is to answer.
    """
    run = _run(truth, results, kind, caps, asked)
    with contextlib.redirect_stdout(io.StringIO()):
        run.accumulate()
        run.summarize()
    return _evaluation(run)


def evaluate_with(
    ious: Callable[[int, int], Any], truth: dict[str, Any], results: Records, caps: list[int]
) -> Evaluation:
    """COCO's numbers by another measure of overlap, through the reference, which lets it be replaced.

    Args:
        ious: From an image and a category to [D, G]: detections by falling score, annotations in the document's order.
        truth: As for ``evaluate``.
        results: As for ``evaluate``.
        caps: As for ``evaluate``.
    """
    run = _run(truth, results, "bbox", caps, "pycocotools", ious)
    with contextlib.redirect_stdout(io.StringIO()):
        run.accumulate()
        run.summarize()
    return _evaluation(run)


def evaluate_files(truth: str, results: str, kind: IouType, caps: list[int]) -> Evaluation:
    """COCO's numbers of two files that ``fast_path`` found plain, read by the engine itself."""
    with contextlib.redirect_stdout(io.StringIO()):
        gt = fast.COCO(truth, verbose=False)
        run = fast.COCOeval(gt, gt.loadRes(results), kind)
        run.params.maxDets = caps
        run.run()
    return _evaluation(run)


def evaluate_lvis(truth: dict[str, Any], results: Records, kind: IouType) -> dict[str, float]:
    """LVIS's official numbers; images and categories must say what was looked for.

    Raises:
        ConfigError: The engine that has them is not installed.
    """
    if fast is None:
        raise ConfigError("--lvis needs the package ultrafast-pycocotools, which is not installed")
    with contextlib.redirect_stdout(io.StringIO()):
        handles = [
            # LVIS's own loader passes over what has no area.
            fast.COCO({**truth, "annotations": [dict(each) for each in records if each["area"] > 0]}, verbose=False)
            for records in (truth["annotations"], results)
        ]
        run = fast.COCOeval(*handles, kind, lvis_style=True)
        run.run()
    names = ("AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf", "AR300", "ARs", "ARm", "ARl")
    return {name: float(value) for name, value in zip(names, run.stats, strict=True)}


def outcomes(truth: dict[str, Any], results: Records, kind: IouType, cap: int, asked: EngineName = "fast") -> Outcomes:
    """What becomes of every detection, for sums that COCOeval does not form: streams, resampling, other measures."""
    run = _run(truth, results, kind, [cap], asked)
    return _fast_outcomes(run, cap) if asked == "fast" and fast is not None else _reference_outcomes(run)


def _parts(asked: EngineName) -> tuple[Any, Any]:
    """The classes of the engine that answers."""
    if asked == "fast" and fast is not None:
        return fast.COCO, fast.COCOeval
    from pycocotools import coco, cocoeval  # noqa: PLC0415  ten megabytes, and most runs do without

    return coco.COCO, cocoeval.COCOeval


def _run(
    truth: dict[str, Any],
    results: Records,
    kind: IouType,
    caps: list[int],
    asked: EngineName,
    ious: Callable[[int, int], Any] | None = None,
) -> Any:
    coco, coco_eval = _parts(asked)
    with contextlib.redirect_stdout(io.StringIO()):
        handles = []
        for annotations in (truth["annotations"], results):
            handle = coco()
            # Copies, because the reference writes into the records that it is given.
            handle.dataset = {**truth, "annotations": [dict(record) for record in annotations]}
            handle.createIndex()
            handles.append(handle)
        run = coco_eval(*handles, kind)
        run.params.maxDets = caps
        if ious is not None:
            run.computeIoU = ious
        run.evaluate()
    return run


def _evaluation(run: Any) -> Evaluation:
    return Evaluation(
        run.eval["precision"],
        run.eval["recall"],
        run.eval["scores"],
        [float(value) for value in run.stats[:12]],
        [int(category_id) for category_id in run.params.catIds],
    )


def _fast_outcomes(run: Any, cap: int) -> Outcomes:
    # What its own precision and recall are counted from; it numbers outcomes as this module does.
    areas = [run._engine.outcomes(area, cap) for area in range(len(run.params.areaRng))]
    slot, image = areas[0]["cat_slot"].astype(np.int64), areas[0]["image_id"].astype(np.int64)
    outcome = np.stack([area["outcome"] for area in areas])
    positives = np.stack([area["npig"] for area in areas]).astype(np.int64)
    return Outcomes(slot, image, _ranks(slot, image), areas[0]["score"], outcome, positives)


def _reference_outcomes(run: Any) -> Outcomes:
    num_areas, num_categories = len(run.params.areaRng), len(run.params.catIds)
    by_pair = np.array(run.evalImgs, dtype=object).reshape(num_categories, num_areas, -1)
    slot: list[int] = []
    image: list[int] = []
    score: list[float] = []
    fates: list[list[npt.NDArray[np.uint8]]] = [[] for _ in range(num_areas)]
    positives = np.zeros((num_areas, num_categories), np.int64)
    for k, a, i in np.ndindex(by_pair.shape):
        if (pair := by_pair[k, a, i]) is None:
            continue
        positives[a, k] += np.count_nonzero(np.asarray(pair["gtIgnore"]) == 0)
        hit = np.where(pair["dtMatches"] != 0, HIT, MISS)
        fates[a].append(np.where(pair["dtIgnore"], IGNORED, hit).astype(np.uint8).T)
        if a == 0:
            slot += [k] * len(pair["dtScores"])
            image += [int(pair["image_id"])] * len(pair["dtScores"])
            score += pair["dtScores"]
    none: list[npt.NDArray[np.uint8]] = [np.zeros((0, len(run.params.iouThrs)), np.uint8)]
    slots, images = np.array(slot, np.int64), np.array(image, np.int64)
    outcome = np.stack([np.concatenate(none + each) for each in fates])
    return Outcomes(slots, images, _ranks(slots, images), np.array(score, np.float64), outcome, positives)


def _ranks(slot: npt.NDArray[np.int64], image: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The place of each detection in its run of equal (category, image)."""
    if not len(slot):
        return np.zeros(0, np.int64)
    begins = np.flatnonzero(np.append(True, (slot[1:] != slot[:-1]) | (image[1:] != image[:-1])))
    lengths = np.diff(np.append(begins, len(slot)))
    return np.arange(len(slot)) - np.repeat(begins, lengths)
