"""Allocated and resident bytes over steps, as what the page draws.

Matplotlib would be longer at work than the rest of the report together: half a second to load, and half to draw.
"""

import math
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 400, 180  # of a panel, in units of the drawing; in these the letters are 12 high
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 42, 22  # around the curves
_TICKS, _MOST_POINTS = 4, 1000
_PANELS = (
    ("Allocated", (("peak in the step", "peak"), ("held at its end", "allocated"), ("reserved", "reserved"))),
    ("Host process", (("resident", "rss"), ("in use by malloc", "malloc"))),
)


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel of the drawing; places are in its units.

    Attributes:
        title: What it shows, with the unit.
        curves: The name and the points of each curve, as SVG writes points.
        xs: Ticks below: place and text.
        ys: Ticks at the left: place and text.
    """

    title: str
    curves: list[tuple[str, str]]
    xs: list[tuple[float, str]]
    ys: list[tuple[float, str]]


def panels(report: dict[str, Any]) -> list[Panel]:
    """The panels of a report; none where no step was measured."""
    series = report["series"]
    if not series["peak"]:
        return []
    steps = series.get("step") or [1 + index * series["stride"] for index in range(len(series["peak"]))]
    return [_panel(title, names, series, steps) for title, names in _PANELS]


def _panel(title: str, names: Any, series: dict[str, Any], steps: list[int]) -> Panel:
    shown = [(label, series[key]) for label, key in names if series[key] and series[key][0] is not None]
    most = max((max(values) for _, values in shown), default=1)
    unit, name = (2**30, "GiB") if most >= 2**29 else (2**20, "MiB")
    first, last, top = steps[0], max(steps[-1], steps[0] + 1), max(most, 1) / unit * 1.05

    def x_of(step: float) -> float:
        return round(LEFT + (step - first) / (last - first) * (WIDTH - LEFT - RIGHT), 1)

    def y_of(value: float) -> float:
        return round(HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM), 1)

    every = -(-len(steps) // _MOST_POINTS)
    curves = [
        (label, " ".join(f"{x_of(step)},{y_of(value / unit)}" for step, value in _thinned(steps, values, every)))
        for label, values in shown
    ]
    xs = [(x_of(each), f"{each:g}") for each in ticks(first, last, whole=True)]
    return Panel(f"{title}, {name}", curves, xs, [(y_of(each), f"{each:g}") for each in ticks(0, top)])


def _thinned(steps: list[int], values: list[float], every: int) -> list[tuple[int, float]]:
    """The highest of each ``every`` points."""
    parts = [list(zip(steps, values, strict=False))[at : at + every] for at in range(0, len(steps), every)]
    return [max(part, key=lambda point: point[1]) for part in parts]


def ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """About four round numbers from ``low`` to ``high``; ``whole``: no fractions."""
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(each * power for each in (1, 2, 5, 10) if each * power >= rough)
    step = max(1.0, step) if whole else step
    first = math.ceil(low / step)
    return [round(index * step, 9) for index in range(first, math.floor(high / step + 1e-9) + 1)]
