"""A check -> tables or JSON on stdout."""

from typing import TYPE_CHECKING

from rich.table import Table

from segkit.commands.output import Output, shown, table_of
from segkit.commands.render.next_steps import render_next
from segkit.units import counted

if TYPE_CHECKING:
    from segkit.review.check import CheckSummary
    from segkit.review.findings import CheckFinding

_MOST_ROWS, _MOST_SIZES = 30, 12


def render_check(summary: "CheckSummary", output: Output) -> None:
    """What was found, what is worth knowing, and what to do now."""
    from segkit.review.page import next_steps

    output, report, contents = output.answering(), summary.report, summary.report.contents
    output.json(summary.to_json())
    if summary.fix_folder is not None:
        output.note(f"{counted(summary.fixes, 'LabelMe file', 'LabelMe files')} in {shown(str(summary.fix_folder))}")
    facts = [finding for finding in report.findings if finding.confidence is None]
    suspects = [finding for finding in report.findings if finding.confidence is not None]
    if facts:
        output.show(_table("Findings", facts, sure=False))
    if suspects:
        output.show(_table("Likely annotation errors", suspects, sure=True))
    if report.sizes:
        table = table_of(
            f"sizes in pixels at --size {report.scale[0]}", "category", "instances", "smallest", "median", "largest"
        )
        smallest = sorted(report.sizes.items(), key=lambda item: (-item[1]["too_small"], item[1]["median"]))
        for name, row in smallest[:_MOST_SIZES]:
            cells = (f"{row[each]:.1f}" for each in ("smallest", "median", "largest"))
            table.add_row(shown(name), str(row["instances"]), *cells)
        if len(smallest) > _MOST_SIZES:
            table.add_row(f"... {len(smallest) - _MOST_SIZES} larger ones: --json", "", "", "", "")
        output.show(table)
    for note in report.notes:
        output.show(f"note: {shown(note)}")
    counts = ", ".join(f"{number} {kind}" for kind, number in report.counts.items())
    said = (
        f"checked {shown(report.src)} ({contents.format}): {counted(len(contents.images), 'image', 'images')}, "
        f"{counted(contents.counts.total(), 'instance', 'instances')}: {counts or 'nothing was found'}"
    )
    output.show(said)
    output.gist(said)
    for path in summary.files:
        output.note(f"  {shown(str(path))}")
    render_next(next_steps(report), output)


def _table(title: str, findings: "list[CheckFinding]", *, sure: bool) -> Table:
    table = Table(title=title, title_justify="left", box=None, header_style="dim")
    columns = ("kind", *(("confidence",) if sure else ()), "where", "why")
    for column in columns:
        table.add_column(column, justify="right" if column == "confidence" else "left", overflow="fold")
    for finding in findings[:_MOST_ROWS]:
        where = finding.image or ""
        if finding.annotation is not None:
            where += f", {finding.annotation}"
        label = f" ({finding.category})" if finding.category and finding.image else ""
        confidence = () if finding.confidence is None else (f"{finding.confidence:.2f}",)
        table.add_row(finding.kind, *confidence, shown(where + label), shown(finding.why))
    if len(findings) > _MOST_ROWS:
        empty = ("",) if sure else ()
        table.add_row("...", *empty, "", f"{len(findings) - _MOST_ROWS} more: --json or --out list all")
    return table
