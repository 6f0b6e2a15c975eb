"""``eval`` of a results file, whichever tool it is from, without torch; and the file that metrics go to."""

import json
from pathlib import Path

from segkit.config.evaluate import EvalConfig
from segkit.datasets import open_split
from segkit.errors import ConfigError
from segkit.evaluate.instances import evaluate_instances, max_dets_needed
from segkit.evaluate.metrics import Metrics
from segkit.formats.coco import read_results


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
    cap = max_dets_needed(dataset, config.max_dets)
    numbers = {kind: evaluate_instances(dataset, results, kind, cap) for kind in kinds}  # type: ignore[arg-type]
    warnings = [] if results else ["the results file is empty"]
    metrics = Metrics(
        images=len(dataset.images),
        max_dets=cap,
        segm=numbers.get("segm"),
        bbox=numbers.get("bbox"),
        warnings=warnings,
    )
    return metrics, config.out


def write_metrics(metrics: Metrics, folder: Path | None) -> Path | None:
    """Write ``metrics.json`` into a folder; None writes nothing."""
    if folder is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "metrics.json"
    path.write_text(json.dumps(metrics.to_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
