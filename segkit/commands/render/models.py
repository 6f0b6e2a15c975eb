"""Summaries of training, prediction and export -> tables on stderr, or JSON on stdout."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from segkit.commands.output import Output, shown, table_of
from segkit.commands.render.scores import render_metrics_table
from segkit.units import format_bytes, format_duration

if TYPE_CHECKING:
    from segkit.export.export import ExportSummary
    from segkit.inference.predict import PredictionSummary
    from segkit.training.summary import TrainingSummary

_ENDINGS = {
    "complete": "finished",
    "time": "time limit reached",
    "patience": "no improvement",
    "interrupted": "interrupted",
}


def render_training(summary: "TrainingSummary", output: Output) -> None:
    """How a run ended, its metrics, and its folder."""
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
            "bad_pictures": summary.bad_pictures,
            "micro_batch": summary.micro_batch,
            "memory_rise": summary.memory_rise,
            "metrics": summary.metrics.to_json() if summary.metrics is not None else None,
        }
    )
    if summary.metrics is not None:
        render_metrics_table(summary.metrics, output)
    score = ""
    if summary.score is not None:
        score = f", best {summary.score[0]} {summary.score[1]:.3f} at step {summary.best_step}"
    skipped = f", {summary.skipped} steps skipped (loss not finite)" if summary.skipped else ""
    bad = f", {summary.bad_pictures} unreadable images skipped" if summary.bad_pictures else ""
    output.note(
        f"{_ENDINGS[summary.ended]}: {summary.steps} steps, {summary.epochs:.1f} epochs in "
        f"{format_duration(summary.seconds)}{score}{skipped}{bad}: {shown(str(summary.run))}"
    )
    if summary.metrics is not None and summary.score is not None and not summary.metrics.finds_something():
        output.note("warning: the model finds nothing of the validation split: it has not learnt enough; train longer")
    if summary.memory_rise is not None:
        output.note(
            f"warning: memory use rose by {summary.memory_rise / 1024:.0f} KiB per step; find the cause with: "
            f"segkit memprofile {shown(str(summary.run))}"
        )
    if summary.ended == "interrupted":
        output.note(f"go on with: segkit train --resume {shown(str(summary.run))}")


def render_prediction(summary: "PredictionSummary", output: Output) -> None:
    """Instances per category, and the files that were written."""
    found = ", ".join(f"{name} {count}" for name, count in summary.instances.items())
    skipped = f" ({summary.skipped} done before)" if summary.skipped else ""
    output.note(f"{summary.pictures} images{skipped} with {shown(str(summary.model))}: {shown(found)}")
    for path in summary.files.values():
        output.note(f"  {shown(str(path))}")
    for warning in summary.warnings:
        output.note(f"warning: {shown(warning)}")
    for message in summary.failed:
        output.error(message)


def render_export(summary: "ExportSummary", output: Output) -> None:
    """How far the exported model differs from the original."""
    output.json(
        {
            "source": str(summary.source),
            "out": str(summary.out),
            "bytes": summary.size,
            "real_pictures": summary.real_pictures,
            "differences": [asdict(d) for d in summary.differences],
            "unjudged": list(summary.unjudged),
        }
    )
    table = table_of(
        "maximum differences from the original, in ONNX Runtime", "image", "instances", "boxes", "scores", "masks"
    )
    for d in summary.differences:
        cells = (f"{value:.1e}" if value else "0" for value in (d.boxes, d.scores, d.masks))
        table.add_row(shown(d.picture), str(d.instances), *cells)
    output.stderr.print(table)
    if summary.unjudged:
        names = shown(", ".join(summary.unjudged))
        output.note(f"not compared, as rounding alone changes the predictions there: {names}")
    if not summary.real_pictures:
        output.note(
            "warning: the run's dataset was not found; compared on synthetic images (name a dataset with --data)"
        )
    output.note(f"wrote {shown(str(summary.out))} ({format_bytes(summary.size)}) from {shown(str(summary.source))}")
