"""Plots of a run: loss, score, learning rate and memory over steps."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from segkit.data.files import temporary_file
from segkit.runs.folder import METRICS
from segkit.runs.metrics_file import read_metrics

CURVES = "curves.png"
_DECADES = 30.0  # between the largest and the smallest loss, from which the axis is logarithmic
_ROOM = 0.18  # of the height of the losses, for their legend
_DRAWN = {"loss", "losses", "lr", "peak", "rss"}


def draw_curves(run: Path) -> Path | None:
    """Plot ``metrics.jsonl`` into ``curves.png``; None where it has no step."""
    lines = list(read_metrics(run / METRICS))
    steps = [line for line in lines if line["kind"] == "step" and line.keys() >= _DRAWN]  # not what an editor spoilt
    evaluations = [line for line in lines if line["kind"] == "eval"]
    if not steps:
        return None
    figure = Figure(figsize=(11, 7), layout="constrained")
    (loss, scores), (rate, memory) = figure.subplots(2, 2, sharex=True)
    at = [line["step"] for line in steps]
    for name in dict.fromkeys(name for line in steps for name in line["losses"]):
        _smooth(loss, at, [line["losses"].get(name) for line in steps], name.removeprefix("loss_"))
    _smooth(loss, at, [line["loss"] for line in steps], "sum", color="black", linewidth=2)
    _scores(scores, evaluations)
    rate.plot(at, [line["lr"] for line in steps])
    held = "peak" if steps[0]["peak"] is not None else "rss"
    memory.plot(at, [line[held] / 2**30 for line in steps])
    titles = ("Loss", "Score on the validation split", "Learning rate", f"Memory, GiB ({held})")
    for axes, title in zip((loss, scores, rate, memory), titles, strict=True):
        axes.set_title(title, loc="left", fontsize=11)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    losses = _drawn(loss)
    if _spans_decades(loss):
        loss.set_yscale("log")
        least, most = 0.7 * np.percentile(losses, 2), losses.max()  # a loss of nearly nothing would take it all
        loss.set_ylim(least, most * (most / least) ** _ROOM)
        loss.set_title("Loss, on a logarithmic axis", loc="left", fontsize=11)
    elif len(losses):
        loss.set_ylim(0, (1 + _ROOM) * losses.max())
    for axes in (rate, memory):
        axes.set_xlabel("step")
    best = best_step(evaluations)
    if best is not None:
        for axes in (loss, scores, rate, memory):
            axes.axvline(best, color="#666666", linestyle=":", linewidth=1.2)
        scores.plot([], [], color="#666666", linestyle=":", label=f"best.pt: step {best}")
        scores.legend(frameon=False, fontsize=8)
    loss.legend(frameon=False, fontsize=8, loc="upper center", ncols=3)
    figure.suptitle(run.name, fontsize=12)
    path = run / CURVES
    with temporary_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110, metadata={"Software": None})
    return path


def best_step(evaluations: Sequence[dict[str, Any]]) -> int | None:
    """The step of the model that ``best.pt`` has: the last of those with the highest score; None where none has one."""
    scores = [(_primary(line), line["step"]) for line in evaluations]
    found = [(score, step) for score, step in scores if score is not None and score >= 0]
    return max(found)[1] if found else None


def _primary(line: dict[str, Any]) -> float | None:
    """The score by which models are compared, as ``Metrics.primary`` names it."""
    for part, figure in (("panoptic", "PQ"), ("semantic", "mIoU"), ("segm", "AP"), ("bbox", "AP")):
        if part in line:
            score: float = line[part][figure]
            return score
    return None


def _drawn(axes: Axes) -> npt.NDArray[np.float64]:
    """All positive values that are plotted."""
    values = np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.lines])
    positive: npt.NDArray[np.float64] = values[np.isfinite(values) & (values > 0)]
    return positive


def _spans_decades(axes: Axes) -> bool:
    """Whether what is plotted falls or rises by more than a factor of 30, so that the small values need a log axis."""
    drawn, sums = _drawn(axes), np.asarray(axes.lines[-1].get_ydata(), float)
    sums = sums[np.isfinite(sums)]
    return len(sums) > 0 and bool(sums.min() > 0 and drawn.max() > _DECADES * np.percentile(drawn, 2))


def _smooth(axes: Axes, at: Sequence[int], values: Sequence[float | None], label: str, **style: Any) -> None:
    """Plot a moving average over a fiftieth of the run, with gaps where a loss was not finite."""
    raw = np.array([np.nan if value is None else value for value in values], dtype=float)
    width = max(1, len(raw) // 50)
    means = np.array([np.nanmean(raw[max(0, i - width + 1) : i + 1]) if width > 1 else raw[i] for i in range(len(raw))])
    axes.plot(at, means, label=label, **({"linewidth": 1.2} | style))


def _scores(axes: Axes, evaluations: Sequence[dict[str, Any]]) -> None:
    at = [line["step"] for line in evaluations]
    for part, figure, label in (
        ("segm", "AP", "mask AP"),
        ("segm", "AP50", "mask AP50"),
        ("bbox", "AP", "box AP"),
        ("semantic", "mIoU", "mIoU"),
        ("panoptic", "PQ", "PQ of things and stuff"),
    ):
        if evaluations and part in evaluations[0]:
            axes.plot(at, [max(0.0, line[part][figure]) for line in evaluations], marker="o", markersize=3, label=label)
    if evaluations:
        axes.legend(frameon=False, fontsize=8)
