"""A check as one self-contained HTML page, without network access or scripts, and as ``check.json``."""

import json
import shlex
from pathlib import Path

from segkit.data.files import temporary_file
from segkit.next_step import NextStep
from segkit.pages import Filter, filter_of, page_environment
from segkit.progress import SILENT, Progress
from segkit.review.crops import show
from segkit.review.findings import CheckFinding
from segkit.review.report import CheckReport
from segkit.units import counted, today
from segkit.version import __version__

MOST_SHOWN = 200  # findings with pictures: a page of some megabytes
_TEMPLATES = page_environment(Path(__file__).with_name("templates"))


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
    facts = [finding for finding in pictured if finding.confidence is None]
    suspects = [finding for finding in pictured if finding.confidence is not None]
    some = [*suspects[:MOST_SHOWN], *facts[:MOST_SHOWN]]
    return _TEMPLATES.get_template("check.html").render(
        report=report,
        contents=report.contents,
        facts=_facts(report),
        next=next_steps(report),
        filters=_filters(some),
        tags_of=_tags,
        plain=plain,
        facts_found=show(report.contents, facts[:MOST_SHOWN]),
        suspects=show(report.contents, suspects[:MOST_SHOWN]),
        not_shown=len(facts) + len(suspects) - len(some),
    )


def _facts(report: CheckReport) -> list[tuple[str, str]]:
    """What the page is about."""
    images, predictions = len(report.contents.images), report.predictions
    instances = counted(report.contents.counts.total(), "instance", "instances")
    return [
        ("dataset", f"{report.src} ({report.contents.format})"),
        ("data", f"{counted(images, 'image', 'images')}, {instances}"),
        ("predictions", "" if predictions is None else predictions.source),
        ("options", shlex.join(report.options)),
        ("made with", f"segkit {__version__}"),
        ("date", today()),
    ]


def _tags(finding: CheckFinding) -> dict[str, frozenset[str]]:
    """By key of a filter, the names under which a finding is found."""
    category = frozenset() if finding.category is None else frozenset([finding.category])
    return {"kind": frozenset([finding.kind]), "category": category}


def _filters(findings: list[CheckFinding]) -> list[Filter]:
    """What a reader can choose among findings with pictures."""
    found = []
    for key in ("kind", "category"):
        tags = [_tags(finding)[key] for finding in findings]
        found.append(filter_of(key, key, tags, sorted(set().union(*tags))))
    return [each for each in found if each is not None]


def next_steps(report: CheckReport) -> list[NextStep]:
    """What to do after a check: look with a model's predictions, and correct what was found."""
    command, steps = shlex.join(["segkit", "check", report.src, *report.options]), []
    if any(finding.place is not None for finding in report.findings):
        why = "Correct in LabelMe what is wrong; the folder suspects has a file for each image with findings."
        steps.append(NextStep(why, f"{command} --fix suspects && segkit label suspects"))
    if report.predictions is None and report.contents.counts.total():
        why = "Look for annotation errors, too, once a model is trained."
        steps.append(NextStep(why, f"{command} --model runs/latest --out check"))
    return steps


def _write(text: str, path: Path) -> Path:
    with temporary_file(path) as temporary:
        temporary.write_text(text, "utf-8", "backslashreplace")
    return path
