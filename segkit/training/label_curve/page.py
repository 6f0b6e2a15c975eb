"""A curve of labels as one self-contained HTML page, without network access or scripts."""

from pathlib import Path
from typing import Any

from segkit.data.files import temporary_file
from segkit.pages import page_environment
from segkit.training.label_curve.draw import curve_svg
from segkit.units import format_interval, format_score, today
from segkit.version import __version__

PAGE = "curve.html"
_TEMPLATES = page_environment(Path(__file__).with_name("templates"))
_TEMPLATES.filters |= {"score": format_score, "interval": format_interval}


def write_page(folder: Path, document: dict[str, Any], facts: dict[str, str]) -> Path:
    """Write ``curve.html``.

    Args:
        folder: Of the curve.
        document: The curve.
        facts: What the runs were of, by name.
    """
    about = {**facts, "made with": f"segkit {__version__}", "date": today()}
    path = folder / PAGE
    with temporary_file(path) as temporary:
        temporary.write_text(render_page(document, about), "utf-8", "backslashreplace")
    return path


def render_page(document: dict[str, Any], facts: dict[str, str]) -> str:
    """The page of a ``curve.json`` document."""
    gains = sorted(document.get("gains", {}).items(), key=lambda pair: -pair[1])
    return _TEMPLATES.get_template("curve.html").render(
        curve=document, facts=list(facts.items()), gains=gains, svg=curve_svg(document)
    )
