"""COCOeval, run by one of two engines: ultrafast-pycocotools, or the reference, pycocotools.

Both give the same numbers to the last bit and take the same plain dicts; no other module knows which one ran.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from segkit.choices import EngineName
from segkit.errors import ConfigError
from segkit.evaluation.coco.areas import with_coco
from segkit.quiet import without_stdout

try:
    import ultrafast_pycocotools as fast
except ImportError:  # no wheel for this machine
    fast = None

IouType = Literal["segm", "bbox"]
COCO_IOU_TYPES: tuple[IouType, ...] = ("segm", "bbox")
Records = list[dict[str, Any]]
IouFunction = Callable[[int, int], Any]  # from an image id and a category id to [D, G]
_LVIS_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf", "AR300", "ARs", "ARm", "ARl")


@dataclass(frozen=True, slots=True)
class EvaluationInputs:
    """Checked and complete records of annotations and results, as ``segkit.evaluation.coco.inputs`` makes them.

    Attributes:
        truth: A COCO document: images, annotations, categories.
        results: Results with the keys that ``COCO.loadRes`` adds.
        names: Category names by id.
        warnings: What was left out or completed.
    """

    truth: dict[str, Any]
    results: Records
    names: dict[int, str]
    warnings: tuple[str, ...] = ()

    def renumbered(self) -> "EvaluationInputs":
        """The same with annotation ids from 1: COCOeval takes a match with the annotation id 0 for none."""
        annotations = [annotation | {"id": number} for number, annotation in enumerate(self.truth["annotations"], 1)]
        return replace(self, truth=self.truth | {"annotations": annotations})


@dataclass(frozen=True, slots=True)
class PrecisionRecall:
    """What COCOeval computed.

    As ``COCOeval.eval`` holds it: ``precision`` and ``scores`` are [thresholds, recalls, K, areas, max_dets],
    ``recall`` is [thresholds, K, areas, max_dets]. ``stats`` are the twelve numbers; ``category_ids`` is the order of
    K.
    """

    precision: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    stats: list[float]
    category_ids: list[int]


def uses_fast(engine: EngineName) -> bool:
    """Whether ultrafast-pycocotools runs: it was asked for and is installed."""
    return engine == "fast" and fast is not None


def engine_name(engine: EngineName) -> str:
    """The library that runs, with its version."""
    package = "ultrafast-pycocotools" if uses_fast(engine) else "pycocotools"
    return f"{package} {version(package)}"


def engine_warnings(engine: EngineName) -> list[str]:
    """A warning where the engine that was asked for is not installed."""
    if engine == "pycocotools" or fast is not None:
        return []
    return ["ultrafast-pycocotools is not installed: pycocotools computes AP, the same numbers in ten times the time"]


def evaluate(
    inputs: EvaluationInputs,
    iou_type: IouType,
    max_dets: list[int],
    engine: EngineName = "fast",
    ious: IouFunction | None = None,
    areas: Sequence[float] = (),
) -> PrecisionRecall:
    """COCO's numbers.

    Args:
        inputs: Annotations and results.
        iou_type: Compare masks or boxes.
        max_dets: Limits on the detections of a category in an image, rising; COCO's own are 1, 10, 100.
        engine: What computes.
        ious: Another overlap measure, for pycocotools only: from an image and a category to [D, G], of detections by
            falling score and annotations in the document's order.
        areas: Edges of size classes, whose ranges follow COCO's four.
    """
    run = run_matching(inputs, iou_type, max_dets, engine, ious, areas)
    with without_stdout():
        run.accumulate()
        run.summarize()
    return _precision_recall(run)


def evaluate_files(truth: str, results: str, iou_type: IouType, max_dets: list[int]) -> PrecisionRecall:
    """COCO's numbers of two files that need no correction; the fast engine reads them itself.

    Args:
        truth: The path of the annotation file, checked by ``segkit.evaluation.coco.fast_path``.
        results: The path of the results file.
        iou_type: As for ``evaluate``.
        max_dets: As for ``evaluate``.
    """
    with without_stdout():
        gt = fast.COCO(truth, verbose=False)
        run = fast.COCOeval(gt, gt.loadRes(results), iou_type)
        run.params.maxDets = max_dets
        run.run()
    return _precision_recall(run)


def run_matching_of_files(truth: str, results: str, iou_type: IouType, max_dets: list[int]) -> Any:
    """The fast engine's ``COCOeval`` of two such files after ``evaluate()``; arguments as for ``evaluate_files``."""
    with without_stdout():
        gt = fast.COCO(truth, verbose=False)
        run = fast.COCOeval(gt, gt.loadRes(results), iou_type)
        run.params.maxDets = max_dets
        run.evaluate()
    return run


def evaluate_lvis(inputs: EvaluationInputs, iou_type: IouType) -> dict[str, float]:
    """LVIS's official numbers; images and categories must have LVIS's keys.

    Raises:
        ConfigError: The fast engine, which has them, is not installed.
    """
    if fast is None:
        raise ConfigError("--lvis needs the package ultrafast-pycocotools, which is not installed")
    with without_stdout():
        handles = []
        for records in (inputs.truth["annotations"], inputs.results):
            kept = [dict(each) for each in records if each["area"] > 0]  # as LVIS's own loader
            handles.append(fast.COCO({**inputs.truth, "annotations": kept}, verbose=False))
        run = fast.COCOeval(*handles, iou_type, lvis_style=True)
        run.run()
    return {name: float(value) for name, value in zip(_LVIS_NAMES, run.stats, strict=True)}


def run_matching(
    inputs: EvaluationInputs,
    iou_type: IouType,
    max_dets: list[int],
    engine: EngineName,
    ious: IouFunction | None = None,
    areas: Sequence[float] = (),
) -> Any:
    """An engine's ``COCOeval`` after ``evaluate()``: detections and annotations are matched, nothing is summed.

    Args:
        inputs: Annotations and results.
        iou_type: As for ``evaluate``.
        max_dets: As for ``evaluate``.
        engine: What computes.
        ious: As for ``evaluate``.
        areas: As for ``evaluate``.
    """
    coco, coco_eval = _classes(engine)
    with without_stdout():
        handles = []
        for annotations in (inputs.truth["annotations"], inputs.results):
            handle = coco()
            # Copies, because pycocotools writes into the records.
            handle.dataset = {**inputs.truth, "annotations": [dict(record) for record in annotations]}
            handle.createIndex()
            handles.append(handle)
        run = coco_eval(*handles, iou_type)
        run.params.maxDets = max_dets
        if ious is not None:
            run.computeIoU = ious
        if areas:
            run.params.areaRng = with_coco(areas)
            run.params.areaRngLbl += [f"class {n}" for n in range(len(areas))]
        run.evaluate()
    return run


def _classes(engine: EngineName) -> tuple[Any, Any]:
    """COCO and COCOeval of the engine."""
    if uses_fast(engine):
        return fast.COCO, fast.COCOeval
    from pycocotools import coco, cocoeval  # noqa: PLC0415  ten megabytes, and most runs do without

    return coco.COCO, cocoeval.COCOeval


def _precision_recall(run: Any) -> PrecisionRecall:
    return PrecisionRecall(
        run.eval["precision"],
        run.eval["recall"],
        run.eval["scores"],
        [float(value) for value in run.stats[:12]],
        [int(category_id) for category_id in run.params.catIds],
    )
