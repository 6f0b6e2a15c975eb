"""What an evaluation hands to whoever explains it, and what comes of that."""

from dataclasses import dataclass
from pathlib import Path

from segkit.data.records import Dataset, Result
from segkit.evaluate.metrics import Metrics
from segkit.evaluate.pixels.per_picture import PixelScores


@dataclass(frozen=True, slots=True)
class Evaluated:
    """Scores, where they belong, and (where somebody asked why) what they were computed from."""

    metrics: Metrics
    folder: Path | None
    subject: str
    dataset: Dataset | None = None
    results: tuple[Result, ...] = ()
    pixels: PixelScores | None = None


@dataclass(frozen=True, slots=True)
class Explained:
    """The numbers with all that was asked for beyond them, and the files that hold it."""

    metrics: Metrics
    files: tuple[Path, ...]
