"""A memory report as one self-contained HTML page: no network, no scripts."""

import io
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from segkit.memory.findings.records import Leak
from segkit.memory.holders.ledger import Verdict
from segkit.memory.report.wording import VERDICTS, leak_heading, leak_rows
from segkit.units import format_bytes

_TONES: dict[Verdict, str] = {"clean": "#1b7f4d", "watch": "#a66b00", "leak": "#b3261e", "inconclusive": "#5f6368"}
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2328; max-width: 62rem; margin: 2rem auto; padding: 0 1.5rem }
h1 { font-size: 1.5rem; margin-bottom: .2rem } h2 { font-size: 1.1rem; margin-top: 2rem }
.verdict { border-left: .4rem solid var(--tone); background: #f6f8fa; padding: .8rem 1.2rem; margin: 1rem 0 }
.verdict b { color: var(--tone); font-size: 1.2rem }
table { border-collapse: collapse; width: 100% } th, td { text-align: right; padding: .3rem .6rem }
th { color: #59636e; font-weight: 500; border-bottom: 1px solid #d1d9e0 } td { border-bottom: 1px solid #eaeef2 }
th:first-child, td:first-child { text-align: left } code { font-size: .9em; overflow-wrap: anywhere }
svg { width: 100%; height: auto }
.bar { background: #4c78c8; height: .7rem; display: inline-block; vertical-align: middle }
td.words, th.words { text-align: left }
.note { color: #59636e }
.leak { border: 1px solid #d1d9e0; border-radius: .4rem; padding: .6rem 1rem; margin: .8rem 0 }
.leak h3 { font-size: 1rem; margin: .1rem 0 .4rem }
.leak dl { display: grid; grid-template-columns: 6rem 1fr; margin: 0 }
.leak dt { color: #59636e } .leak dd { margin: 0 0 .15rem }
"""


def render_page(report: dict[str, Any]) -> str:
    """The page of a ``memory.json`` document."""
    verdict: Verdict = report["verdict"]
    title, sentence = VERDICTS[verdict]
    peak = report["peak"]
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>segkit memory report</title>",
        f"<meta name='viewport' content='width=device-width, initial-scale=1'><style>{_STYLE}</style></head><body>",
        f"<h1>Memory report</h1><p class='note'>{escape(report['model'])}</p>",
        f"<div class='verdict' style='--tone:{_TONES[verdict]}'><b>{title}.</b> {sentence.capitalize()}. "
        f"{report['steps']} steps measured; "
        f"the peak was {format_bytes(peak['allocated'])}, in phase {escape(str(peak['phase']))}.</div>",
        _leaks([Leak.from_json(leak) for leak in report["leaks"]]),
        _growth(report["growth"]),
        "<h2>Step by step</h2>",
        _curves(report),
        "<h2>By phase</h2>",
        _phases(report["phases"]),
        _shares("At the peak, by category", report.get("categories") or {}),
        _shares("Activations at the peak, by module", report["top"]["modules"]),
        _shares("At the peak, by your line", report["top"]["lines"]),
        _shares("Large tensors at the peak, by the library's line", report["top"].get("makers") or {}),
        _steps(report["top"]["steps"]),
        f"<p class='note'>Allocated: {escape(report['counted'])}. Resident: what the whole process holds in host "
        "memory, libraries included.</p></body></html>",
    ]
    return "\n".join(parts)


def _leaks(leaks: list[Leak]) -> str:
    parts = []
    for leak in leaks:
        rows = [(label, f"<code>{escape(text)}</code>" if label != "fix" else escape(text))
                for label, text in leak_rows(leak)]  # fmt: skip
        shown = "".join(f"<dt>{label}</dt><dd>{text}</dd>" for label, text in rows)
        word = "Leak" if leak.is_leak else "Watch"
        parts.append(f"<div class='leak'><h3>{word}: {escape(leak_heading(leak))}</h3><dl>{shown}</dl></div>")
    return "<h2>What stays, and why</h2>" + "".join(parts) if parts else ""


def _growth(growth: list[dict[str, Any]]) -> str:
    if not growth:
        return ""
    rows = "".join(
        f"<tr><td>{escape(each['name'])}</td><td>{format_bytes(each['bytes'])}</td>"
        f"<td class='words'>{escape(each['what'])}</td><td class='words'>{escape(each['bound'] or '-')}</td></tr>"
        for each in growth
    )
    head = "<tr><th>name</th><th>size</th><th class='words'>what</th><th class='words'>bound</th></tr>"
    return f"<h2>What grew, and is no leak</h2><table>{head}{rows}</table>"


def _shares(title: str, sizes: dict[str, int]) -> str:
    if not sizes:
        return ""
    total = max(1, sum(sizes.values()))
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{format_bytes(size)}</td><td style='text-align:left;width:40%'>"
        f"<span class='bar' style='width:{max(0.0, 100 * size / total):.1f}%'></span></td></tr>"
        for name, size in sizes.items()
        if size or name == "remainder"
    )
    return f"<h2>{title}</h2><table>{rows}</table>"


def _steps(steps: list[dict[str, Any]]) -> str:
    if not any(step["instances"] or step["pictures"] for step in steps):
        return ""  # nothing is known of them but their peaks, which the curve shows
    rows = "".join(
        f"<tr><td>{step['step']}</td><td>{format_bytes(step['peak'])}</td><td>{step['instances']}</td>"
        f"<td><code>{escape(step['pictures'] or '-')}</code></td></tr>"
        for step in steps
    )
    head = "<tr><th>step</th><th>peak</th><th>instances</th><th>pictures</th></tr>"
    return f"<h2>The steps that needed most</h2><table>{head}{rows}</table>"


def _phases(phases: dict[str, Any]) -> str:
    most = max((phase["allocated"] or 0 for phase in phases.values()), default=0) or 1
    on_device = any(phase.get("reserved") for phase in phases.values())
    rows = []
    for name, phase in phases.items():
        seconds = "-" if phase["seconds"] is None else f"{phase['seconds'] * 1000:.1f} ms"
        share = 100 * (phase["allocated"] or 0) / most
        rows.append(
            f"<tr><td>{escape(name)}</td><td>{seconds}</td><td>{format_bytes(phase['allocated'])}</td>"
            f"<td style='text-align:left;width:40%'><span class='bar' style='width:{share:.1f}%'></span></td>"
            + (
                f"<td>{format_bytes(phase['reserved'])}</td><td>{format_bytes(phase['fragmented'])}</td>"
                if on_device
                else ""
            )
            + f"<td>{format_bytes(phase['rss'])}</td></tr>"
        )
    more = "<th>peak reserved</th><th>fragmented</th>" if on_device else ""
    head = f"<tr><th>phase</th><th>median time</th><th>peak allocated</th><th></th>{more}<th>peak resident</th></tr>"
    return f"<table>{head}{''.join(rows)}</table>"


def _curves(report: dict[str, Any]) -> str:
    """Allocated and resident bytes over steps, as inline SVG."""
    series = report["series"]
    if not series["peak"]:
        return "<p class='note'>No step was measured.</p>"
    steps = [1 + index * series["stride"] for index in range(len(series["peak"]))]
    figure = Figure(figsize=(10, 5.2), layout="constrained")
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
    return svg[svg.index("<svg") :]
