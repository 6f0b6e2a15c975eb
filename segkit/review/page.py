"""A check as one self-contained HTML page, without network access or scripts, and as ``check.json``."""

import json
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from segkit.data.files import temporary_file
from segkit.progress import SILENT, Progress
from segkit.review.check import CheckReport
from segkit.review.crops import show

MOST_SHOWN = 200  # findings with pictures: a page of some megabytes
_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def write_pages(report: CheckReport, folder: Path, progress: Progress = SILENT) -> list[Path]:
    """Write ``check.json`` and ``check.html``.

    Args:
        report: What was found.
        folder: Where.
        progress: Shows the state of the work.
    """
    progress.start("drawing findings", None)
    folder.mkdir(parents=True, exist_ok=True)
    document = json.dumps(report.to_json(), indent=1, ensure_ascii=False) + "\n"
    pages = [_write(document, folder / "check.json"), _write(render_page(report), folder / "check.html")]
    progress.done()
    return pages


def render_page(report: CheckReport) -> str:
    """The page."""
    pictured = [finding for finding in report.findings if finding.place is not None]
    plain = [finding for finding in report.findings if finding.place is None]
    return _TEMPLATES.get_template("check.html").render(
        report=report,
        contents=report.contents,
        plain=plain,
        facts=show(report.contents, [f for f in pictured if f.confidence is None][:MOST_SHOWN]),
        suspects=show(report.contents, [f for f in pictured if f.confidence is not None][:MOST_SHOWN]),
        not_shown=max(0, sum(f.confidence is None for f in pictured) - MOST_SHOWN)
        + max(0, sum(f.confidence is not None for f in pictured) - MOST_SHOWN),
    )


def _write(text: str, path: Path) -> Path:
    with temporary_file(path) as temporary:
        temporary.write_text(text, "utf-8", "backslashreplace")
    return path
