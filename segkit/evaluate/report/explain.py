"""What follows the numbers: details, a comparison, the report, and the files that they go into."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from segkit.config.evaluate import EvalConfig
from segkit.errors import InputError
from segkit.evaluate.analysis.bootstrap import compared, interval
from segkit.evaluate.analysis.details import Explanation, explain_pair
from segkit.evaluate.coco.engine import IouType
from segkit.evaluate.coco.inputs import Numbers, max_dets_needed, pair_of
from segkit.evaluate.evaluated import Evaluated, Explained
from segkit.evaluate.metrics import Metrics
from segkit.evaluate.pixels.per_picture import PixelScores
from segkit.evaluate.report.tables import instance_rows, pixel_rows, write_rows
from segkit.progress import SILENT, Progress

REPORT_FOLDER = Path("evaluation")


def explain(
    config: EvalConfig, first: Evaluated, second: Evaluated | None = None, progress: Progress = SILENT
) -> Explained:
    """Add to scores what was asked for beyond them, and write it all down.

    Args:
        config: What was asked for.
        first: What was evaluated.
        second: What it is compared with.
        progress: Who is told how far it is.

    Raises:
        InputError: The two do not go together.
    """
    metrics = first.metrics
    explanation = _explained(config, first, progress, resamples=config.bootstrap) if config.explains else None
    if explanation is not None and (config.details or config.report):
        metrics = replace(metrics, details=explanation.document)
    if second is not None:
        progress.start("comparing", None)
        metrics = replace(metrics, compare=_compared(config, first, second, explanation))
        progress.done()
    folder = first.folder or (REPORT_FOLDER if config.details or config.report else None)
    return Explained(metrics, () if folder is None else _written(config, first, metrics, explanation, folder, progress))


def _explained(
    config: EvalConfig, evaluated: Evaluated, progress: Progress, *, resamples: int, kind: IouType | None = None
) -> Explanation | None:
    """The reasons behind an instance score; None where only pixels were scored."""
    kind = kind or _kind(evaluated.metrics)
    if kind is None or evaluated.dataset is None:
        return None
    return explain_pair(
        pair_of(evaluated.dataset, evaluated.results, (kind,)),
        kind,
        score=config.score,
        cap=max_dets_needed(evaluated.dataset, config.max_dets),
        resamples=resamples,
        engine=config.engine,
        progress=progress,
    )


def _kind(metrics: Metrics) -> IouType | None:
    if metrics.segm is not None:
        return "segm"
    return "bbox" if metrics.bbox is not None else None


def _compared(
    config: EvalConfig, first: Evaluated, second: Evaluated, explanation: Explanation | None
) -> dict[str, Any]:
    """Differences of the scores that both have, their intervals, and how often chance does as much."""
    document: dict[str, Any] = {"with": second.subject}
    if _images(first) != _images(second):
        raise InputError(
            f"{second.subject}: was scored on other images than {first.subject}",
            "name the data that both are to be scored on: --data",
        )
    kinds: tuple[IouType, ...] = ("segm", "bbox")
    for kind in kinds:
        scores = [getattr(each.metrics, kind) for each in (first, second)]
        if None in scores or -1 in (score.AP for score in scores):
            continue
        own = explanation
        if own is None or own.kind != kind:
            own = _explained(config, first, SILENT, resamples=0, kind=kind)
        other = _explained(config, second, SILENT, resamples=0, kind=kind)
        assert own is not None
        assert other is not None
        found = compared(own.pools, other.pools, len(own.pictures), config.bootstrap)
        document[kind] = {"AP": scores[0].AP, "other_AP": scores[1].AP, **asdict(found)}
    if first.pixels is not None and second.pixels is not None:
        document["semantic"] = _compared_pixels(first.pixels, second.pixels)
    if len(document) == 1:
        raise InputError(
            f"{second.subject}: has no score in common with {first.subject}",
            "compare masks with masks, boxes with boxes (--iou), pixels with pixels",
        )
    return document


def _compared_pixels(first: PixelScores, second: PixelScores) -> dict[str, Any]:
    own, other = (each.confusion.drawn_means(each.dataset) for each in (first, second))
    between = own - other
    tail = min((between[1:] <= 0).mean(), (between[1:] >= 0).mean())  # of the bootstrap: draws beyond no difference
    return {
        "mIoU": float(own[0]),
        "other_mIoU": float(other[0]),
        "value": float(between[0]),
        "interval": interval(between),
        "p": float(min(1.0, 2 * (tail * (len(between) - 1) + 1) / len(between))),
    }


def _images(evaluated: Evaluated) -> list[str]:
    return sorted(image.file_name for image in evaluated.dataset.images) if evaluated.dataset is not None else []


def _written(
    config: EvalConfig,
    evaluated: Evaluated,
    metrics: Metrics,
    explanation: Explanation | None,
    folder: Path,
    progress: Progress,
) -> tuple[Path, ...]:
    """``metrics.json``, and where the reasons are wanted ``pictures.csv`` and ``report.html``."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / "metrics.json"]
    files[0].write_text(json.dumps(metrics.to_json(), indent=1, ensure_ascii=False) + "\n", "utf-8", "backslashreplace")
    if (config.details or config.report) and evaluated.dataset is not None:
        numbers = Numbers.of(evaluated.dataset).images
        images = {numbers[image.id]: image for image in evaluated.dataset.images}
        if explanation is not None:
            files.append(folder / "pictures.csv")
            write_rows(instance_rows(explanation.pictures, images, config.score), files[-1])
        if evaluated.pixels is not None and evaluated.pixels.rows:
            files.append(folder / ("pixels.csv" if explanation is not None else "pictures.csv"))
            write_rows(pixel_rows(evaluated.pixels.rows), files[-1])
    if config.report and evaluated.dataset is not None:
        from segkit.evaluate.report.page import render_report  # noqa: PLC0415  plots take half a second to load

        files.append(folder / "report.html")
        page = render_report(evaluated, metrics, explanation, progress)
        files[-1].write_text(page, "utf-8", "backslashreplace")
    return tuple(files)
