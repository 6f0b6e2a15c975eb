"""A plot of a curve of labels."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from segkit.data.files import temporary_file
from segkit.evaluation.report.plots import as_svg
from segkit.training.label_curve.power_law import PowerLaw

PLOT = "curve.png"
_WIDTH, _HEIGHT = 7.0, 4.5  # inches


def draw_label_curve(folder: Path, document: dict[str, Any]) -> None:
    """Plot the scores and the law through them, up to twice the labels, into ``curve.png``."""
    figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
    axes = figure.subplots()
    _draw(document, axes)
    axes.grid(alpha=0.3)
    with temporary_file(folder / PLOT) as temporary:
        figure.savefig(temporary, format="png", dpi=110, metadata={"Software": None})


def curve_svg(document: dict[str, Any]) -> Markup:
    """The same plot for a page."""
    return as_svg(partial(_draw, document), _WIDTH, _HEIGHT)


def _draw(document: dict[str, Any], axes: Axes) -> None:
    points = document["points"]
    law = PowerLaw.through([p["images"] for p in points], [p["score"] for p in points])
    axes.plot([p["images"] for p in points], [p["score"] for p in points], "o", markersize=4, label="runs")
    if law is not None:
        most = 2 * max(law.sizes)
        at = np.geomspace(min(law.sizes), most, 60)
        axes.plot(at, np.array([law.at(size) for size in at]), label="power law")
        ends = [each for size in at if (each := law.interval(size)) is not None]
        if ends:
            axes.fill_between(at, *np.array(ends).T, alpha=0.2, label="95 % interval")
        said = f"{law.at(most):.3f} at twice as many"
        axes.plot([most], [law.at(most)], "o", markerfacecolor="white", color="C1", label=said)
    axes.set(xscale="log", xlabel="labelled training images", ylabel=document.get("metric", "score"))
    sizes = sorted({point["images"] for point in points} | ({most} if law is not None else set()))
    axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
    axes.minorticks_off()
    axes.legend(frameon=False)
