"""The sentences of a memory report: the verdict and the leaks, the same on the terminal and on the page.

The profiled process imports this as well: the standard library has to do.
"""

from collections.abc import Sequence
from typing import NamedTuple

from segkit.memory.findings.fixes import WHERE
from segkit.memory.findings.records import Leak
from segkit.memory.holders.survival import STEPS_NEEDED, Verdict
from segkit.units import format_bytes


class VerdictText(NamedTuple):
    """A verdict in words."""

    title: str
    sentence: str


VERDICTS: dict[Verdict, VerdictText] = {
    "clean": VerdictText("Clean", "nothing is kept from step to step"),
    "watch": VerdictText("Watch", "something is kept, but too few steps were measured to call it a leak"),
    "leak": VerdictText("Leak", "every step keeps memory that is never freed"),
    "inconclusive": VerdictText("Inconclusive", f"too few steps to decide; measure at least {STEPS_NEEDED}"),
}


def verdict_of(leaks: Sequence[Leak], steps: int) -> Verdict:
    """The verdict for some leaks, after so many steps."""
    if any(leak.is_leak for leak in leaks):
        return "leak"
    if leaks:
        return "watch"
    return "clean" if steps >= STEPS_NEEDED else "inconclusive"


def leak_heading(leak: Leak) -> str:
    """The cause, the memory that it takes, how fast, and when that memory runs out."""
    end = f", out of memory in about {leak.steps_to_oom:,} steps" if leak.steps_to_oom is not None else ""
    return f"{leak.kind} {WHERE[leak.where]}: {format_bytes(leak.bytes_per_step)} a step{end}"


def leak_rows(leak: Leak) -> list[tuple[str, str]]:
    """What is known of a leak, and the fix: label and text."""
    surely = "" if leak.stored_surely else " (likely, from the source)"
    rows = [
        ("held by", leak.held_by or "nothing that Python can name"),
        ("valid in", leak.scope),
        ("made at", leak.allocated_at),
        ("stored at", f"{leak.stored_at}{surely}" if leak.stored_at is not None else None),
        ("graph", f"{leak.graph_nodes} autograd nodes a step" if leak.graph_nodes else None),
        ("fix", leak.fix),
    ]
    return [(label, text) for label, text in rows if text]
