"""``estimates.csv``: counts, areas and area fractions over all pictures, from the few that were annotated."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from segkit.data.files import path_inside, temporary_file
from segkit.evaluation.analysis.prediction_powered import Estimate, plain_mean, powered_mean
from segkit.inference.choose import Choice
from segkit.inference.journal import PictureResults, read_journal
from segkit.inference.labelled import LEAST_ANNOTATED, Labelled
from segkit.inference.measure import measure_picture
from segkit.inference.tables import Measured
from segkit.text import spreadsheet_cell
from segkit.units import counted

FILE = "estimates.csv"
FEW_ANNOTATED = 50  # below, a normal distribution gives intervals that are too short: docs/files.md has how much
_COLUMNS = (
    "category", "measure", "mean", "low", "high", "total", "total_low", "total_high", "annotated_mean", "annotated_low",
    "annotated_high", "predicted_mean", "weight_of_predictions", "pictures", "annotated",
)  # fmt: skip
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Row:
    """What is estimated, and how: with the predictions, and from the annotated pictures alone."""

    category: str
    measure: str
    powered: Estimate
    plain: Estimate
    predicted: float
    pictures: int
    annotated: int

    def cells(self) -> list[Any]:
        """The row of the table; a count, an area or a share is never below 0, so no interval goes there."""
        own, plain = self.powered, self.plain
        whole = 1 if self.measure == "area_fraction" else self.pictures
        totals = ["", "", ""] if whole == 1 else [_cell(own.mean, whole), _cell(own.low, whole), _cell(own.high, whole)]
        return [
            spreadsheet_cell(self.category) or "all categories", self.measure,
            _cell(own.mean), _cell(own.low), _cell(own.high), *totals,
            _cell(plain.mean), _cell(plain.low), _cell(plain.high), _cell(self.predicted), _cell(own.weight),
            self.pictures, self.annotated,
        ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Estimates:
    """The rows, and what is to be said of them."""

    rows: tuple[Row, ...]
    warnings: tuple[str, ...]


def write_estimates(
    out: Path, labelled: Labelled, names: dict[int, str], choice: Choice, *, masks: bool, without_cut: bool
) -> Estimates:
    """Write the table from the journal and the measures of a folder of predictions.

    Args:
        out: The folder.
        labelled: The annotated pictures.
        names: Category names by id.
        choice: Which instances are kept: annotations, too, by their category, area and place.
        masks: Whether the model predicts masks, which have areas.
        without_cut: Leave out what the border cuts, as ``--edge mark`` asks for.
    """
    every = replace(choice, scores=dict.fromkeys(choice.scores, 0.0), nms=None, across=None, most=None)
    kept = [names[number] for number in choice.scores]
    predicted, true, units, other_size = [], [], set(), 0
    for done, measured in _measured(out):
        units.add(measured["unit"])
        found, image = _values(measured, kept, without_cut), labelled.image_of(done.picture)
        if image is not None and (image.height, image.width) != (done.height, done.width):
            image, other_size = None, other_size + 1
        truth = None
        if image is not None:
            chosen = every.of(labelled.truth[image.id], done.height, done.width, done.pixel_size)
            annotated = measure_picture(replace(done, results=chosen, pixels=None), names)
            scale = {"pixel_size": measured["pixel_size"], "unit": measured["unit"]}
            truth = _values(annotated | scale, kept, without_cut)
        predicted.append(found)
        true.append(truth)
    warnings = [*labelled.warnings]
    if other_size:
        have = counted(other_size, "picture has", "pictures have")
        warnings.append(f"--labelled: {have} another size than the annotations: left out")
    own_unit = next(iter(units)) if len(units) == 1 else None
    rows = _rows(np.array(predicted, float), true, kept, own_unit, masks=masks)
    if not rows:
        warnings.append(f"{FILE}: fewer than {LEAST_ANNOTATED} annotated pictures, or no others: nothing to estimate")
    elif rows[0].annotated < FEW_ANNOTATED:
        warnings.append(
            f"{FILE}: {rows[0].annotated} annotated pictures: intervals are too short below {FEW_ANNOTATED}"
        )
    with temporary_file(out / FILE) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([_COLUMNS, *(row.cells() for row in rows)])
    return Estimates(tuple(rows), tuple(warnings))


def _measured(out: Path) -> Iterator[tuple[PictureResults, Measured]]:
    """The pictures of the journal that were measured."""
    for done in read_journal(out):
        path = path_inside(out, f"measures/{done.picture.stem}.json")
        if path.is_file():
            yield done, msgspec.json.decode(path.read_bytes())


def _values(picture: Measured, categories: Sequence[str], without_cut: bool) -> list[float]:
    """Count, area in pixels, area in the unit, and share of the picture: of all categories, and of each."""
    rows = [row for row in picture["instances"] if not (without_cut and row["at_edge"])]
    pixels, size = picture["height_px"] * picture["width_px"], picture["pixel_size"] or 0.0
    values: list[float] = []
    for name in ("", *categories):
        own = [row for row in rows if name in ("", row["category"])]
        area = sum(row.get("area_px2", 0) for row in own)
        covered = area - sum(row.get("overlap_px2", 0) for row in own)
        values += [len(own), area, area * size**2, covered / pixels]
    return values


def _rows(
    predicted: Floats, true: Sequence[list[float] | None], categories: Sequence[str], unit: str | None, *, masks: bool
) -> list[Row]:
    """A row for each category and measure; none where too few pictures are annotated, or all are."""
    annotated = np.array([each is not None for each in true], bool)
    if annotated.sum() < LEAST_ANNOTATED or annotated.all():
        return []
    truth = np.array([each for each in true if each is not None], float)
    measures = ("instances", "area_px2", f"area_{unit}2", "area_fraction")
    shown = [0, *((1, *((2,) if unit is not None else ()), 3) if masks else ())]
    rows = []
    for place, category in enumerate(("", *categories)):
        for measure in shown:
            column = place * len(measures) + measure
            found, own = predicted[:, column], truth[:, column]
            rows.append(
                Row(
                    category,
                    measures[measure],
                    powered_mean(own, found[annotated], found[~annotated]),
                    plain_mean(own),
                    float(found.mean()),
                    len(found),
                    len(own),
                )
            )
    return rows


def _cell(value: float | None, factor: int = 1) -> float | str:
    return "" if value is None else float(f"{max(0.0, value * factor):.6g}")
