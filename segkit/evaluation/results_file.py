"""``eval`` of a results file of any tool, without torch."""

from dataclasses import replace
from pathlib import Path

from segkit.config.evaluate import EvalConfig
from segkit.data.records import Dataset, Result
from segkit.errors import ConfigError, InputError
from segkit.evaluation.coco import parts
from segkit.evaluation.coco.engine import COCO_IOU_TYPES, engine_name, evaluate_files, uses_fast
from segkit.evaluation.coco.fast_path import check_files
from segkit.evaluation.coco.inputs import comparable_iou_types
from segkit.evaluation.coco.instance_metrics import max_dets_list, metrics_of
from segkit.evaluation.coco.plausible import (
    boxes_warning,
    copies_warning,
    coverage_warning,
    limit_warning,
    scale_warning,
)
from segkit.evaluation.coco.score import score_results
from segkit.evaluation.evaluation import Evaluation
from segkit.evaluation.metrics import Metrics
from segkit.evaluation.predicted_images import match_images, with_ids_for_names
from segkit.formats.coco.file import read_coco, read_results
from segkit.formats.dataset_folder import find_split, with_pictures_in
from segkit.units import counted


def is_results(subject: Path | None) -> bool:
    """Whether ``eval`` was given a results file."""
    return subject is not None and subject.suffix.lower() == ".json"


def evaluate_results(config: EvalConfig) -> Evaluation:
    """Score a COCO results file.

    Raises:
        InputError: Results or annotations are missing, unreadable, or do not go together.
    """
    assert config.subject is not None
    if config.task == "semantic":
        raise ConfigError("--task semantic scores models; a results file holds instances")
    subject, data = config.subject, config.data or Path("dataset")
    if config.data is None and not data.exists():
        raise InputError(
            f"{subject}: there is no folder {data} with annotations to compare the results with",
            "name them: --data ANNOTATIONS.json, or a dataset folder",
        )
    truth = find_split(data, config.split)
    predicted = _predicted_images(subject, data)
    by_engine = set(config.iou or ()) <= set(COCO_IOU_TYPES) and uses_fast(config.engine)
    simple = by_engine and not (predicted or config.needs_results or config.lvis or config.areas)
    if simple and (scored := _score_files(truth, subject, config.iou, config.max_dets)) is not None:
        metrics, annotations = scored
        return Evaluation(metrics, config.out, str(subject), truth, num_annotations=annotations)
    dataset = with_pictures_in(config.images_dir, read_coco(truth))
    warnings = list(dataset.warnings)
    results = read_results(subject, warnings)
    if not results:
        warnings.append("the results file is empty")
    results = with_ids_for_names(results, dataset, warnings)
    warnings += _oddities(dataset, results)
    covered = None
    if predicted is not None:
        images = read_coco(predicted)
        results, covered = match_images(results, images, dataset, subject)
        warnings += _coverage(len(images.images), len(covered), len(dataset.images))
    _check_images(subject, dataset, results)
    iou_types = config.iou or comparable_iou_types(dataset, results)
    if config.iou is None and iou_types == ("bbox",) and any(r.segmentation is not None for r in results):
        warnings.append("the first result has no mask: only boxes are scored (--iou segm for masks)")
    lvis = truth if config.lvis else None
    metrics = score_results(dataset, results, iou_types, config.max_dets, config.engine, lvis=lvis, areas=config.areas)
    metrics = replace(metrics, warnings=[*warnings, *metrics.warnings])
    return Evaluation(
        metrics,
        config.out,
        str(subject),
        truth,
        dataset,
        tuple(results),
        num_annotations=len(dataset.annotations),
        predicted=covered,
    )


def _coverage(predicted: int, matched: int, images: int) -> list[str]:
    """What predicted images and those of the data have in common, in warnings."""
    warnings = ["the results have an images.json: they are matched to the data by file"]
    if predicted > matched:
        warnings.append(f"{predicted - matched} predicted images are not in the split and do not count")
    if images > matched:
        warnings.append(f"{images - matched} of {images} images were not predicted: they count as nothing found")
    return warnings


def _check_images(subject: Path, dataset: Dataset, results: list[Result]) -> None:
    """Check that the results are of images that the data has.

    Raises:
        InputError: Some are not.
    """
    if unknown := sorted({str(r.image_id) for r in results} - {str(image.id) for image in dataset.images}):
        few = ", ".join(unknown[:3]) + (", ..." if len(unknown) > 3 else "")
        images = counted(len(unknown), "image of the results is", "images of the results are")
        raise InputError(
            f"{subject}: {images} not in the annotations: {few}",
            "are these the annotations that the results were made for? name others with --data",
        )


def _oddities(dataset: Dataset, results: list[Result]) -> list[str]:
    """What is odd about results and annotations, in warnings."""
    found = ((r.image_id, r.category_id, r.score, r.bbox, str(r.segmentation)) for r in results)
    annotated = ((a.image_id, a.category_id, a.area, a.bbox, bool(a.segmentation)) for a in dataset.annotations)
    sizes = {image.id: (image.height, image.width) for image in dataset.images}
    return [
        *boxes_warning((r.bbox, sizes[r.image_id]) for r in results if r.bbox is not None and r.image_id in sizes),
        *copies_warning("results", found),
        *copies_warning("annotations", annotated),
        *coverage_warning((a.image_id for a in dataset.annotations), (r.image_id for r in results)),
    ]


def _predicted_images(subject: Path, data: Path) -> Path | None:
    """The ``images.json`` that ``segkit predict`` writes with its ``results.json``: the images of its ids."""
    images = subject.with_name("images.json")
    own = subject.name == "results.json" and images.is_file() and images.resolve() != data.resolve()
    return images if own else None


def _score_files(
    truth: Path, results: Path, iou_types: tuple[str, ...] | None, max_dets: str
) -> tuple[Metrics, int] | None:
    """The metrics by the fast path, and how many annotations there are; None where the files need correction.

    Args:
        truth: The annotation file.
        results: The results file.
        iou_types: Any of segm and bbox; None: all that both files have.
        max_dets: ``auto`` or a number.
    """
    files = check_files(truth, results)
    if files is None or not set(iou_types or ()) <= set(files.iou_types):  # masks, where there are boxes only
        return None
    limit = max(100, files.most) if max_dets == "auto" else int(max_dets)
    try:
        kinds = [each for each in COCO_IOU_TYPES if each in (iou_types or files.iou_types)]
        if files.pairs.total() > parts.MOST_PAIRS:
            limits = max_dets_list(limit)
            evaluated = parts.evaluate_in_parts(files.truth, results, kinds, limits, list(files.names), files.pairs)
        else:
            evaluated = {
                each: evaluate_files(str(files.truth), str(results), each, max_dets_list(limit)) for each in kinds
            }
        metrics = {each: metrics_of(found, files.names) for each, found in evaluated.items()}
    except (ValueError, TypeError, KeyError, OverflowError):
        return None  # a mask is invalid; reading the files record by record reports which
    scored = Metrics(
        images=files.images,
        max_dets=limit,
        engine=engine_name("fast"),
        segm=metrics.get("segm"),
        bbox=metrics.get("bbox"),
        warnings=[
            *files.oddities,
            *scale_warning(files.lowest, files.highest),
            *limit_warning(files.results, limit),
        ],
    )
    return scored, files.annotations
