"""The report's plots as inline SVG."""

import io
import threading
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from segkit.data.draw import colour
from segkit.evaluation.analysis.details import Details
from segkit.evaluation.analysis.tide import ERROR_TYPES, MEANINGS
from segkit.quiet import without_warnings

_one_plot = threading.RLock()
_MOST_CURVES = 10
_MOST_CELLS = 15  # categories whose confusion is written out as numbers
_MOST_LIGHT = 0.5  # of a line, as a share of white
_BLUE, _RED = "#2f6fb7", "#c9342f"
_HEAT = LinearSegmentedColormap.from_list("heat", ["#ffffff", "#9dc3e6", "#1f4e8c"])
_GREY = LinearSegmentedColormap.from_list("grey", ["#ffffff", "#8a8f94"])  # of what is no category
_RC = {
    "svg.hashsalt": "segkit",  # the same input gives the same bytes
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.parse_math": False,  # a dollar sign in a label is a dollar sign
    "axes.spines.top": False,
    "axes.spines.right": False,
}


Draw = Callable[[Axes, Details], None]


def as_svg(draw: Callable[[Axes], None], width: float, height: float) -> Markup:
    """A plot as SVG, of a width and height in inches."""
    # All threads share the settings. Warnings are of letters that this font has not: the browser has them.
    with _one_plot, mpl.rc_context(_RC), without_warnings():
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots()
        draw(axes)
        if not axes.images:
            axes.grid(alpha=0.25)
        axes.set_axisbelow(True)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    # No wider than it was drawn, so that letters are of one size all over the page.
    return Markup(text[text.index("<svg") :].replace("<svg", f"<svg style='max-width:{width}in'", 1))


def _plot(width: float, height: float) -> Callable[[Draw], Callable[[Details], Markup]]:
    """Make a function that draws details on axes return them as SVG."""

    def decorate(draw: Draw) -> Callable[[Details], Markup]:
        return lambda details: as_svg(lambda axes: draw(axes, details), width, height)

    return decorate


@_plot(6.4, 4.4)
def precision_recall(axes: Axes, details: Details) -> None:
    """Precision over recall at IoU 0.5: all categories together, and those with the most instances."""
    names = details.inputs.names
    by_category = {category: details.detections.of_category(category) for category in names}
    most = sorted(names, key=lambda c: (-by_category[c].positives, c))[:_MOST_CURVES]
    for category in most if len(names) > 1 else []:
        recall, precision, _ = by_category[category].curve()
        line = _dark_enough(colour(sorted(names).index(category)))
        axes.plot(*_stairs(recall, precision), label=_short(names[category]), linewidth=1.2, color=line)
    recall, precision, _ = details.detections.curve()
    axes.plot(*_stairs(recall, precision), label="all together", linewidth=2.2, color="black")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.03))
    axes.legend(frameon=False, fontsize=8, loc="best")


@_plot(6.4, 4.4)
def over_thresholds(axes: Axes, details: Details) -> None:
    """Precision, recall and F1 of all categories together over the score threshold."""
    recall, precision, at = details.detections.curve()
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    for values, label, tone, width in (
        (precision, "precision", _BLUE, 1.3),
        (recall, "recall", "#d98200", 1.3),
        (f1, "F1", "black", 2.2),
    ):
        axes.plot(at, values, label=label, color=tone, linewidth=width)
    axes.axvline(details.score, color="#888888", linestyle=":", linewidth=1)
    axes.set(xlabel="score threshold", xlim=(0, max([1.0, *at[:1]])), ylim=(0, 1.03))
    axes.legend(frameon=False, fontsize=8, loc="lower center", ncols=3)


@_plot(9.6, 3.2)
def error_costs(axes: Axes, details: Details) -> None:
    """The AP50 that each error type costs, and how many errors of that type there are."""
    errors = details.document["mistakes"]
    values = [errors["AP50_cost"][each] for each in ERROR_TYPES]
    axes.barh(range(len(ERROR_TYPES)), values, color=_RED, height=0.62)
    axes.set_yticks(range(len(ERROR_TYPES)), [f"{each}: {MEANINGS[each]}" for each in ERROR_TYPES])
    axes.invert_yaxis()
    for n, (each, value) in enumerate(zip(ERROR_TYPES, values, strict=True)):
        axes.annotate(
            f"{value:.3f}  ({errors['counts'][each]} errors)", (max(value, 0), n), (4, 0),
            textcoords="offset points", va="center", fontsize=9,
        )  # fmt: skip
    axes.set(xlabel="AP50 gained if errors of this type were corrected", xlim=(0, 1.45 * max([*values, 0.01])))


