"""What to do next -> lines on stderr."""

from collections.abc import Iterable

from segkit.commands.output import Output, shown
from segkit.next_step import NextStep


def render_next(steps: Iterable[NextStep], output: Output) -> None:
    """What to do now; commands are on lines of their own, which can be copied."""
    for number, step in enumerate(steps):
        if not number:
            output.note("Next:")
        output.note(f"- {shown(step.why)}")
        if step.command:
            output.note(f"    {shown(step.command)}")
