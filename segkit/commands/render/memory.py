"""Memory profiles -> tables, or JSON on stdout; and a status line while a script runs."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.live import Live
from rich.text import Text

from segkit.commands.output import Output, shown, table_of
from segkit.commands.render.next_steps import render_next
from segkit.memory.findings.records import Leak
from segkit.memory.report.wording import VERDICTS, cost_of, leak_heading, leak_rows
from segkit.next_step import NextStep
from segkit.units import counted, format_bytes

if TYPE_CHECKING:
    from segkit.memprofile.profile import ProfileSummary

_TONES = {"clean": "green", "watch": "yellow", "leak": "red", "inconclusive": "dim", "snapshot": "cyan"}


@contextmanager
def live_line(output: Output) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A status line at the bottom of a terminal while a script runs; nothing in a log, or when quiet."""
    if output.quiet or not sys.stderr.isatty():
        yield lambda status: None
        return
    with Live(console=output.stderr, transient=True, refresh_per_second=4, redirect_stdout=False) as live:

        def show(status: dict[str, Any]) -> None:
            text = Text.assemble(
                ("segkit ", "dim"), f"step {status['step']}  ", f"{1000 * status['seconds']:.0f} ms  ",
                f"allocated {format_bytes(status['allocated'])}  peak {format_bytes(status['peak'])}  ",
                f"resident {format_bytes(status['rss'])}  ",
            )  # fmt: skip
            if status["verdict"]:
                holders = ", ".join(str(holder) for holder in status["holders"])
                text.append(f"{status['verdict']}: {holders}", style=_TONES[status["verdict"]])
            live.update(text)

        yield show


def render_profile(summary: "ProfileSummary", output: Output) -> None:
    """Phases and categories, leaks with their fixes, growth that is no leak, and the verdict."""
    document = summary.document
    output.json(summary.to_json())
    if not document:
        output.note(f"the script failed with exit code {summary.code} before a step was measured")
        return
    tone, (_, sentence) = _TONES[document["verdict"]], VERDICTS[document["verdict"]]
    verdict = f"[{tone}]{document['verdict']}: {sentence}[/{tone}]"
    output.show(verdict)
    output.gist(verdict)
    for number, leak in enumerate(document["leaks"], 1):
        _leak(number, Leak.from_json(leak), output)
    if document["verdict"] == "snapshot":
        _alive(document, output)
    else:
        _tables(document, output)
    for growth in document["growth"]:
        bound = f"; {growth['bound']}" if growth.get("bound") else ""
        size = f" ({format_bytes(growth['bytes'])})" if growth.get("bytes") else ""
        output.show(f"[cyan]no leak:[/cyan] {shown(growth['name'])}{size}: {shown(growth['what'])}{shown(bound)}")
    for problem in document["problems"]:
        output.note(f"warning: part of the measurement failed: {shown(problem.strip().splitlines()[-1])}")
    for what in document.get("unseen", ()):
        output.show(f"not counted: {shown(what)}")
    if document["verdict"] != "snapshot":
        peak = document["peak"]
        output.show(
            f"{document['steps']} steps, peak {format_bytes(peak['allocated'])} in {peak['phase']} "
            f"({shown(document['counted'])}), {format_bytes(peak['rss'])} resident"
        )
        if cost := cost_of(document):
            output.show(f"cost: {cost}")
    if document.get("exit_code"):
        output.show(f"the script itself ended with exit code {document['exit_code']}, which is that of this command")
    if summary.page_path is not None:
        output.note(f"{shown(str(summary.page_path))}\n{shown(str(summary.json_path))}")
    render_next([NextStep(**each) for each in document["next"]], output)


def _alive(document: dict[str, Any], output: Output) -> None:
    """What is alive in a snapshot of CUDA's allocator, by the line that allocated it."""
    peak = document["peak"]
    output.show(
        f"{format_bytes(peak['allocated'])} are alive, of {format_bytes(peak['reserved'])} that PyTorch has reserved"
    )
    table = table_of("alive, by line", "line", "memory", "blocks", "source")
    for each in document["top"]["alive"][:10]:
        table.add_row(
            shown(shorter(each["line"])), format_bytes(each["bytes"]), str(each["blocks"]), shown(each["source"])
        )
    output.show(table)
    repeated = next((each for each in document["top"]["alive"] if each["repeated"]), None)
    if repeated is not None:
        output.show(
            f"{shown(shorter(repeated['line']))} has allocated {repeated['blocks']} blocks one after another that are "
            "all alive: if it runs once a step, that is what a leak looks like; "
            "segkit memprofile -- SCRIPT names what holds them"
        )


def _tables(document: dict[str, Any], output: Output) -> None:
    on_device = document["peak"]["reserved"] is not None
    more = ("peak reserved", "fragmented", "driver") if on_device else ()
    table = table_of("by phase", "phase", "median time", "peak allocated", *more, "peak resident")
    for name, phase in document["phases"].items():
        seconds = "-" if phase["seconds"] is None else f"{1000 * phase['seconds']:.1f} ms"
        keys = ("allocated", "reserved", "fragmented", "driver", "rss") if on_device else ("allocated", "rss")
        table.add_row(name, seconds, *(format_bytes(phase.get(key)) for key in keys))
    output.show(table)
    if document.get("categories"):
        parts = ", ".join(
            f"{name.replace('_', ' ')} {format_bytes(size)}" for name, size in document["categories"].items()
            if size or name == "remainder"
        )  # fmt: skip
        output.show(f"at the peak: {shown(parts)}")
    _largest(document["top"], output)


def _largest(top: dict[str, Any], output: Output) -> None:
    """The step with the highest peak: its images, and its largest modules."""
    step = next(iter(top["steps"]), None)
    if step is None or not top["modules"]:
        return
    what = f", {counted(step['instances'], 'instance', 'instances')}" if step["instances"] else ""
    what += f" ({step['pictures']})" if step["pictures"] else ""
    modules = ", ".join(f"{name} {format_bytes(size)}" for name, size in list(top["modules"].items())[:3])
    output.show(f"highest peak in step {step['step']}{shown(what)}; largest modules: {shown(modules)}")


def _leak(number: int, leak: Leak, output: Output) -> None:
    word, tone = ("leak", "red") if leak.is_leak else ("watch", "yellow")
    output.show(f"[{tone}]{word} {number}[/{tone}]: {shown(leak_heading(leak))}")
    for label, text in leak_rows(leak):
        if (label, text) != ("valid in", "__main__"):
            output.show(f"  {label:9}  {shown(shorter(text))}")


def shorter(place: str) -> str:
    """A path without the working folder."""
    return place.replace(f"{Path.cwd()}{os.sep}", "")
