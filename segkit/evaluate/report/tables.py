"""``pictures.csv``: a row for every picture, worst first."""

import csv
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segkit.data.records import Image
from segkit.evaluate.analysis.details import Picture
from segkit.evaluate.analysis.tide import KINDS
from segkit.evaluate.pixels.per_picture import PixelRow

Row = dict[str, Any]


def instance_rows(pictures: Sequence[Picture], images: dict[int, Image], score: float) -> list[Row]:
    """Counts at the asked score, worst first; quality is PQ without regard to categories' shares.

    Pictures without instances and predictions, in which nothing can be wrong, come last.
    """
    rows = []
    for picture in sorted(pictures, key=worst_first):
        q = picture.quality
        scores = picture.fates.picture.score
        kinds = Counter(m.kind for m in picture.mistakes if m.detection < 0 or scores[m.detection] >= score)
        rows.append(
            {
                "file_name": images[picture.image_id].file_name,
                "instances": picture.instances,
                "predictions": picture.predictions,
                "found": q.hits,
                "false": q.misses,
                "missed": q.missed,
                "precision": _share(q.hits, q.hits + q.misses),
                "recall": _share(q.hits, q.hits + q.missed),
                "F1": _share(2 * q.hits, 2 * q.hits + q.misses + q.missed),
                "mean_IoU": _share(q.overlap, q.hits),
                "quality": "" if (pq := q.figures()["PQ"]) < 0 else round(pq, 6),
                **{f"{kind}_mistakes": kinds[kind] for kind in KINDS},
            }
        )
    return rows


def worst_first(picture: Picture) -> tuple[float, int, int]:
    """The order of pictures: by quality, then by how much is wrong."""
    quality = picture.quality.figures()["PQ"]
    wrong = picture.quality.misses + picture.quality.missed
    return (math.inf if quality < 0 else quality, -wrong, picture.image_id)


def pixel_rows(rows: Sequence[PixelRow]) -> list[Row]:
    """Pixel scores, worst first; pictures without a labelled pixel come last."""
    ordered = sorted(rows, key=lambda row: (math.isnan(row.mIoU), row.mIoU, row.image.file_name))
    return [
        {"file_name": row.image.file_name, "mIoU": _number(row.mIoU), "pixel_accuracy": _number(row.pixel_accuracy)}
        for row in ordered
    ]


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """Write a CSV file."""
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else ["file_name"])
        writer.writeheader()
        writer.writerows(rows)


def _share(part: float, whole: float) -> float | str:
    return round(part / whole, 6) if whole else ""


def _number(value: float) -> float | str:
    return "" if math.isnan(value) else round(value, 6)
