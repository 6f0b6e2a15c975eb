"""An evaluation: before its files are written, and after."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segkit.data.records import Dataset, Result
from segkit.errors import InputError
from segkit.evaluation.metrics import Metrics
from segkit.evaluation.pixels.per_image import PixelScores


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Metrics, the folder of their files, the annotation file, and, for details, what they were computed from.

    Attributes:
        metrics: The numbers.
        folder: Where files are written; None: nowhere, unless they were asked for.
        subject: The file of the model or of the results.
        truth: The annotation file.
        dataset: What is in it.
        results: Predictions for its images.
        pixels: Pixel scores by image.
        num_annotations: How many there are.
        model: Architecture and step, where a model was evaluated.
        promises: The file of a model's promise; None where no model was evaluated.
        predicted: Ids of the images that were predicted, with or without a result; None: it is not known, or all.
    """

    metrics: Metrics
    folder: Path | None
    subject: str
    truth: Path
    dataset: Dataset | None = None
    results: tuple[Result, ...] = ()
    pixels: PixelScores | None = None
    num_annotations: int = 0
    model: dict[str, Any] = field(default_factory=dict)
    predicted: frozenset[int] | None = None
    promises: Path | None = None


@dataclass(frozen=True, slots=True)
class EvaluationSummary:
    """What an evaluation found.

    Attributes:
        metrics: The numbers, as ``metrics.json`` has them.
        files: The files that were written.
    """

    metrics: Metrics
    files: tuple[Path, ...]

    @property
    def refused_promise(self) -> InputError | None:
        """Why no threshold keeps the promise that was asked for; None where one does, or none was asked for."""
        promise = self.metrics.promise
        return None if promise is None or "refused" not in promise else InputError(promise["refused"], promise["hint"])

    def to_json(self) -> dict[str, Any]:
        """What ``eval --json`` prints."""
        return self.metrics.to_json()
