"""From the result of a tool to the conclusion of its user: one rule a row; in doubt, in favour of the tool.

A rule gets the result for one script and gives an ``Opinion``. It knows neither whether the script leaks nor where.
"""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from . import stormlog, traceml
from .captures import RANGE
from .curves import FEWEST, first_step, rises, slope

KIB = 1024
SHOWN = 5


class Opinion(NamedTuple):
    """Whether a leak is reported, the lines that are shown for it, and after how many steps it is known."""

    accused: bool
    lines: frozenset[int] = frozenset()
    step: int | None = None


Rule = Callable[[dict[str, Any], Path], Opinion]


class Row(NamedTuple):
    """A row of the table: the results of a tool, and one rule, or several that differ in a threshold."""

    name: str
    tool: str
    rules: dict[str, Rule]


def by_rss(least: float, seen: dict[str, Any], script: Path) -> Opinion:
    """A significant slope of the process's and its children's resident memory."""
    values = [own + children for own, children, _ in seen["samples"]]
    return Opinion(slope(values, least), step=first_step(values, lambda part: slope(part, least)))


def by_memlab(seen: dict[str, Any], script: Path) -> Opinion:
    """A significant slope of the bytes that the reporter lists."""
    values = [size for size, _ in seen["samples"]]
    return Opinion(slope(values, 0), step=first_step(values, lambda part: slope(part, 0)))


def by_tracemalloc(least: float, seen: dict[str, Any], script: Path) -> Opinion:
    """A line of the script below which memory rises from each of four snapshots to the next."""
    samples = seen["samples"]
    series = {line: [sample.get(line, (0, 0))[0] for sample in samples] for sample in samples for line in sample}
    found = {int(line): values for line, values in series.items() if rises(values, least)}
    steps = [first_step(values, lambda part: rises(part, least)) for values in found.values()]
    return Opinion(bool(found), frozenset(found), min((step for step in steps if step is not None), default=None))


def by_memray(view: str, least: float, seen: dict[str, Any], script: Path) -> Opinion:
    """Among the five places with the most unfreed bytes a line of the script, no import, with at least so many."""
    text = script.read_text(encoding="utf-8").splitlines()
    imports = {n for n, line in enumerate(text, 1) if re.match(r"\s*(import|from)\s", line)}
    # What is kept at every second step of the range has at least so many blocks; a batch in use has fewer.
    blocks = (RANGE[1] - RANGE[0]) * len(seen["marks"]) / 2 if view == "range" else 0
    shown = [place for place, size, count in seen[view][:SHOWN] if size >= least and count >= blocks]
    lines = frozenset(int(place) for place in shown if place.isdigit()) - imports
    return Opinion(bool(lines), lines)


def by_traceml_command(seen: dict[str, Any], script: Path) -> Opinion:
    """Creep, early or confirmed, in any diagnosis of its final summary."""
    return Opinion(any("CREEP" in found["kind"] for found in seen["diagnoses"].values()))


def by_traceml_diagnosis(fewest: int | None, seen: dict[str, Any], script: Path) -> Opinion:
    """Creep, early or confirmed, by its own function on the peaks of the steps."""
    peaks = seen["samples"]

    def rule(part: Any) -> bool:
        return "CREEP" in traceml.diagnose(part, fewest)["kind"]

    return Opinion(rule(peaks), step=first_step(peaks, rule))


def by_stormlog(seen: dict[str, Any], script: Path) -> Opinion:
    """Its leak rule or its growth trend on resident memory a step."""

    def rule(part: Any) -> bool:
        found = stormlog.diagnose(part)
        return bool(found["leaks"] or found["trends"])

    return Opinion(rule(seen["samples"]), step=first_step(seen["samples"], rule))


def _levels(rule: Callable[..., Opinion], unit: str, *levels: float) -> dict[str, Rule]:
    return {f"{_size(level)}{unit}": partial(rule, level) for level in levels}


def _size(size: float) -> str:
    return f"{size / KIB:g} KiB" if size >= KIB else f"{size:g} B"


TOTALS = (4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, 1024 * KIB)
ROWS = (
    Row("memray, `--leaks`", "memray", _levels(partial(by_memray, "whole"), "", *TOTALS)),
    Row("memray, `--temporal --leaks`", "memray", _levels(partial(by_memray, "range"), "", *TOTALS)),
    Row("tracemalloc, 4 KiB a step", "tracemalloc", _levels(by_tracemalloc, " a step", 4 * KIB)),
    Row("tracemalloc, best threshold", "tracemalloc", _levels(by_tracemalloc, " a step", 16, 64, 256, KIB, 4 * KIB)),
    Row("pytorch_memlab, `MemReporter`", "memlab", {"": by_memlab}),
    Row("traceml-ai, `traceml run`", "traceml", {"": by_traceml_command}),
    Row("traceml-ai, its diagnosis fed with peaks", "peaks", {"": partial(by_traceml_diagnosis, None)}),
    Row("the same without its 50 steps", "peaks", {"": partial(by_traceml_diagnosis, FEWEST)}),
    Row("stormlog, its trend over RSS", "rss", {"": by_stormlog}),
    Row("RSS slope, 256 B a step", "rss", {"": partial(by_rss, 256)}),
    Row("RSS slope, 64 KiB a step", "rss", {"": partial(by_rss, 64 * KIB)}),
)
