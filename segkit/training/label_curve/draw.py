"""A plot of a curve of labels."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from segkit.data.files import temporary_file
from segkit.training.label_curve.power_law import PowerLaw

PLOT = "curve.png"


def draw_label_curve(folder: Path, document: dict[str, Any]) -> None:
    """Plot the scores and the law through them, up to twice the labels, into ``curve.png``."""
    points = document["points"]
    law = PowerLaw.through([p["images"] for p in points], [p["score"] for p in points])
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot([p["images"] for p in points], [p["score"] for p in points], "o", markersize=4, label="runs")
    if law is not None:
        at = np.geomspace(min(law.sizes), 2 * max(law.sizes), 60)
        middle = np.array([law.at(size) for size in at])
        axes.plot(at, middle, label="power law")
        ends = [each for size in at if (each := law.interval(size)) is not None]
        if ends:
            axes.fill_between(at, *np.array(ends).T, alpha=0.2, label="95 % interval")
    axes.set(xscale="log", xlabel="labelled training images", ylabel=document.get("metric", "score"))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    with temporary_file(folder / PLOT) as temporary:
        figure.savefig(temporary, format="png", dpi=110, metadata={"Software": None})
