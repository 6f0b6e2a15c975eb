"""The help without boxes and colours: for pipes and files, and for terminals that cannot draw (``TERM=dumb``)."""

import sys
from typing import Any

from rich.console import Console


def can_draw() -> bool:
    """Whether standard output is a terminal on which boxes are more than noise."""
    return sys.stdout.isatty() and not Console().is_dumb_terminal


def write_plain_help(command: Any, ctx: Any, formatter: Any) -> None:
    """Write the help of a command or of the program, with options under the same headings as in boxes.

    Args:
        command: Typer's command or group.
        ctx: Its context.
        formatter: Click's formatter, which wraps lines.
    """
    command.format_usage(ctx, formatter)
    for paragraph in (command.help or "").split("\n\n"):
        formatter.write_paragraph()
        formatter.write_text(_plain(" ".join(line.strip() for line in paragraph.splitlines())))
    for heading, rows in _sections(command, ctx).items():
        with formatter.section(heading):
            formatter.write_dl(rows)


def _sections(command: Any, ctx: Any) -> dict[str, list[tuple[str, str]]]:
    """Names with what they mean, by heading."""
    found: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
    for each in command.get_params(ctx):
        if (record := each.get_help_record(ctx)) is not None:
            heading = "Arguments" if each.param_type_name == "argument" else "Options"
            rows = found.setdefault(getattr(each, "rich_help_panel", None) or heading, [])
            rows.append((record[0], _plain(" ".join(record[1].split()))))
    for name in command.list_commands(ctx) if hasattr(command, "list_commands") else ():
        summary = (command.get_command(ctx, name).help or "").partition("\n\n")[0]
        found.setdefault("Commands", []).append((name, _plain(" ".join(summary.split()))))
    return {heading: rows for heading, rows in found.items() if rows}


def _plain(text: str) -> str:
    """A text without the markup of docstrings; Typer's own "[default: x]" is none."""
    return text.replace("[bold]", "").replace("[/bold]", "").replace("\\[", "[")
