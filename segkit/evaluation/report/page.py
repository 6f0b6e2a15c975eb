"""An evaluation as one self-contained HTML page, without network access or scripts.

The text is in ``templates/report.html``, which Jinja renders with autoescape; this module prepares the numbers.
"""

from pathlib import Path
from typing import Any, NamedTuple

from segkit.config.evaluate import EvalConfig
from segkit.config.fields import flag_of, options_of
from segkit.data.records import Dataset
from segkit.evaluation.analysis.coverage import coverage_said
from segkit.evaluation.analysis.details import Details
from segkit.evaluation.coco.ids import images_by_integer_id
from segkit.evaluation.coco.instance_metrics import NUMBERS
from segkit.evaluation.evaluation import Evaluation
from segkit.evaluation.metrics import COMPARED, InstanceMetrics, Metrics, SemanticMetrics, compared_on, verdict
from segkit.evaluation.next_steps import next_steps
from segkit.evaluation.pixels.per_image import PixelScores
from segkit.evaluation.provenance import methods_paragraph
from segkit.evaluation.report import plots
from segkit.evaluation.report.annotators import annotators_section
from segkit.evaluation.report.gallery import filters_of, find_image, instance_gallery, label_colours, pixel_gallery
from segkit.pages import page_environment
from segkit.progress import SILENT, Progress
from segkit.units import counted, format_interval, format_score

_IOU_TYPES = (("segm", "mask"), ("bbox", "box"), ("boundary", "boundary"))
_INSTANCE_HEAD = (
    "category", "instances", "predictions", "TP", "count error", "AP", "95 % CI", "AP50", "precision", "recall",
    "F1", "best F1", "at score", "PQ",
)  # fmt: skip
_PIXEL_COLUMNS = ("IoU", "F1", "precision", "recall", "boundary_IoU")
_TEMPLATES = page_environment(Path(__file__).with_name("templates"))


class Headline(NamedTuple):
    """One number at the top of the page."""

    title: str
    value: str
    note: str = ""


def render_report(
    evaluation: Evaluation, metrics: Metrics, details: Details | None, progress: Progress = SILENT
) -> str:
    """The page.

    Args:
        evaluation: What was evaluated.
        metrics: The numbers.
        details: The details behind instance scores; None where only pixels were scored.
        progress: Shows the state of the work.
    """
    progress.start("rendering the report", None)
    dataset, pixels = evaluation.dataset, evaluation.pixels
    assert dataset is not None
    coco = [
        [name, *(format_score(getattr(part, number)) for number in NUMBERS)]
        for iou_type, name in _IOU_TYPES
        if (part := getattr(metrics, iou_type)) is not None
    ]
    page = _TEMPLATES.get_template("report.html").render(
        title=Path(evaluation.subject).name,
        facts=_facts(evaluation, metrics),
        next=next_steps(metrics),
        metrics=metrics,
        headlines=_instance_headlines(metrics, details) + _pixel_headlines(metrics),
        comparison=_comparison(metrics.compare or {}),
        compared_on=None if metrics.compare is None else compared_on(metrics.compare),
        coverage=_coverage(metrics.semantic, details),
        about=_about(metrics.about),
        methods=methods_paragraph(metrics),
        annotators=annotators_section(metrics.agreement),
        coco=coco,
        coco_names=list(NUMBERS),
        instances=None if details is None else _instances(metrics, details, dataset),
        pixels=None if metrics.semantic is None or pixels is None else _pixels(metrics.semantic, pixels, dataset),
    )
    progress.done()
    return page


def _instance_headlines(metrics: Metrics, details: Details | None) -> list[Headline]:
    headlines = []
    for iou_type, name in _IOU_TYPES:
        part: InstanceMetrics | None = getattr(metrics, iou_type)
        if part is not None:
            intervals = {} if details is None or details.iou_type != iou_type else _confidence(details)
            for number in ("AP", "AP50"):
                interval = format_interval(intervals.get(number))
                headlines.append(Headline(f"{name} {number}", format_score(getattr(part, number)), interval))
    if details is None:
        return headlines
    if (best := details.document["overall"]["best"]) and best["F1"]:
        note = f"at score {best['score']!r}, chosen on these images"
        headlines.append(Headline("best F1", format_score(best["F1"]), note))
    interval = format_interval(_confidence(details).get("PQ"))
    note = f"{interval}{', ' if interval else ''}at score {details.score:g}"
    headlines.append(Headline("PQ", format_score(details.document["overall"]["PQ"]), note))
    return headlines


def _pixel_headlines(metrics: Metrics) -> list[Headline]:
    semantic, panoptic = metrics.semantic, metrics.panoptic
    headlines = []
    if panoptic is not None:
        kinds = (("things and stuff", panoptic.PQ), ("things", panoptic.things["PQ"]), ("stuff", panoptic.stuff["PQ"]))
        headlines = [Headline(f"PQ of {name}", format_score(value)) for name, value in kinds]
    if semantic is None:
        return headlines
    return [
        *headlines,
        Headline("mIoU", format_score(semantic.mIoU), format_interval(semantic.mIoU_interval)),
        Headline("F1 (Dice)", format_score(semantic.F1)),
        Headline("pixel accuracy", f"{semantic.pixel_accuracy:.1%}"),
        Headline("boundary IoU", format_score(semantic.boundary_IoU)),
    ]


def _coverage(semantic: SemanticMetrics | None, details: Details | None) -> str:
    """How often intervals such as those of the page contained the score in simulations, in words."""
    confidence = {} if details is None else _confidence(details)
    ranges = [each for name, each in confidence.get("coverage", {}).items() if confidence[name] is not None]
    return coverage_said([*ranges, None if semantic is None else semantic.mIoU_coverage])


