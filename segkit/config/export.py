"""What determines an export."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from segkit.config.fields import CommandConfig, argument, option


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportConfig(CommandConfig):
    """Everything that determines an export."""

    model: Path | None = argument(None, help="A run or a checkpoint.  [default: runs/latest]", metavar="MODEL")
    format: Literal["onnx"] = option("onnx", help="Format of the file.")
    out: Path | None = option(None, help="File to write.  [default: model.onnx in the run]")
    tolerance: float = option(
        1e-3,
        help="Largest difference from the source that is accepted, in scores and mask probabilities.",
        min=0.0,
    )
    data: Path | None = option(None, help="Dataset whose pictures are compared.  [default: the run's own]")
