"""What to annotate next, and what came back -> tables, or JSON on stdout."""

from typing import TYPE_CHECKING

from segkit.commands.output import Output, shown, table_of
from segkit.units import counted

if TYPE_CHECKING:
    from segkit.review.label import NextPlan
    from segkit.review.next_folder import Merged


def render_next(plan: "NextPlan", output: Output, *, files: bool) -> None:
    """The chosen pictures with what each is worth.

    Args:
        plan: What was chosen.
        output: Where to.
        files: Whether to name the files that would be written.
    """
    document = plan.to_json()
    output.json(document)
    table = table_of("to annotate next", "picture", "value", "score", "mask", "flip", "rarity", "instances")
    for each in document["next"]:
        parts = (f"{each['uncertainty'][name]:.2f}" for name in ("score", "mask", "flip", "rarity"))
        table.add_row(shown(each["image"]), f"{each['gain']:.3f}", *parts, str(each["instances"]))
    output.show(table)
    if files:
        for each in document["next"]:
            output.show(f"would write {shown(each['file'])}, and what is saved there to {shown(each['saved_as'])}")
    for message in plan.failed:
        output.note(f"warning: {shown(message)}")
    said = (
        f"{len(document['next'])} of {counted(plan.candidates, 'picture', 'pictures')} without annotations "
        f"({plan.annotated} have some), by {shown(str(plan.model))}"
    )
    output.show(said)
    output.gist(said)


def render_merged(merged: "Merged", output: Output) -> None:
    """What a person saved, and what was not touched."""
    for path in merged.saved:
        output.note(f"  {shown(str(path))}")
    if merged.saved or merged.untouched:
        saved = counted(len(merged.saved), "file was saved", "files were saved")
        output.note(f"{saved}; {merged.untouched} not touched, and still without annotations")
    for why in merged.kept:
        output.note(f"warning: {shown(why)}")
