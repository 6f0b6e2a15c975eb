"""Summaries of training and prediction -> tables on stderr, or JSON on stdout."""

from typing import TYPE_CHECKING, Any

from segkit.commands.output import Output, shown, table_of
from segkit.commands.render.next_steps import render_next
from segkit.commands.render.scores import render_metrics_table
from segkit.next_step import NextStep
from segkit.units import counted, format_bytes, format_duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from segkit.evaluation.analysis.prediction_powered import Estimate
    from segkit.inference.estimates import Row
    from segkit.inference.predict import PredictionSummary
    from segkit.training.label_curve.curve import LabelCurve
    from segkit.training.summary import TrainingSummary

_ENDINGS = {
    "complete": "finished",
    "time": "time limit reached",
    "patience": "no improvement",
    "interrupted": "interrupted",
}


def render_training(summary: "TrainingSummary", output: Output) -> None:
    """How a run ended, its metrics, and its folder."""
    output.json(summary.to_json())
    if summary.best is not None:
        output.note(f"best.pt is the model after step {summary.best_step}, which scored:")
        render_metrics_table(summary.best, output)
    elif summary.metrics is not None:
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
    if summary.unlabelled:
        _note_unlabelled(summary.unlabelled, output)
    if summary.metrics is not None and summary.score is not None and not summary.metrics.finds_something():
        output.note("warning: the model finds nothing of the validation split: it has not learnt enough; train longer")
    if summary.memory is not None and summary.memory["needed"] is not None:
        output.note(_needed(summary.memory))
    if summary.memory_rise is not None:
        output.note(
            f"warning: memory use rose by {summary.memory_rise / 1024:.0f} KiB per step; find the cause with: "
            f"segkit memprofile {shown(str(summary.run))}"
        )
    if summary.ended == "interrupted":
        output.note(f"go on with: segkit train --resume {shown(str(summary.run))}")
    else:
        render_next(summary.next, output)


def render_label_curve(curve: "LabelCurve", output: Output) -> None:
    """What twice the labels would give."""
    found, folder = curve.document, shown(str(curve.folder))
    output.json(curve.to_json())
    if curve.interrupted:
        output.note(f"{len(found['points'])} parts are done; go on with: segkit train --resume {folder}")
        return
    if "now" in found:
        spread = "" if found["interval"] is None else " ({:.3f} to {:.3f}, 95 %)".format(*found["interval"])
        if found["interval"] is not None and found["exponents"] is None:
            spread = spread.replace(")", ", if scores follow 1 / sqrt(n))")
        most = f"; the category that gains most is {found['gains_most']!r}" if found["gains_most"] else ""
        output.note(
            f"{found['metric']} {found['now']:.3f} now with {found['images']} labelled images, {found['twice']:.3f}"
            f"{spread} at twice as many{shown(most)}"
        )
    output.note(f"  {folder}/curve.html\n  {folder}/curve.json\n  {folder}/curve.png")
    render_next([NextStep(**each) for each in found["next"]], output)


def _needed(memory: dict[str, Any]) -> str:
    """What was needed, beside what was said before the first step."""
    parts = []
    for name, size in memory["needed"].items():
        said = memory["said"][name] if memory["said"] is not None else None
        if size is not None:
            promised = "" if said is None else f" of {format_bytes(said)} that were said"
            over = ", more than was said" if said is not None and size > said else ""
            parts.append(f"{name} {format_bytes(size)}{promised}{over}")
    return f"memory needed at most: {', '.join(parts)}"


def _note_unlabelled(gave: dict[str, Any], output: Output) -> None:
    """What images without annotations gave."""
    begun = "were not used: the run ended before" if gave["from_step"] is None else f"from step {gave['from_step']} on"
    text = f"unlabelled: {counted(gave['images'], 'image', 'images')} {begun}"
    if gave["shown"]:
        text += f", pseudo-labels for {gave['used']} of {gave['shown']} that were shown"
    if gave["best_after"] is not None and gave["labels_alone"] is not None:
        text += f"; best score after as many steps: {gave['best_after']:.3f} with, {gave['labels_alone']:.3f} without"
    if gave["shown"] and not gave["weight"]:
        text += "; given up, as scores were below those of labels alone"
    output.note(text)


def render_prediction(summary: "PredictionSummary", output: Output) -> None:
    """Instances per category, and the files that were written."""
    found = ", ".join(f"{name} {count}" for name, count in summary.instances.items())
    skipped = f" ({summary.skipped} done before)" if summary.skipped else ""
    images = counted(summary.pictures, "image", "images")
    output.note(f"{images}{skipped} with {shown(str(summary.model))}: {shown(found)}")
    for path in summary.files.values():
        output.note(f"  {shown(str(path))}")
    if summary.estimates:
        _estimates(summary.estimates, output)
    for warning in summary.warnings:
        output.note(f"warning: {shown(warning)}")
    for message in summary.failed:
        output.error(message)


def _estimates(rows: "Sequence[Row]", output: Output) -> None:
    """Means over all pictures with their intervals, beside those of the annotated pictures alone."""
    first = rows[0]
    title = f"over {first.pictures} pictures, {first.annotated} of them annotated: mean of a picture"
    table = table_of(title, "category", "measure", "mean", "95 % interval", "annotated alone", "predicted alone")
    for row in rows:
        ends = [_interval(each) for each in (row.powered, row.plain)]
        mean = f"{row.powered.mean:.4g}"
        table.add_row(shown(row.category) or "all", row.measure, mean, *ends, f"{row.predicted:.4g}")
    output.show(table)


def _interval(estimate: "Estimate") -> str:
    if estimate.low is None or estimate.high is None:
        return "-"
    return f"{max(0.0, estimate.low):.4g} to {max(0.0, estimate.high):.4g}"
