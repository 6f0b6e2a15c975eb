"""A conversion's summary -> tables, or JSON on stdout."""

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from rich.table import Table

from segkit.commands.output import Output, shown, table_of
from segkit.commands.render.next_steps import render_next
from segkit.data.records import Finding
from segkit.text import without_values
from segkit.units import counted

if TYPE_CHECKING:
    from segkit.conversion.summary import ConversionSummary


_MOST_KINDS = 25


def render_conversion(summary: "ConversionSummary", output: Output) -> None:
    """What was written, what was lost, and what looks like a mistake in the source."""
    if summary.dry_run:  # it was asked for what would be
        output = output.answering()
    output.json(summary.to_json())
    if summary.label_advice:
        output.show("Please check; where something is wrong, convert again with the option below it:")
        for each in summary.label_advice:
            output.show(shown(each.why))
            if each.remedy:  # on a line of its own, and not wrapped: it can be copied
                output.show(f"  [dim]{shown(each.remedy)}[/dim]")
    if summary.findings:
        output.show(_findings_table(summary))
        where = "--json lists all of them" if summary.dry_run else f"full list: {summary.out / 'report.json'}"
        output.show(shown(where) + "\n")
    counts = table_of("", "split", "images", "instances", "images without instances")
    for name, count in summary.splits.items():
        counts.add_row(name, str(count.images), str(count.instances), str(count.negatives))
    output.show(counts)
    for origin, images in summary.split_origins.items():
        numbers = ", ".join(f"{split} {count}" for split, count in images.items())
        output.show("split: " + shown(f"{origin}: {numbers}"))
    output.show("categories: " + shown(", ".join(f"{name} {n}" for name, n in summary.categories.items())))
    by_action = Counter(finding.action for finding in summary.findings)
    losses = ", ".join(f"{count} {action}" for action, count in sorted(by_action.items()) if action != "noted")
    verb = "would write" if summary.dry_run else "wrote"
    files = counted(summary.files, "file", "files")
    read = f"{files} ({summary.source_format})"
    said = f"{verb} {shown(str(summary.out))} from {read}; {losses or 'nothing was lost'}"
    output.show(said)
    output.gist(said)
    render_next(summary.next_steps(), output)


def _findings_table(summary: "ConversionSummary") -> Table:
    """One row per kind of finding, with the first case as an example; ids and numbers make no kinds of their own."""
    kinds: dict[tuple[str, str, str], list[Finding]] = defaultdict(list)
    plain: dict[str, str] = {}
    for finding in summary.findings:
        if (why := plain.get(finding.why)) is None:
            why = plain[finding.why] = without_values(finding.why)
        kinds[finding.action, finding.shape_type or "", why].append(finding)
    title = "Not converted exactly" if any(row.action != "noted" for row in summary.findings) else "Good to know"
    table = Table(title=title, title_justify="left", box=None, header_style="dim")
    table.add_column("count", justify="right")
    for column in ("", "why", "first case"):
        table.add_column(column, overflow="fold")
    ordered = sorted(kinds.items(), key=lambda item: -len(item[1]))
    for (action, shape_type, _), rows in ordered[:_MOST_KINDS]:
        first = rows[0]
        where = first.file if first.shape is None else f"{first.file}, shape {first.shape}"
        label = f" ({first.label})" if first.label else ""
        cells = (str(len(rows)), f"{action} {shape_type}".strip(), first.why, where + label)
        table.add_row(*(shown(cell) for cell in cells))
    if further := ordered[_MOST_KINDS:]:
        table.add_row(str(sum(len(rows) for _, rows in further)), "", f"{len(further)} further kinds", "")
    return table