def _facts(evaluation: Evaluation, metrics: Metrics) -> list[tuple[str, str]]:
    """What the page is about: model, data, options, versions and date."""
    about = metrics.about or {"subject": {}, "data": {}, "options": {}, "versions": {}, "date": ""}
    subject, data, versions = about["subject"], about["data"], about["versions"]
    made = [subject[key] for key in ("architecture",) if key in subject]
    made += [f"step {subject['step']}"] if subject.get("step") is not None else []
    counts = [counted(metrics.images, "image", "images")]
    if data.get("annotations") is not None:
        counts.append(counted(data["annotations"], "annotation", "annotations"))
    changed = [
        f"{flag_of(each)} {value}"
        for each in options_of(EvalConfig)
        if (value := about["options"].get(each.name)) not in (None, [], each.default)
    ]
    packages = [f"{name} {versions[name]}" for name in ("segkit", "torch") if name in versions]
    return [
        (
            "model" if made else "results",
            " ".join([evaluation.subject, f"({', '.join(made)})" if made else ""]).strip(),
        ),
        ("dataset", str(evaluation.truth)),
        ("split", data.get("split") or ""),
        ("data", ", ".join(counts)),
        ("options", ", ".join(changed) or "all defaults"),
        ("made with", ", ".join(packages)),
        ("date", about["date"]),
    ]


def _about(about: dict[str, Any] | None) -> list[list[str]]:
    """What was evaluated on what, in rows of a table."""
    if about is None:
        return []
    rows = []
    for name in ("subject", "data"):
        part = about[name]
        more = [f"{key} {value}" for key, value in part.items() if key not in ("file", "digest") and value is not None]
        rows.append([name, part["file"], ", ".join(more), part["digest"] or "-"])
    versions = ", ".join(f"{package} {number}" for package, number in about["versions"].items())
    given = ", ".join(f"{name} {value}" for name, value in about["options"].items() if value is not None)
    return [*rows, ["options", given, "", ""], ["versions", versions, about["date"], ""]]


def _comparison(compare: dict[str, Any]) -> list[list[str]]:
    rows = []
    for part, name in COMPARED:
        if found := compare.get(part):
            rows.append(
                [f"{name} ({part})", format_score(found[name]), format_score(found[f"other_{name}"]),
                 f"{found['value']:+.3f}", format_interval(found["interval"], "+.3f"), f"{found['p']:.3g}",
                 verdict(found["p"])]
            )  # fmt: skip
    return rows


def _instances(metrics: Metrics, details: Details, dataset: Dataset) -> dict[str, Any]:
    worst, best = instance_gallery(details, images_by_integer_id(dataset), dataset.paths)
    part: InstanceMetrics = getattr(metrics, details.iou_type)
    intervals, confusion = _confidence(details), details.document["confusion"]
    of_category, overall = intervals.get("per_category", {}), {"AP": part.AP, "AP50": part.AP50}
    return {
        "head": _INSTANCE_HEAD,
        "rows": [
            _category_row(name, counts, part.per_category[name], of_category.get(name))
            for name, counts in details.document["per_category"].items()
        ],
        "total": _category_row("all", details.document["overall"], overall, intervals.get("AP")),
        "score": f"{details.score:g}",
        "plots": {
            "error_costs": plots.error_costs(details),
            "precision_recall": plots.precision_recall(details),
            "over_thresholds": plots.over_thresholds(details),
            "confusion": plots.confusion(confusion["categories"], confusion["counts"], nothing=True),
            "score_histogram": plots.score_histogram(details),
            "size_histogram": plots.size_histogram(details),
        },
        "num_lost": sum(find_image(dataset.paths, image) is None for image in dataset.images),
        "filters": filters_of("instances", [*worst, *best], dataset),
        "worst": worst,
        "best": best,
    }


def _category_row(name: str, counts: dict[str, Any], ap: dict[str, float], interval: Any) -> list[str]:
    best = counts["best"] or {"F1": None, "score": None}
    return [
        name, str(counts["instances"]), str(counts["predictions"]), str(counts["found"]),
        f"{counts['count_error']:.2f}", format_score(ap.get("AP")), format_interval(interval) or "-",
        format_score(ap.get("AP50")),
        *(format_score(counts[key]) for key in ("precision", "recall", "F1")),
        format_score(best["F1"]), "-" if best["score"] is None else repr(best["score"]), format_score(counts["PQ"]),
    ]  # fmt: skip


def _pixels(semantic: SemanticMetrics, pixels: PixelScores, dataset: Dataset) -> dict[str, Any]:
    first = pixels.confusion.first
    names = ["background", *(category.name for category in dataset.categories)][first:]
    worst, best = pixel_gallery(pixels.worst(), dataset), pixel_gallery(pixels.best(), dataset)
    return {
        "head": ["category", *(column.replace("_", " ") for column in _PIXEL_COLUMNS), "ground-truth pixels"],
        "rows": [
            [name, *(format_score(scores.get(column)) for column in _PIXEL_COLUMNS), f"{int(scores['pixels'] or 0):,}"]
            for name, scores in semantic.per_category.items()
        ],
        "mean_accuracy": format_score(semantic.mean_accuracy),
        "fwIoU": format_score(semantic.fwIoU),
        "confusion": plots.confusion(names, pixels.confusion.counts[first:, first:]),
        "colours": label_colours(dataset),
        "filters": filters_of("pixels", [*worst, *best], dataset),
        "worst": worst,
        "best": best,
    }


def _confidence(details: Details) -> dict[str, Any]:
    return details.document["confidence"] or {}
