"""An evaluation as one self-contained HTML page, without network access or scripts.

The text is in ``templates/report.html``, which Jinja renders with autoescape; this module prepares the numbers.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from segkit.data.records import Dataset
from segkit.evaluate.analysis.details import Details
from segkit.evaluate.coco.ids import IntegerIds
from segkit.evaluate.coco.instance_metrics import NUMBERS
from segkit.evaluate.evaluated import Evaluated
from segkit.evaluate.metrics import InstanceMetrics, Metrics, SemanticMetrics
from segkit.evaluate.pixels.per_image import PixelScores
from segkit.evaluate.report import plots
from segkit.evaluate.report.gallery import find_image, instance_gallery, label_colours, pixel_gallery
from segkit.progress import SILENT, Progress

_IOU_TYPES = (("segm", "mask"), ("bbox", "box"), ("boundary", "boundary"))
_INSTANCE_HEAD = (
    "category", "instances", "predictions", "TP", "count error", "AP", "95 % CI", "AP50", "precision", "recall",
    "F1", "best F1", "at score", "PQ",
)  # fmt: skip
_PIXEL_COLUMNS = ("IoU", "F1", "precision", "recall", "boundary_IoU")
_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


class Headline(NamedTuple):
    """One number at the top of the page."""

    title: str
    value: str
    note: str = ""


def render_report(evaluated: Evaluated, metrics: Metrics, details: Details | None, progress: Progress = SILENT) -> str:
    """The page.

    Args:
        evaluated: What was evaluated.
        metrics: The numbers.
        details: The details behind instance scores; None where only pixels were scored.
        progress: Shows the state of the work.
    """
    progress.start("rendering the report", None)
    dataset = evaluated.dataset
    coco = [
        [name, *(_figure(getattr(part, number)) for number in NUMBERS)]
        for iou_type, name in _IOU_TYPES
        if (part := getattr(metrics, iou_type)) is not None
    ]
    page = _TEMPLATES.get_template("report.html").render(
        subject=evaluated.subject,
        metrics=metrics,
        headlines=_instance_headlines(metrics, details) + _pixel_headlines(metrics.semantic),
        comparison=_comparison(metrics.compare or {}),
        coco=coco,
        coco_names=list(NUMBERS),
        instances=None if details is None or dataset is None else _instances(metrics, details, dataset),
        pixels=None if metrics.semantic is None else _pixels(metrics.semantic, evaluated.pixels, dataset),
    )
    progress.done()
    return page


def _instance_headlines(metrics: Metrics, details: Details | None) -> list[Headline]:
    headlines = []
    for iou_type, name in _IOU_TYPES:
        part: InstanceMetrics | None = getattr(metrics, iou_type)
        if part is not None:
            intervals = {} if details is None or details.iou_type != iou_type else _confidence(details)
            headlines += [
                Headline(f"{name} {number}", _figure(getattr(part, number)), _between(intervals.get(number)))
                for number in ("AP", "AP50")
            ]
    if details is not None and (best := details.document["overall"]["best"]):
        headlines.append(Headline("best F1", _figure(best["F1"]), f"at score {best['score']:.2f}"))
        headlines.append(Headline("PQ", _figure(details.document["overall"]["PQ"]), f"at score {details.score:g}"))
    return headlines


def _pixel_headlines(semantic: SemanticMetrics | None) -> list[Headline]:
    if semantic is None:
        return []
    headlines = [
        Headline("mIoU", _figure(semantic.mIoU), _between(semantic.mIoU_interval)),
        Headline("F1 (Dice)", _figure(semantic.F1)),
        Headline("pixel accuracy", f"{semantic.pixel_accuracy:.1%}"),
    ]
    if semantic.boundary_IoU is not None:
        headlines.append(Headline("boundary IoU", _figure(semantic.boundary_IoU)))
    return headlines


def _comparison(compare: dict[str, Any]) -> list[list[str]]:
    rows = []
    for part, name in (("segm", "AP"), ("bbox", "AP"), ("semantic", "mIoU")):
        if found := compare.get(part):
            verdict = "significant" if found["p"] < 0.05 else "not significant"
            rows.append(
                [f"{name} ({part})", _figure(found[name]), _figure(found[f"other_{name}"]), f"{found['value']:+.3f}",
                 _between(found["interval"], signed=True), f"{found['p']:.3g}", verdict]
            )  # fmt: skip
    return rows


def _instances(metrics: Metrics, details: Details, dataset: Dataset) -> dict[str, Any]:
    ids = IntegerIds.of(dataset).images
    images = {ids[image.id]: image for image in dataset.images}
    worst, best = instance_gallery(details, images, dataset.images_dir)
    rows, total = _category_rows(metrics, details)
    confusion = details.document["confusion"]
    return {
        "head": _INSTANCE_HEAD,
        "rows": rows,
        "total": total,
        "score": f"{details.score:g}",
        "plots": {
            "error_costs": plots.error_costs(details),
            "precision_recall": plots.precision_recall(details),
            "over_thresholds": plots.over_thresholds(details),
            "confusion": plots.confusion(confusion["categories"], confusion["counts"]),
            "score_histogram": plots.score_histogram(details),
            "size_histogram": plots.size_histogram(details),
        },
        "num_lost": sum(find_image(dataset.images_dir, image) is None for image in dataset.images),
        "worst": worst,
        "best": best,
    }


def _category_rows(metrics: Metrics, details: Details) -> tuple[list[list[str]], list[str]]:
    """A row for each category, and one for all of them."""
    part: InstanceMetrics | None = getattr(metrics, details.iou_type)
    intervals = _confidence(details)
    by_category = part.per_category if part is not None else {}
    rows = [
        _category_row(name, counts, by_category.get(name, {}), intervals.get("per_category", {}).get(name))
        for name, counts in details.document["per_category"].items()
    ]
    overall = {"AP": part.AP, "AP50": part.AP50} if part is not None else {}
    return rows, _category_row("all", details.document["overall"], overall, intervals.get("AP"))


def _category_row(name: str, counts: dict[str, Any], ap: dict[str, float], interval: Any) -> list[str]:
    best = counts["best"] or {"F1": None, "score": None}
    return [
        name, str(counts["instances"]), str(counts["predictions"]), str(counts["found"]),
        f"{counts['count_error']:.2f}", _figure(ap.get("AP")), _between(interval), _figure(ap.get("AP50")),
        *(_figure(counts[key]) for key in ("precision", "recall", "F1")),
        _figure(best["F1"]), "-" if best["score"] is None else f"{best['score']:.2f}", _figure(counts["PQ"]),
    ]  # fmt: skip


def _pixels(semantic: SemanticMetrics, pixels: PixelScores | None, dataset: Dataset | None) -> dict[str, Any]:
    section: dict[str, Any] = {
        "head": ["category", *(column.replace("_", " ") for column in _PIXEL_COLUMNS), "ground-truth pixels"],
        "rows": [
            [name, *(_figure(scores.get(column)) for column in _PIXEL_COLUMNS), f"{int(scores['pixels'] or 0):,}"]
            for name, scores in semantic.per_category.items()
        ],
        "mean_accuracy": _figure(semantic.mean_accuracy),
        "fwIoU": _figure(semantic.fwIoU),
        "confusion": None,
        "worst": [],
        "best": [],
    }
    if dataset is not None and semantic.confusion is not None:
        first = 1 if dataset.uncovered == "ignore" else 0
        names = ["background", *(category.name for category in dataset.categories)][first:]
        section["confusion"] = plots.confusion(names, [row[first:] for row in semantic.confusion[first:]])
    if dataset is not None and pixels is not None:
        section["colours"] = label_colours(dataset)
        section["worst"] = pixel_gallery(pixels.worst(), dataset)
        section["best"] = pixel_gallery(pixels.best(), dataset)
    return section


def _confidence(details: Details) -> dict[str, Any]:
    return details.document["confidence"] or {}


def _figure(value: float | None) -> str:
    return "-" if value is None or value == -1 else f"{value:.3f}"


def _between(interval: Sequence[float] | None, *, signed: bool = False) -> str:
    if interval is None:
        return ""
    low, high = (f"{value:+.3f}" if signed else f"{value:.3f}" for value in interval)
    return f"{low} to {high}"
