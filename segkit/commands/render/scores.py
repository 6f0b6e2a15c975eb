"""Scores -> tables on stderr, or JSON on stdout."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from segkit.commands.output import Output, table_of
from segkit.evaluate.metrics import InstanceMetrics, Metrics

if TYPE_CHECKING:
    from segkit.evaluate.evaluated import WrittenEvaluation

_PARTS = (("segm", "masks"), ("bbox", "boxes"), ("boundary", "boundaries"))


def render_metrics_table(metrics: Metrics, output: Output) -> None:
    """Scores in all, and by category."""
    for kind, title in _PARTS:
        if (part := getattr(metrics, kind)) is not None:
            _instances(title, part, output)
    if metrics.semantic is not None:
        table = table_of("pixels", "category", "IoU", "F1")
        for name, scores in metrics.semantic.per_category.items():
            table.add_row(escape(name), _figure(scores["IoU"]), _figure(scores["F1"]))
        table.add_row("mean", _figure(metrics.semantic.mIoU), _figure(metrics.semantic.F1), style="bold")
        output.stderr.print(table)
        edges = metrics.semantic.boundary_IoU
        output.say(
            f"pixel accuracy {_figure(metrics.semantic.pixel_accuracy)}"
            f"  mean accuracy {_figure(metrics.semantic.mean_accuracy)}"
            f"  IoU weighed by pixels {_figure(metrics.semantic.fwIoU)}"
            + (f"  boundary IoU {_figure(edges)}" if edges is not None else "")
        )
    for warning in metrics.warnings:
        output.say(f"warning: {escape(warning)}")


def _instances(title: str, part: InstanceMetrics, output: Output) -> None:
    names = ("AP", "AP50", "AP75", "APs", "APm", "APl")
    table = table_of(title, "category", *names)
    for category, numbers in part.per_category.items():
        table.add_row(escape(category), *(_figure(numbers[name]) for name in names))
    table.add_row("all", *(_figure(getattr(part, name)) for name in names), style="bold")
    output.stderr.print(table)
    recalls = ("AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
    output.say("  ".join(f"{name} {_figure(getattr(part, name))}" for name in recalls))


def render_evaluation(written: "WrittenEvaluation", output: Output) -> None:
    """Scores, the reasons that were asked for, and where they were written."""
    metrics = written.metrics
    output.json(metrics.to_json())
    render_metrics_table(metrics, output)
    for kind, title in _PARTS:
        part = getattr(metrics, kind)
        if part is not None and part.at_max_dets is not None:
            output.say(f"{title}, at most {metrics.max_dets} detections in an image: {_line(part.at_max_dets)}")
        if metrics.lvis is not None and kind in metrics.lvis:
            output.say(f"{title}, LVIS: {_line(metrics.lvis[kind])}")
    if metrics.details is not None:
        _details(metrics.details, output)
    if metrics.semantic is not None and metrics.semantic.mIoU_interval is not None:
        output.say(f"mIoU, 95 % interval: {_between(metrics.semantic.mIoU_interval)}")
    if metrics.compare is not None:
        _comparison(metrics.compare, output)
    output.say(f"{metrics.images} images")
    for path in written.files:
        output.say(f"  {escape(str(path))}")


def _details(details: dict[str, Any], output: Output) -> None:
    title = f"from score {details['score']:g} on, at IoU 0.5"
    table = table_of(title, "category", "instances", "found", "wrong", "precision", "recall", "F1", "PQ")
    rows = [*details["per_category"].items(), ("all", details["overall"])]
    for n, (name, counts) in enumerate(rows):
        cells = (str(counts[key]) for key in ("instances", "found", "wrong"))
        figures = (_figure(counts[key]) for key in ("precision", "recall", "F1", "PQ"))
        table.add_row(escape(name), *cells, *figures, style="bold" if n == len(rows) - 1 else None)
    output.stderr.print(table)
    overall = details["overall"]
    output.say(
        f"counts per picture: off by {overall['count_error']:.2f} on average, {abs(overall['count_bias']):.2f} too "
        + ("many" if overall["count_bias"] > 0 else "few")
    )
    if best := overall["best"]:
        output.say(f"best F1 {_figure(best['F1'])}, from score {best['score']:.3f} on")
    mistakes = details["mistakes"]
    table = table_of("what costs AP50", "mistake", "times", "AP50 to gain")
    for kind, count in mistakes["counts"].items():
        table.add_row(kind, str(count), f"{mistakes['AP50_cost'][kind]:.3f}")
    output.stderr.print(table)
    if confidence := details["confidence"]:
        output.say(
            f"95 % intervals over {confidence['resamples']} draws of the pictures: "
            f"AP {_between(confidence['AP'])}, AP50 {_between(confidence['AP50'])}"
        )


def _comparison(compare: dict[str, Any], output: Output) -> None:
    for part, name in (("segm", "AP"), ("bbox", "AP"), ("semantic", "mIoU")):
        if found := compare.get(part):
            verdict = "hardly chance" if found["p"] < 0.05 else "may be chance"
            output.say(
                f"{part} {name} {_figure(found[name])}, {escape(compare['with'])} {_figure(found['other_' + name])}: "
                f"difference {found['value']:+.3f} (95 % interval {_between(found['interval'], '+.3f')}, "
                f"p = {found['p']:.3g}: {verdict})"
            )


def _line(numbers: dict[str, float]) -> str:
    return "  ".join(f"{name} {_figure(value)}" for name, value in numbers.items())


def _figure(value: float | None) -> str:
    """Three decimals; a dash where COCO says -1: there was nothing to average over."""
    return "-" if value is None or value == -1 else f"{value:.3f}"


def _between(interval: Sequence[float] | None, form: str = ".3f") -> str:
    return "-" if interval is None else f"{interval[0]:{form}} to {interval[1]:{form}}"
