"""A memory report as one self-contained HTML page, without network access or scripts.

The words are in ``templates/memory.html``, which Jinja renders with autoescape. Only segkit's own process imports this
module: the Python of a profiled script may have no Jinja.
"""

import shlex
from pathlib import Path
from typing import Any

from jinja2 import Undefined

from segkit.memory.findings.records import Leak
from segkit.memory.report import curves
from segkit.memory.report.wording import VERDICTS, cost_of, leak_heading, leak_rows
from segkit.pages import page_environment
from segkit.units import format_bytes

_TEMPLATES = page_environment(Path(__file__).with_name("templates"), Undefined)
_TEMPLATES.filters |= {"bytes": format_bytes, "heading": leak_heading, "rows": leak_rows}


def render_page(report: dict[str, Any]) -> str:
    """The page of a ``memory.json`` document, also of one that an earlier version has written."""
    return _TEMPLATES.get_template("memory.html").render(
        report=report,
        verdict=VERDICTS[report["verdict"]],
        leaks=[Leak.from_json(leak) for leak in report["leaks"]],
        facts=_facts(report),
        panels=curves.panels(report),
        size=curves,
        cost=cost_of(report),
    )


def _facts(report: dict[str, Any]) -> list[tuple[str, str]]:
    """What the page is about; reports of earlier versions say less."""
    about, limit = report.get("about") or {}, report.get("limit")
    return [
        ("model", report["model"]),
        ("command", shlex.join(map(str, report.get("command") or []))),
        ("device", report.get("device") or ""),
        ("memory there is", format_bytes(limit) if limit else ""),
        ("made with", f"segkit {about['segkit']}" if about else ""),
        ("date", about.get("date", "")),
    ]
