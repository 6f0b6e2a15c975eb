"""Scores -> tables, or JSON on stdout."""

from typing import Any

from segkit.commands.output import Output, shown, table_of
from segkit.commands.render.next_steps import render_next
from segkit.evaluation.analysis.coverage import coverage_said
from segkit.evaluation.analysis.intervals import FEW_IMAGES
from segkit.evaluation.evaluation import EvaluationSummary
from segkit.evaluation.metrics import COMPARED, InstanceMetrics, Metrics, PanopticMetrics, compared_on, verdict
from segkit.evaluation.next_steps import next_steps
from segkit.units import counted, format_interval, format_score

_NUMBERS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
_RECALLS = ("AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
_PARTS = (("segm", "masks"), ("bbox", "boxes"), ("boundary", "boundaries"))


def render_metrics_table(metrics: Metrics, output: Output) -> None:
    """Metrics overall and per category."""
    for kind, title in _PARTS:
        if (part := getattr(metrics, kind)) is not None:
            _instances(title, part, output)
    if metrics.panoptic is not None:
        _panoptic(metrics.panoptic, output)
    if metrics.semantic is not None:
        table = table_of("pixels", "category", "IoU", "F1")
        for name, scores in metrics.semantic.per_category.items():
            table.add_row(shown(name), format_score(scores["IoU"]), format_score(scores["F1"]))
        table.add_row("mean", format_score(metrics.semantic.mIoU), format_score(metrics.semantic.F1), style="bold")
        output.show(table)
        edges = metrics.semantic.boundary_IoU
        output.show(
            f"pixel accuracy {format_score(metrics.semantic.pixel_accuracy)}"
            f"  mean accuracy {format_score(metrics.semantic.mean_accuracy)}"
            f"  frequency-weighted IoU {format_score(metrics.semantic.fwIoU)}"
            + (f"  boundary IoU {format_score(edges)}" if edges is not None else "")
        )
    for warning in metrics.warnings:
        output.note(f"warning: {shown(warning)}")


def _panoptic(part: PanopticMetrics, output: Output) -> None:
    """Panoptic quality by category, of things and of stuff."""
    names = ("PQ", "SQ", "RQ")
    table = table_of("things and stuff", "category", "kind", *names)
    for category, row in part.per_category.items():
        kind = "thing" if row["isthing"] else "stuff"
        table.add_row(shown(category), kind, *(format_score(row[name]) for name in names))
    for kind in ("things", "stuff"):
        table.add_row("mean", kind, *(format_score(getattr(part, kind)[name]) for name in names))
    table.add_row("mean", "all", *(format_score(getattr(part, name)) for name in names), style="bold")
    output.show(table)


def _instances(title: str, part: InstanceMetrics, output: Output) -> None:
    names = _NUMBERS
    table = table_of(title, "category", *names)
    for category, numbers in part.per_category.items():
        table.add_row(shown(category), *(format_score(numbers[name]) for name in names))
    table.add_row("all (mean)", *(format_score(getattr(part, name)) for name in names), style="bold")
    output.show(table)
    if part.areas is not None:
        _size_classes(title, part.areas, output)
    output.show("  ".join(f"{name} {format_score(getattr(part, name))}" for name in _RECALLS))


def _size_classes(title: str, areas: list[dict[str, Any]], output: Output) -> None:
    """A row for each size class that was named."""
    names = ("AP", "AP50", "AP75", "AR100")
    table = table_of(f"{title}, by area in pixels", "from", "to", "instances", *names)
    for row in areas:
        ends = f"{row['from']:g}", "" if row["to"] is None else f"{row['to']:g}"
        table.add_row(*ends, str(row["instances"]), *(format_score(row[name]) for name in names))
    output.show(table)


def _promise(promise: dict[str, Any], output: Output) -> None:
    """The threshold that keeps a promise, and what it was found on."""
    images = counted(promise["images"], "image", "images")
    instances = counted(promise["instances"], "instance", "instances")
    output.show(
        f"recall >= {promise['recall']:g} on further images like these, in the mean: --score {promise['score']!r} "
        f"(found on {images} with {instances}, whose mean recall with it is "
        f"{promise['mean_recall']:.3f})"
    )


def _as_tool(found: dict[str, Any], output: Output) -> None:
    """A row for each rule of another tool: the scores with it and all before it, and what it changed."""
    for kind, title in _PARTS:
        rows = found.get(kind)
        if rows is None:
            continue
        names = [name for name in _NUMBERS if name in rows[0]]
        table = table_of(f"{title}, as {found['tool']} {found['version']} scores them", "rule", *names, "AP changes by")
        before = None
        for row in rows:
            change = "" if before is None else f"{row['AP'] - before:+.4f}"
            table.add_row(row["rule"], *(format_score(row[name]) for name in names), change)
            before = row["AP"]
        output.show(table)
    if "segm" in found or "bbox" in found:
        output.show("each row has the rules above it, too; where they are in the tool's source: metrics.json, --json")


def render_evaluation(summary: EvaluationSummary, output: Output) -> None:
    """Metrics, the error analysis if it was asked for, and the files that were written."""
    metrics, output = summary.metrics, output.answering()
    output.json(summary.to_json())
    render_metrics_table(metrics, output)
    for kind, title in _PARTS:
        part = getattr(metrics, kind)
        if part is not None and part.at_max_dets is not None:
            output.show(f"{title}, up to {metrics.max_dets} detections per image: {_line(part.at_max_dets)}")
        if metrics.lvis is not None and kind in metrics.lvis:
            output.show(f"{title}, LVIS: {_line(metrics.lvis[kind])}")
    if metrics.details is not None:
        _details(metrics.details, output)
    if metrics.semantic is not None and metrics.semantic.mIoU_interval is not None:
        note = _worth(metrics.images, [metrics.semantic.mIoU_coverage])
        output.show(f"mIoU, 95 % confidence interval: {format_interval(metrics.semantic.mIoU_interval)}{note}")
    if metrics.agreement is not None:
        _agreement(metrics.agreement, output)
    if metrics.compare is not None:
        _comparison(metrics.compare, output)
    output.show(counted(metrics.images, "image", "images"))
    output.gist(_gist(metrics))
    if metrics.as_tool is not None:
        _as_tool(metrics.as_tool, output)
    if metrics.promise is not None and "refused" not in metrics.promise:
        _promise(metrics.promise, output)
    for path in summary.files:
        output.note(f"  {shown(str(path))}")
    render_next(next_steps(metrics), output)


def _gist(metrics: Metrics) -> str:
    """The scores in one line."""
    parts = []
    for kind, title in _PARTS:
        if (part := getattr(metrics, kind)) is not None:
            parts.append(f"{title}  " + _line({name: getattr(part, name) for name in (*_NUMBERS, *_RECALLS)}))
    if metrics.panoptic is not None:
        parts.append(f"PQ {format_score(metrics.panoptic.PQ)}")
    if metrics.semantic is not None:
        parts.append(f"mIoU {format_score(metrics.semantic.mIoU)}  F1 {format_score(metrics.semantic.F1)}")
    return "  ".join((*parts, counted(metrics.images, "image", "images")))


def _details(details: dict[str, Any], output: Output) -> None:
    title = f"confidence >= {details['score']:g}, IoU >= 0.5"
    table = table_of(title, "category", "instances", "tp", "fp", "precision", "recall", "F1", "PQ")
    rows = [*details["per_category"].items(), ("all", details["overall"])]
    for n, (name, counts) in enumerate(rows):
        cells = (str(counts[key]) for key in ("instances", "found", "wrong"))
        figures = (format_score(counts[key]) for key in ("precision", "recall", "F1", "PQ"))
        table.add_row(shown(name), *cells, *figures, style="bold" if n == len(rows) - 1 else None)
    output.show(table)
    output.show('row "all": detections of all categories pooled; PQ: the mean over categories')
    overall = details["overall"]
    output.show(
        f"instances counted per image: mean absolute error {overall['count_error']:.2f}, "
        f"mean error {overall['count_bias']:+.2f}"
    )
    if (best := overall["best"]) and not best["F1"]:
        output.show("best F1 0.000: no detection is a true positive, at any --score")
    elif best:
        output.show(
            f"best F1 {format_score(best['F1'])}, with --score {best['score']!r} "
            "(chosen on the images that it is scored on: expect less on others)"
        )
    mistakes = details["mistakes"]
    at_score = f"count, confidence >= {details['score']:g}"
    table = table_of("error types (TIDE)", "error", at_score, "count, all scores", "AP50 gained if fixed")
    for kind, count in mistakes["counts"].items():
        table.add_row(kind, str(mistakes["counts_at_score"][kind]), str(count), f"{mistakes['AP50_cost'][kind]:.3f}")
    output.show(table)
    if confidence := details["confidence"]:
        output.show(_intervals(confidence))


_MOST_PICTURES = 10


def _agreement(agreement: dict[str, Any], output: Output) -> None:
    """How far two people agree, by category, and where they differ most."""
    table = table_of(
        "two annotators", "category", "first", "second", "agreed", "F1", "PQ", "mean IoU", "outlines apart (px)", "95 %"
    )
    rows = [*agreement["per_category"].items(), ("all", agreement["overall"])]
    for n, (name, each) in enumerate(rows):
        counts = (str(each[key]) for key in ("first", "second", "agreed"))
        figures = (format_score(each[key]) for key in ("F1", "PQ", "mean_IoU"))
        apart = ("-" if each[key] is None else f"{each[key]:.2f}" for key in ("outline_distance", "hausdorff95"))
        table.add_row(shown(name), *counts, *figures, *apart, style="bold" if n == len(rows) - 1 else None)
    output.show(table)
    kinds = agreement["categories"]
    kappa = "" if kinds["kappa"] is None else f"; Cohen's kappa {kinds['kappa']:.3f}"
    output.show(f"categories: {kinds['same']} of {kinds['pairs']} instances of both have the same one{kappa}")
    for each in kinds["confused"][:_MOST_PICTURES]:
        output.show(
            f"  {shown(each['first'])} for the first is {shown(each['second'])} for the second: {each['count']}"
        )
    table = table_of("where they differ most", "picture", "PQ", "agreed", "only first", "only second")
    for row in agreement["pictures"][:_MOST_PICTURES]:
        counts = (str(row[key]) for key in ("agreed", "only_first", "only_second"))
        table.add_row(shown(row["file_name"]), f"{row['PQ']:.3f}", *counts)
    output.show(table)


def _intervals(confidence: dict[str, Any]) -> str:
    """The confidence intervals, and how much they are worth."""
    names = [name for name in ("AP", "AP50", "PQ") if confidence[name] is not None]
    if not names:
        return "no 95 % confidence intervals: a single image, or images that do not differ, cannot tell"
    listed = ", ".join(f"{name} {format_interval(confidence[name])}" for name in names)
    note = _worth(confidence["images"], [confidence["coverage"][name] for name in names])
    return f"95 % confidence intervals: {listed}{note}"


def _worth(images: int, coverage: list[list[float] | None]) -> str:
    """How much intervals of so many images are worth, in brackets."""
    notes = ["rough: fewer than 30 images" if images < FEW_IMAGES else "", coverage_said(coverage)]
    return f" ({'; '.join(filter(None, notes))})" if any(notes) else ""


def _comparison(compare: dict[str, Any], output: Output) -> None:
    output.show(f"compared with {shown(compare['with'])}: {shown(compared_on(compare))}")
    for part, name in COMPARED:
        if found := compare.get(part):
            interval = format_interval(found["interval"], "+.3f") or "-"
            output.show(
                f"{part} {name} {format_score(found[name])} and {format_score(found['other_' + name])}: "
                f"difference {found['value']:+.3f} (95 % confidence interval {interval}, p = {found['p']:.3g}, "
                f"which can be no less than {found['smallest_p']:.2g}: {verdict(found['p'])})"
            )


def _line(numbers: dict[str, float]) -> str:
    return "  ".join(f"{name} {format_score(value)}" for name, value in numbers.items())
