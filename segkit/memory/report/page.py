"""A memory report as one self-contained HTML page, without network access or scripts.

The words are in ``templates/memory.html``, which Jinja renders with autoescape. Only segkit's own process imports this
module: the Python of a profiled script may have neither Jinja nor Matplotlib.
"""

import io
import shlex
from pathlib import Path
from typing import Any

import matplotlib as mpl
from jinja2 import Undefined
from markupsafe import Markup
from matplotlib.figure import Figure

from segkit.memory.findings.records import Leak
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
        curves=_curves(report),
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


def _curves(report: dict[str, Any]) -> Markup:
    """Allocated and resident bytes over steps, as inline SVG."""
    series = report["series"]
    if not series["peak"]:
        return Markup()
    steps = series.get("step") or [1 + index * series["stride"] for index in range(len(series["peak"]))]
    figure = Figure(figsize=(5.4, 5), layout="constrained")  # small: the letters are legible on a narrow screen
    upper, lower = figure.subplots(2, 1, sharex=True)
    for axes, lines in (
        (upper, (("peak in the step", "peak"), ("held at its end", "allocated"), ("reserved", "reserved"))),
        (lower, (("resident", "rss"), ("in use by malloc", "malloc"))),
    ):
        shown = [(label, series[key]) for label, key in lines if series[key] and series[key][0] is not None]
        most = max((max(values) for _, values in shown), default=1)
        unit, name = (2**30, "GiB") if most >= 2**29 else (2**20, "MiB")
        for label, values in shown:
            marker = "." if len(steps) < 60 else ""
            axes.plot(steps, [value / unit for value in values], label=label, linewidth=1.6, marker=marker)
        axes.set_ylim(0, 1.15 * most / unit)
        axes.set_ylabel(name)
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False, fontsize=9)  # above the curves
    upper.set_title("Allocated", loc="left", fontsize=11)
    lower.set_title("Host process", loc="left", fontsize=11)
    lower.set_xlabel("step")
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "segkit", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    svg = buffer.getvalue()
    return Markup(svg[svg.index("<svg") :])
