"""What to annotate next, and what came back -> tables, or JSON on stdout."""

from typing import TYPE_CHECKING

from segkit.commands.output import Output, shown, table_of
from segkit.units import counted

if TYPE_CHECKING:
    from segkit.review.label import LabelSummary
    from segkit.review.next_plan import NextPlan


def render_label(summary: "LabelSummary", output: Output, *, files: bool) -> None:
    """What was chosen, where it was only asked for; else what a person saved, and what was not touched.

    Args:
        summary: What was done.
        output: Where to.
        files: Whether to name the files that would be written.
    """
    output.json(summary.to_json())
    if summary.plan is not None:
        for message in summary.plan.failed:
            output.note(f"warning: {shown(message)}")
        if summary.exit_code is None:
            _chosen(summary.plan, output.answering(), files=files)
    if summary.merged is not None:
        for line in summary.merged.said():
            output.note(shown(line))


def _chosen(plan: "NextPlan", output: Output, *, files: bool) -> None:
    """The chosen pictures with what each is worth."""
    document = plan.to_json()
    table = table_of("to annotate next", "picture", "value", "score", "mask", "flip", "rarity", "instances")
    for each in document["next"]:
        parts = (f"{each['uncertainty'][name]:.2f}" for name in ("score", "mask", "flip", "rarity"))
        table.add_row(shown(each["image"]), f"{each['gain']:.3f}", *parts, str(each["instances"]))
    output.show(table)
    if files:
        for each in document["next"]:
            output.show(f"would write {shown(each['file'])}, and what is saved there to {shown(each['saved_as'])}")
    said = (
        f"{len(document['next'])} of {counted(plan.candidates, 'picture', 'pictures')} without annotations "
        f"({plan.annotated} have some), by {shown(str(plan.model))}"
    )
    output.show(said)
    output.gist(said)
