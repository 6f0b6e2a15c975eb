"""``eval`` of a results file, whichever tool it is from, without torch."""

from dataclasses import replace
from pathlib import Path

from segkit.config.evaluate import EvalConfig
from segkit.data.records import Dataset, Result
from segkit.errors import ConfigError, InputError
from segkit.evaluate.coco.engine import engine_name, has_fast
from segkit.evaluate.coco.fast_path import look
from segkit.evaluate.coco.inputs import kinds_there
from segkit.evaluate.coco.instance_metrics import evaluate_plain
from segkit.evaluate.coco.score import score_results
from segkit.evaluate.evaluated import Evaluated
from segkit.evaluate.metrics import Metrics
from segkit.formats.coco.file import read_coco, read_results
from segkit.formats.dataset_folder import find_split, with_pictures_in


def is_results(subject: Path | None) -> bool:
    """Whether ``eval`` was given a results file."""
    return subject is not None and subject.suffix.lower() == ".json"


def evaluate_results(config: EvalConfig) -> Evaluated:
    """Score a COCO results file.

    Raises:
        InputError: Results or annotations are missing, unreadable, or do not go together.
    """
    assert config.subject is not None
    if config.task == "semantic":
        raise ConfigError("--task semantic scores models; a results file holds instances")
    data = config.data or Path("dataset")
    own = config.subject.with_name("images.json")  # beside it by segkit predict, whose ids are its own
    named = config.subject.name == "results.json" and own.is_file() and own.resolve() != data.resolve()
    truth = find_split(data, config.split if data.is_dir() else "train")
    if not named and (metrics := _plain(config, truth)) is not None:
        return Evaluated(metrics, config.out, str(config.subject))
    results, dataset = read_results(config.subject), with_pictures_in(config.images_dir, read_coco(truth))
    warnings = [] if results else ["the results file is empty"]
    if named:
        results, left_out = _by_name(results, read_coco(own), dataset, config.subject)
        warnings.append("images.json beside the results says which picture each is of; they go together by file name")
        if left_out:
            warnings.append(f"{left_out} predicted pictures are not in the split and do not count")
    kinds = config.iou or kinds_there(dataset, results)
    if config.iou is None and kinds == ("bbox",) and any(r.segmentation is not None for r in results):
        warnings.append("some results have masks and the first has none: boxes are scored (--iou segm for masks)")
    lvis = truth if config.lvis else None
    metrics = score_results(dataset, results, kinds, config.max_dets, config.engine, lvis=lvis)
    metrics = replace(metrics, warnings=[*warnings, *metrics.warnings])
    return Evaluated(metrics, config.out, str(config.subject), dataset, tuple(results))


def _plain(config: EvalConfig, truth: Path) -> Metrics | None:
    """The numbers of two files by the short road; None: they need care, or more than the numbers is asked for."""
    assert config.subject is not None
    if not has_fast or config.engine != "fast" or config.explains or config.lvis or "boundary" in (config.iou or ()):
        return None
    plain = look(truth, config.subject)
    if plain is None or not set(kinds := config.iou or plain.kinds) <= set(plain.kinds):
        return None
    cap = max(100, plain.most) if config.max_dets == "auto" else int(config.max_dets)
    try:
        numbers = {
            kind: evaluate_plain(truth, config.subject, kind, plain.names, cap)
            for kind in ("segm", "bbox")
            if kind in kinds
        }
    except (ValueError, TypeError, KeyError, OverflowError):
        return None  # a mask is none; the careful road says which
    return Metrics(
        images=plain.images,
        max_dets=cap,
        engine=engine_name("fast"),
        segm=numbers.get("segm"),
        bbox=numbers.get("bbox"),
    )


def _by_name(results: list[Result], predicted: Dataset, dataset: Dataset, subject: Path) -> tuple[list[Result], int]:
    """Results of ``segkit predict``, whose ids are those of its own images.json, with the ids of a dataset.

    Returns:
        The results of pictures that the dataset has, and how many predicted pictures it has not.

    Raises:
        InputError: It has none of them.
    """
    ids = {image.file_name: image.id for image in dataset.images}
    names = {image.id: image.file_name for image in predicted.images}
    if strangers := {r.image_id for r in results} - names.keys():
        raise InputError(f"{subject}: image {min(strangers, key=str)} is not in the images.json beside it")
    unknown = [name for name in names.values() if name not in ids]
    if len(unknown) == len(names):
        raise InputError(
            f"{subject}: none of its pictures is in the split; the first is {unknown[0] if unknown else 'missing'}",
            "predict the folder that the dataset's file names are relative to: segkit predict dataset/images",
        )
    kept = [replace(r, image_id=ids[names[r.image_id]]) for r in results if names[r.image_id] in ids]
    return kept, len(unknown)