@_plot(6.4, 3.2)
def score_histogram(axes: Axes, details: Details) -> None:
    """The scores of true positives and of false positives."""
    found = details.detections
    highest = max([1.0, *found.score])  # scores in percent, too
    bins = np.linspace(min([0.0, *found.score]), highest, 21).tolist()
    axes.hist(
        [found.score[found.tp], found.score[found.fp]],
        bins=bins,
        stacked=True,
        color=["#2ea043", _RED],
        label=["true positives", "false positives"],
    )
    axes.set(xlabel="score", ylabel="predictions", xlim=(bins[0], highest))
    axes.set_ylim(bottom=0, top=None if len(found.score) else 1)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=8)


@_plot(6.4, 3.2)
def size_histogram(axes: Axes, details: Details) -> None:
    """Instances by size, and how many of each size were detected at the score threshold."""
    truth = details.inputs.truth["annotations"]
    sides, matched = [np.zeros(0)], [np.zeros(0, bool)]
    for image in details.images:
        overlaps, real = image.matches.overlaps, ~image.matches.overlaps.crowd
        areas = [float(truth[n]["area"]) for n in overlaps.annotation_index[real]]
        sides.append(np.sqrt(np.maximum(areas, 1)))
        matched.append(image.matches.matched(details.score)[real])
    side, tp = np.concatenate(sides), np.concatenate(matched)
    if not len(side):
        return
    bins = np.geomspace(side.min() * 0.99, side.max() * 1.01, 21).tolist()
    axes.hist(side, bins=bins, color="#d0d7de", label="instances")
    axes.hist(side[tp], bins=bins, color=_BLUE, label="true positives")
    axes.set_xscale("log")
    ticks = [t for t in (1, 2, 5, 10, 20, 32, 50, 96, 200, 500, 1000, 2000, 5000) if bins[0] <= t <= bins[-1]]
    axes.set_xticks(ticks, [str(t) for t in ticks])
    axes.set_xticks([], minor=True)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="square root of the area, pixels (COCO: small < 32, large > 96)", ylabel="instances")
    axes.legend(frameon=False, fontsize=8)


def confusion(names: Sequence[str], counts: Any, *, nothing: bool = False) -> Markup:
    """Confusion as shares of each row, written out where there are few categories.

    Args:
        names: Of rows and columns.
        counts: [truth, prediction].
        nothing: The last row is of predictions without an instance. It has no right cell, and its sum means nothing:
            its cells are in grey, as shares of the predictions of their column.
    """
    matrix = np.asarray(counts, float)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    shades = _HEAT(share)
    if nothing:
        share[-1] = matrix[-1] / np.maximum(matrix.sum(axis=0), 1)
        shades[-1] = _GREY(share[-1])
    few = len(names) <= _MOST_CELLS

    def draw(axes: Axes) -> None:
        axes.imshow(shades, aspect="auto")
        if few:
            for row, column in np.ndindex(share.shape):
                if matrix[row, column]:
                    text = f"{int(matrix[row, column])}" if matrix.max() < 1e5 else f"{share[row, column]:.0%}"
                    axes.text(column, row, text, ha="center", va="center", fontsize=8,
                              color="white" if share[row, column] > 0.55 else "black")  # fmt: skip
        size = 9 if few else max(3, 9 - len(names) // 15)
        axes.set_xticks(range(len(names)), [_short(name) for name in names], rotation=45, ha="right", fontsize=size)
        axes.set_yticks(range(len(names)), [_short(name) for name in names], fontsize=size)
        axes.set(xlabel="predicted", ylabel="true")
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)

    side = min(12.0, 2.2 + 0.45 * len(names))
    return as_svg(draw, max(4.5, side * 1.15), max(3.2, side * 0.9))


def _stairs(recall: Any, precision: Any) -> tuple[Any, Any]:
    """A curve that begins at recall 0 and falls to the axis where the detections end."""
    if not len(recall):
        return np.array([0.0, 0.0]), np.array([0.0, 0.0])
    return np.concatenate([[0], recall, recall[-1:]]), np.concatenate([precision[:1], precision, [0]])


def _dark_enough(shade: tuple[int, int, int]) -> tuple[float, float, float]:
    """A colour that is seen as a thin line on white: bright ones are darkened."""
    red, green, blue = (value / 255 for value in shade)
    factor = min(1.0, _MOST_LIGHT / max(0.2126 * red + 0.7152 * green + 0.0722 * blue, 1e-6))
    return red * factor, green * factor, blue * factor


def _short(name: str) -> str:
    return name if len(name) <= 22 else name[:21] + "…"
