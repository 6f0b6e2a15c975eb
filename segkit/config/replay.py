"""Options of ``segkit replay``."""

from dataclasses import dataclass
from pathlib import Path

from segkit.choices import Precision
from segkit.config.fields import CommandConfig, argument, option


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayConfig(CommandConfig):
    """Options of running a failing step again."""

    folder: Path | None = argument(
        None, help="A folder in failures/ of a run, or a run: the last step that it has kept.  [default: runs/latest]",
        metavar="FOLDER", complete="run",
    )  # fmt: skip
    device: str = option("auto", help="Device: auto, cpu, cuda, cuda:1.", complete=("auto", "cpu", "cuda"))
    micro_batch: int | None = option(
        None, help="Images that go through the model at once.  [default: as many as then]", min=1, max=65536
    )
    precision: Precision | None = option(None, help="Compute in another precision.  [default: as then]")
    shrink: bool = option(False, help="Find the smallest part of the batch that still fails.")
