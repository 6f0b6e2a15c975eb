"""The files of an evaluation: metrics, details by image, and the report."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from segkit.choices import ScoringTool
from segkit.config.evaluate import EvalConfig
from segkit.data.files import temporary_file
from segkit.errors import ConfigError, InputError
from segkit.evaluation.analysis.compare import compare_evaluations
from segkit.evaluation.analysis.details import DetailOptions, Details, compute_details
from segkit.evaluation.analysis.promise import promise_recall
from segkit.evaluation.coco.engine import COCO_IOU_TYPES
from segkit.evaluation.coco.ids import images_by_integer_id
from segkit.evaluation.coco.inputs import prepare_inputs
from segkit.evaluation.evaluation import Evaluation
from segkit.evaluation.metrics import Metrics
from segkit.evaluation.other_tools.rows import rows_as
from segkit.evaluation.report.tables import instance_rows, pixel_rows, write_rows
from segkit.progress import SILENT, Progress

REPORT_FOLDER = Path("evaluation")


def write_evaluation(
    config: EvalConfig, first: Evaluation, second: Evaluation | None = None, progress: Progress = SILENT
) -> tuple[Metrics, list[Path]]:
    """Add details and a comparison to an evaluation where they were asked for, and write its files.

    Args:
        config: The options of ``eval``.
        first: What was evaluated.
        second: What it is compared with.
        progress: Shows the state of the work.

    Returns:
        The metrics with what was added, and the files that were written.

    Raises:
        InputError: The two cannot be compared.
    """
    metrics, details = first.metrics, None
    all_details = config.details or config.report
    if all_details and (details := _details_of(first, config, progress)) is not None:
        metrics = replace(metrics, details=details.document)
    if second is not None:
        progress.start("comparing", None)
        compared = compare_evaluations(first, second, config.bootstrap, config.engine)
        others = [f"{second.subject}: {each}" for each in second.metrics.warnings if each not in metrics.warnings]
        metrics = replace(metrics, compare=compared, warnings=[*metrics.warnings, *others])
        progress.done()
    if config.as_tool is not None:
        metrics = replace(metrics, as_tool=_rows_as(config.as_tool, first, config, progress))
    files: list[Path] = []
    if config.promised_recall is not None:
        metrics = replace(metrics, promise=_promise(config.promised_recall, first, metrics))
        if first.promises is not None and metrics.promise is not None and "refused" not in metrics.promise:
            files.append(_write_promise(metrics, first.promises))
    folder = first.folder or (REPORT_FOLDER if all_details else None)
    if folder is None:
        return metrics, files
    folder.mkdir(parents=True, exist_ok=True)
    document = json.dumps(metrics.to_json(), indent=1, ensure_ascii=False) + "\n"
    files.insert(0, _write(document, folder / "metrics.json"))
    if all_details:
        files += _write_tables(first, details, folder)
    if config.report:
        from segkit.evaluation.report.page import render_report  # noqa: PLC0415  plots take half a second to load

        files.append(_write(render_report(first, metrics, details, progress), folder / "report.html"))
    return metrics, files


def _details_of(evaluation: Evaluation, config: EvalConfig, progress: Progress) -> Details | None:
    """The details behind the scores of masks, else of boxes; None where only pixels were scored."""
    iou_type = next((each for each in COCO_IOU_TYPES if getattr(evaluation.metrics, each) is not None), None)
    if iou_type is None or evaluation.dataset is None:
        return None
    inputs = prepare_inputs(evaluation.dataset, evaluation.results, (iou_type,))
    options = DetailOptions(config.score, config.bootstrap > 0, config.engine)
    return compute_details(inputs, iou_type, options, progress)


def _rows_as(tool: ScoringTool, evaluation: Evaluation, config: EvalConfig, progress: Progress) -> dict[str, Any]:
    """The rows of ``--as``.

    Raises:
        ConfigError: No instances were scored.
    """
    if evaluation.metrics.segm is None and evaluation.metrics.bbox is None:
        raise ConfigError(f"--as {tool}: only pixels or contours were scored, no masks and no boxes", "add --iou segm")
    progress.start(f"scoring as {tool}", None)
    rows = rows_as(tool, evaluation, config.engine)
    progress.done()
    return rows


def _promise(least: float, evaluation: Evaluation, metrics: Metrics) -> dict[str, Any]:
    """The threshold that keeps a promise, or why there is none: what was scored is written in any case.

    Raises:
        ConfigError: No instances were scored.
    """
    iou_type = next((each for each in COCO_IOU_TYPES if getattr(metrics, each) is not None), None)
    if iou_type is None or evaluation.dataset is None:
        raise ConfigError("--promise: only pixels or contours were scored, no masks and no boxes", "add --iou segm")
    inputs = prepare_inputs(evaluation.dataset, evaluation.results, (iou_type,))
    try:
        return asdict(promise_recall(inputs, iou_type, least))
    except InputError as error:
        return {"recall": least, "refused": error.message, "hint": error.hint}


def _write_promise(metrics: Metrics, path: Path) -> Path:
    """Keep a promise with the model that it is about, where ``predict --score promise`` finds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"promise": metrics.promise, "about": metrics.about}
    return _write(json.dumps(document, indent=1, ensure_ascii=False) + "\n", path)


def _write(text: str, path: Path) -> Path:
    with temporary_file(path) as temporary:
        temporary.write_text(text, "utf-8", "backslashreplace")
    return path


def _write_tables(evaluation: Evaluation, details: Details | None, folder: Path) -> list[Path]:
    """``pictures.csv``; where both instances and pixels are scored, ``pixels.csv`` too."""
    files = []
    if details is not None and evaluation.dataset is not None:
        files.append(folder / "pictures.csv")
        write_rows(instance_rows(details, images_by_integer_id(evaluation.dataset)), files[-1])
    if evaluation.pixels is not None and evaluation.pixels.rows:
        files.append(folder / ("pixels.csv" if files else "pictures.csv"))
        write_rows(pixel_rows(evaluation.pixels.rows), files[-1])
    return files
