"""Records of training, evaluation, prediction and export -> tables on stderr, or JSON on stdout."""

from typing import TYPE_CHECKING

from rich.markup import escape

from segkit.commands.output import Output
from segkit.commands.render import table_of
from segkit.config.units import format_duration
from segkit.evaluate.metrics import InstanceMetrics, Metrics

if TYPE_CHECKING:
    from segkit.train import TrainingSummary

_ENDINGS = {
    "complete": "done",
    "time": "time is up",
    "patience": "no better score for a while",
    "interrupted": "interrupted",
}


def render_training(summary: "TrainingSummary", output: Output) -> None:
    """How a run ended, and where it is."""
    output.json(
        {
            "run": str(summary.run),
            "ended": summary.ended,
            "steps": summary.steps,
            "epochs": summary.epochs,
            "seconds": summary.seconds,
            "score": dict([summary.score]) if summary.score is not None else {},
            "best_step": summary.best_step,
            "skipped": summary.skipped,
            "metrics": summary.metrics.to_json() if summary.metrics is not None else None,
        }
    )
    if summary.metrics is not None:
        render_metrics_table(summary.metrics, output)
    score = ""
    if summary.score is not None:
        score = f", best {summary.score[0]} {summary.score[1]:.3f} at step {summary.best_step}"
    skipped = f", {summary.skipped} steps left out (loss not finite)" if summary.skipped else ""
    output.say(
        f"{_ENDINGS[summary.ended]}: {summary.steps} steps, {summary.epochs:.1f} epochs in "
        f"{format_duration(summary.seconds)}{score}{skipped}: {escape(str(summary.run))}"
    )
    if summary.ended == "interrupted":
        output.say(f"go on with: segkit train --resume {escape(str(summary.run))}")


def render_metrics_table(metrics: Metrics, output: Output) -> None:
    """Scores in all, and by category."""
    for title, part in (("masks", metrics.segm), ("boxes", metrics.bbox)):
        if part is not None:
            _instances(title, part, output)
    if metrics.semantic is not None:
        table = table_of("pixels", "category", "IoU", "F1")
        for name, scores in metrics.semantic.per_category.items():
            table.add_row(escape(name), _figure(scores["IoU"]), _figure(scores["F1"]))
        table.add_row("mean", _figure(metrics.semantic.mIoU), _figure(metrics.semantic.F1), style="bold")
        output.stderr.print(table)
        output.say(f"pixel accuracy {_figure(metrics.semantic.pixel_accuracy)}")
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


def _figure(value: float | None) -> str:
    """Three decimals; a dash where COCO says -1: there was nothing to average over."""
    return "-" if value is None or value == -1 else f"{value:.3f}"
