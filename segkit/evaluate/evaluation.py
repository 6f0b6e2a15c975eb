"""An evaluation, before its files are written."""

from dataclasses import dataclass
from pathlib import Path

from segkit.data.records import Dataset, Result
from segkit.evaluate.metrics import Metrics
from segkit.evaluate.pixels.per_image import PixelScores


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Metrics, the folder of their files, the annotation file, and, for details, what they were computed from."""

    metrics: Metrics
    folder: Path | None
    subject: str
    truth: Path
    dataset: Dataset | None = None
    results: tuple[Result, ...] = ()
    pixels: PixelScores | None = None
