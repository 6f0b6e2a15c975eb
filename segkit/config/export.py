"""Options of ``segkit export``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from segkit.config.fields import CommandConfig, argument, option


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportConfig(CommandConfig):
    """Options of an export."""

    model: Path | None = argument(None, help="A run or a checkpoint.  [default: runs/latest]", metavar="MODEL")
    format: Literal["onnx"] = option("onnx", help="File format.")
    out: Path | None = option(None, help="File to write.  [default: model.onnx in the run]")
    tolerance: float = option(
        1e-3,
        help="Maximum difference from the original model, in scores and mask probabilities.",
        min=0.0,
    )
    data: Path | None = option(None, help="Dataset with the images to compare on.  [default: the run's own]")
