"""``eval`` of a results file, whichever tool it is from, without torch; and the file that metrics go to."""

import json
from dataclasses import replace
from pathlib import Path

from segkit.config.evaluate import EvalConfig
from segkit.dataset import Dataset, Result
from segkit.datasets import open_split
from segkit.errors import ConfigError, InputError
from segkit.evaluate.instances import evaluate_instances, max_dets_needed
from segkit.evaluate.metrics import Metrics
from segkit.formats.coco import read_coco, read_results


def is_results(subject: Path | None) -> bool:
    """Whether ``eval`` was given a results file."""
    return subject is not None and subject.suffix.lower() == ".json"


def evaluate_results(config: EvalConfig) -> tuple[Metrics, Path | None]:
    """Score a COCO results file.

    Returns:
        The metrics, and the folder that was asked for, if any.

    Raises:
        InputError: Results or annotations are missing, unreadable, or do not go together.
    """
    assert config.subject is not None
    if config.task == "semantic":
        raise ConfigError("--task semantic scores models; a results file holds instances")
    results = read_results(config.subject)
    data = config.data or Path("dataset")
    dataset = open_split(data, config.split if data.is_dir() else "train")
    kinds = config.iou
    if kinds is None:
        first = results[0] if results else None
        kinds = tuple(
            kind
            for kind, there in (("segm", first and first.segmentation), ("bbox", first and first.bbox))
            if there is not None
        ) or ("segm",)
    warnings = [] if results else ["the results file is empty"]
    own = config.subject.with_name("images.json")
    if own.is_file() and own != data:
        results, left_out = _by_name(results, read_coco(own), dataset, config.subject)
        if left_out:
            warnings.append(f"{left_out} predicted pictures are not in the split and do not count")
    cap = max_dets_needed(dataset, config.max_dets)
    numbers = {kind: evaluate_instances(dataset, results, kind, cap) for kind in kinds}  # type: ignore[arg-type]
    metrics = Metrics(
        images=len(dataset.images),
        max_dets=cap,
        segm=numbers.get("segm"),
        bbox=numbers.get("bbox"),
        warnings=warnings,
    )
    return metrics, config.out


def _by_name(results: list[Result], predicted: Dataset, dataset: Dataset, subject: Path) -> tuple[list[Result], int]:
    """Results of ``segkit predict``, whose ids are those of its own images.json, with the ids of a dataset.

    Returns:
        The results of pictures that the dataset has, and how many predicted pictures it has not.

    Raises:
        InputError: It has none of them.
    """
    ids = {image.file_name: image.id for image in dataset.images}
    names = {image.id: image.file_name for image in predicted.images}
    unknown = [name for name in names.values() if name not in ids]
    if len(unknown) == len(names):
        raise InputError(
            f"{subject}: none of its pictures is in the split; the first is {unknown[0] if unknown else 'missing'}",
            "predict the folder that the dataset's file names are relative to: segkit predict dataset/images",
        )
    kept = [replace(r, image_id=ids[names[r.image_id]]) for r in results if names.get(r.image_id) in ids]
    return kept, len(unknown)


def write_metrics(metrics: Metrics, folder: Path | None) -> Path | None:
    """Write ``metrics.json`` into a folder; None writes nothing."""
    if folder is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "metrics.json"
    path.write_text(json.dumps(metrics.to_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
