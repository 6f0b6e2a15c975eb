"""``pictures.csv``: a row for each image, worst first."""

import csv
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segkit.data.files import temporary_file
from segkit.data.records import Image
from segkit.evaluation.analysis.details import Details, ImageDetails
from segkit.evaluation.analysis.tide import ERROR_TYPES
from segkit.evaluation.pixels.per_image import PixelRow
from segkit.text import spreadsheet_cell

Row = dict[str, Any]


def instance_rows(details: Details, images: dict[int, Image]) -> list[Row]:
    """Counts at the score threshold, worst first; ``quality`` is PQ over all categories together.

    Images without instances and predictions come last.
    """
    rows = []
    for image in sorted(details.images, key=worst_first):
        sums, overlaps = image.counts(details.score), image.matches.overlaps
        errors = Counter(error.type for error in image.errors)
        rows.append(
            {
                "file_name": images[image.image_id].file_name,
                "instances": int((~overlaps.crowd).sum()),
                "predictions": sums.tp + sums.fp,
                "found": sums.tp,
                "false": sums.fp,
                "missed": sums.fn,
                "precision": _share(sums.tp, sums.tp + sums.fp),
                "recall": _share(sums.tp, sums.tp + sums.fn),
                "F1": _share(2 * sums.tp, 2 * sums.tp + sums.fp + sums.fn),
                "mean_IoU": _share(sums.iou, sums.tp),
                "quality": "" if (pq := image.panoptic_total().quality()["PQ"]) < 0 else round(pq, 6),
                **{f"{each}_mistakes": errors[each] for each in ERROR_TYPES},
            }
        )
    return rows


def worst_first(image: ImageDetails) -> tuple[float, int, int]:
    """The order of images: by PQ, then by the number of errors."""
    sums = image.panoptic_total()
    quality = sums.quality()["PQ"]
    return (math.inf if quality < 0 else quality, -(sums.fp + sums.fn), image.image_id)


def pixel_rows(rows: Sequence[PixelRow]) -> list[Row]:
    """Pixel scores, worst first; images without a labelled pixel come last."""
    ordered = sorted(rows, key=lambda row: (math.isnan(row.mIoU), row.mIoU, row.image.file_name))
    return [
        {"file_name": row.image.file_name, "mIoU": _number(row.mIoU), "pixel_accuracy": _number(row.pixel_accuracy)}
        for row in ordered
    ]


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """Write a CSV file."""
    with temporary_file(path) as temporary, temporary.open("w", -1, "utf-8", "backslashreplace", "") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else ["file_name"])
        writer.writeheader()
        writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)


def _cell(value: Any) -> Any:
    return spreadsheet_cell(value) if isinstance(value, str) else value


def _share(part: float, whole: float) -> float | str:
    return round(part / whole, 6) if whole else ""


def _number(value: float) -> float | str:
    return "" if math.isnan(value) else round(value, 6)
