"""A check of the machine -> lines, JSON or a block for a bug report on stdout."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from segkit.commands.output import Output, shown
from segkit.units import counted

if TYPE_CHECKING:
    from segkit.doctor.facts import Checkup

_STYLES = {"ok": "green", "note": "yellow", "problem": "red"}
_UNSAID = ("folder", "weights", "gpu use")  # areas with names of files and users


def render_checkup(found: "Checkup", output: Output, *, report: bool) -> None:
    """What was found, problems last, where they are read first."""
    output.json(found.to_plain())
    if report:  # the block alone goes to stdout
        sys.stdout.write(block(found))
    else:
        output = output.answering()
    order = {"ok": 0, "note": 1, "problem": 2}
    for fact in sorted(found.facts, key=lambda each: order[each.state]):
        output.show(f"[{_STYLES[fact.state]}]{fact.state:<8}[/] {fact.area:<9} {shown(fact.what)}")
        if fact.hint is not None:
            output.show(f"{'':18} -> {shown(fact.hint)}")
    notes = sum(fact.state == "note" for fact in found.facts)
    counts = f"{counted(len(found.problems), 'problem', 'problems')}, {counted(notes, 'note', 'notes')}"
    output.show(counts)
    output.gist(counts)


def block(found: "Checkup") -> str:
    """Markdown for a bug report."""
    lines = ["<details><summary>segkit doctor</summary>", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in found.environment.items()]
    lines += ["", *(f"- {fact.state}: {fact.area}: {fact.what}" for fact in found.facts
                    if fact.state != "ok" and fact.area not in _UNSAID)]  # fmt: skip
    return "\n".join([*lines, "", "</details>", ""]).replace(str(Path.home()), "~")
