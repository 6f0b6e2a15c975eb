"""The tables of ``predict --measure``: a row an instance, a row a picture, and a summary by category."""

import csv
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segkit.data.files import temporary_file
from segkit.text import spreadsheet_cell

Measured = dict[str, Any]  # of one picture: what ``measure_picture`` returns
FILES = ("instances.csv", "pictures.csv", "summary.csv")

_INSTANCE = (
    "id", "category", "score", "x_px", "y_px", "width_px", "height_px", "at_edge", "area_px2", "overlap_px2",
    "perimeter_px", "centroid_x_px", "centroid_y_px", "equivalent_diameter_px", "feret_max_px", "feret_min_px",
    "circularity", "solidity", "orientation_deg", "nearest_px",
)  # fmt: skip
_IN_UNITS = (
    "area_{}2", "perimeter_{}", "centroid_x_{}", "centroid_y_{}", "equivalent_diameter_{}", "feret_max_{}",
    "feret_min_{}", "nearest_{}",
)  # fmt: skip
_AVERAGED = ("area_px2", "equivalent_diameter_px", "circularity")
_AVERAGED_IN_UNITS = ("area_{}2", "equivalent_diameter_{}")


@dataclass(slots=True)
class _Mean:
    """Mean and standard deviation of what was added (Welford 1962)."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, value: float | None) -> None:
        if value is not None:
            self.count += 1
            step = value - self.mean
            self.mean += step / self.count
            self.squares += step * (value - self.mean)

    def cells(self) -> list[float | str]:
        mean = _number(self.mean) if self.count else ""
        return [mean, _number(math.sqrt(self.squares / (self.count - 1))) if self.count > 1 else ""]


@dataclass(slots=True)
class _Group:
    """A category, or all of them, over all pictures."""

    without: int = 0
    per_picture: _Mean = field(default_factory=_Mean)
    total: int = 0
    at_edge: int = 0
    measures: dict[str, _Mean] = field(default_factory=dict)


@dataclass(slots=True)
class _Columns:
    """Units and channels of all pictures."""

    units: list[str]
    channels: int

    def in_units(self, patterns: Sequence[str]) -> list[str]:
        return [pattern.format(unit) for unit in self.units for pattern in patterns]

    def instance(self) -> list[str]:
        channels = [f"{kind}_{number}" for number in range(1, self.channels + 1) for kind in ("mean", "std")]
        return [*_INSTANCE, *self.in_units(_IN_UNITS), *channels]

    def averaged(self) -> list[str]:
        return [*_AVERAGED, *self.in_units(_AVERAGED_IN_UNITS)]


def write_tables(
    out: Path, pictures: Callable[[], Iterable[Measured]], categories: Sequence[str], *, without_cut: bool
) -> int:
    """Write the three tables; pictures are read one by one, twice.

    Args:
        out: The folder for them.
        pictures: What was measured, from the first picture on, at each call.
        categories: All names, in order.
        without_cut: Leave instances that the border cuts out of means, as ``--edge mark`` asks for.

    Returns:
        The number of pixels that more than one instance covers.
    """
    units: set[str] = set()
    channels = 0
    for picture in pictures():
        units |= {picture["unit"]} - {None}
        channels = max([channels, *(_channels(row) for row in picture["instances"])])
    columns = _Columns(sorted(units), channels)
    groups = {name: _Group() for name in ("", *categories)}  # "" is all of them
    overlap = 0
    with (
        temporary_file(out / FILES[0]) as first,
        temporary_file(out / FILES[1]) as second,
        first.open("w", newline="", encoding="utf-8") as instance_file,
        second.open("w", newline="", encoding="utf-8") as picture_file,
    ):
        instances, rows = csv.writer(instance_file), csv.writer(picture_file)
        instances.writerow(["file", *columns.instance()])
        rows.writerow(_picture_header(columns, categories))
        for picture in pictures():
            name = spreadsheet_cell(picture["file"])
            for row in picture["instances"]:
                cells = row | {"category": spreadsheet_cell(row["category"])}
                instances.writerow([name, *(cells.get(column, "") for column in columns.instance())])
                overlap += row.get("overlap_px2", 0)
            rows.writerow([name, *_picture_row(picture, columns, categories, without_cut)])
            _count(groups, picture, columns, without_cut)
    _write_summary(out / FILES[2], groups, columns)
    return overlap


def _channels(row: Measured) -> int:
    return sum(name.startswith("mean_") for name in row)


def _number(value: float) -> float:
    return float(f"{value:.6g}")


def _whole(rows: Iterable[Measured], without_cut: bool) -> Iterator[Measured]:
    return (row for row in rows if not (without_cut and row["at_edge"]))


def _picture_header(columns: _Columns, categories: Sequence[str]) -> list[str]:
    counts = [spreadsheet_cell(f"instances of {name}") for name in categories]
    means = [f"mean_{name}" for name in columns.averaged()]
    sizes = ["pixel_size", "pixel_unit"] if columns.units else []
    totals = [f"total_{name}" for name in columns.in_units(("area_{}2",))]
    densities = columns.in_units(("instances_per_{}2",))
    return [
        "file", "height_px", "width_px", *sizes, "instances", *counts, "at_edge", "covered_px2", "covered_fraction",
        *totals, *densities, *means,
    ]  # fmt: skip


def _picture_row(picture: Measured, columns: _Columns, categories: Sequence[str], without_cut: bool) -> list[Any]:
    rows, size = picture["instances"], picture["pixel_size"]
    found = [row["category"] for row in rows]
    height, width = picture["height_px"], picture["width_px"]
    covered = sum(row.get("area_px2", 0) - row.get("overlap_px2", 0) for row in rows)
    of_size = [size, picture["unit"]] if columns.units else []
    totals: list[Any] = []
    densities: list[Any] = []
    for unit in columns.units:
        own = unit == picture["unit"]
        totals.append(_number(sum(row.get(f"area_{unit}2", 0) for row in rows)) if own else "")
        densities.append(_number(len(rows) / (height * width * size**2)) if own else "")
    means = []
    for name in columns.averaged():
        mean = _Mean()
        for row in _whole(rows, without_cut):
            mean.add(row.get(name))
        means.append(mean.cells()[0])
    return [
        height, width, *of_size, len(rows), *(found.count(name) for name in categories),
        sum(row["at_edge"] for row in rows), covered, _number(covered / (height * width)), *totals, *densities, *means,
    ]  # fmt: skip


def _count(groups: dict[str, _Group], picture: Measured, columns: _Columns, without_cut: bool) -> None:
    """Add a picture to the summary."""
    for name, group in groups.items():
        rows = [row for row in picture["instances"] if name in ("", row["category"])]
        group.without += not rows
        group.per_picture.add(len(rows))
        group.total += len(rows)
        group.at_edge += sum(row["at_edge"] for row in rows)
        for column in columns.averaged():
            mean = group.measures.setdefault(column, _Mean())
            for row in _whole(rows, without_cut):
                mean.add(row.get(column))


def _write_summary(path: Path, groups: dict[str, _Group], columns: _Columns) -> None:
    names = [f"{kind}_{name}" for name in columns.averaged() for kind in ("mean", "sd")]
    counts = [
        "pictures", "pictures_without", "instances", "at_edge", "mean_instances_per_picture", "sd_instances_per_picture"
    ]  # fmt: skip
    with temporary_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["category", *counts, *names])
        for name, group in groups.items():
            means = [cell for column in columns.averaged() for cell in group.measures.get(column, _Mean()).cells()]
            table.writerow([
                spreadsheet_cell(name) or "all categories", group.per_picture.count, group.without, group.total,
                group.at_edge, *group.per_picture.cells(), *means,
            ])  # fmt: skip
