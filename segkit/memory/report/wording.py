"""The sentences of a memory report: the verdict and the leaks, the same on the terminal and on the page.

The profiled process imports this as well: the standard library has to do.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

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
    "snapshot": VerdictText("Snapshot", "what is alive at one moment, by the line that allocated it"),
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


_FOUND = re.compile(r"next\(o for o in gc\.get_objects\(\) if [^()]*\(o\)\.__name__ == '(\w+)'[^()]*\)")
_IN_WORDS = (
    (re.compile(r"list\(gc\.get_referents\(([\w.]+)\)\[\d+\]\.values\(\)\)"), "the cache of {}"),
    (re.compile(r"inspect\.signature\(([^()]+)\)\.parameters\['(\w+)'\]\.default"), "{1}, a default of {0}(): {1}"),
    (re.compile(r"inspect\.getclosurevars\(([\w.]+)\)\.nonlocals\['(\w+)'\]"), "{1}, a variable around {0}(): {1}"),
)
_VARIABLE = re.compile(r"\.gi_frame\.f_locals\['(\w+)'\]")


def held_in_words(leak: Leak) -> str | None:
    """What holds the memory, as the user's code calls it, where ``held_by`` is Python that finds it in the heap.

    ``itertools.cycle(loader)``; a variable of a generator that no name reaches; ``self`` of an object without a name.
    """
    if leak.kind == "iterator that keeps":
        return leak.holder
    if leak.kind == "linked records":
        return f"{leak.holder}, and what it refers to"
    if leak.kind == "finalizer":
        return "weakref.finalize(...)"
    for pattern, words in _IN_WORDS:
        found = pattern.match(leak.held_by or "")
        if found is not None:
            return words.format(*found.groups()) + str(leak.held_by)[found.end() :]
    found = _FOUND.match(leak.held_by or "")
    if found is None:
        return leak.held_by
    inner = str(leak.held_by)[found.end() :]
    return _VARIABLE.sub(r"\1", inner, 1) if found[1] == "generator" else f"self{inner}"


def leak_rows(leak: Leak) -> list[tuple[str, str]]:
    """The fix, and what is known of a leak: label and text."""

    def with_source(place: str | None) -> str | None:
        text = leak.sources.get(place or "")
        return f"{place}  {text}" if text else place

    surely = "" if leak.stored_surely else " (likely, from the source)"
    stored_at = with_source(leak.stored_at)
    rows = [
        ("fix", leak.fix),
        ("but", leak.note),
        ("held by", held_in_words(leak) or "nothing that Python can name"),
        ("valid in", leak.scope),
        ("made at", with_source(leak.allocated_at)),
        ("stored at", f"{stored_at}{surely}" if stored_at is not None else None),
        ("graph", f"{leak.graph_nodes} autograd nodes a step" if leak.graph_nodes else None),
    ]
    return [(label, text) for label, text in rows if text]


def cost_of(document: dict[str, Any]) -> str:
    """What the measuring has taken of the script's time; empty for a report that does not say it."""
    cost = document.get("cost", {})
    if "search_seconds" not in cost:
        return ""
    searches = cost["search_seconds"] + cost["census_seconds"]
    text = f"searches took {searches:.1f} s of processor time"
    following, whole = cost.get("following_seconds"), cost.get("seconds")
    if following is not None:
        text += f", following the tensors about {following:.1f} s"
    if whole:
        text += f", of {whole:.1f} s in all"
    if cost.get("passed_over"):
        count = cost["followed"] + cost["passed_over"]
        text += f"; tensors were followed in {cost['followed']} of {count} steps"
    return text
