"""What determines a memory profile."""

from dataclasses import dataclass
from pathlib import Path

from segkit.config.fields import argument, option


@dataclass(frozen=True, kw_only=True, slots=True)
class MemprofileConfig:
    """Everything that determines a memory profile of segkit's own training."""

    run: Path | None = argument(
        None, help="A run, or a config.toml of one.  [default: runs/latest, else ./dataset with defaults]",
        metavar="RUN|CONFIG",
    )  # fmt: skip
    steps: int = option(30, help="Training steps to measure.", min=1)
    out: Path = option(Path("memprofile"), help="Folder that receives memory.json and memory.html.")
    device: str = option("auto", help="auto, cpu, cuda, cuda:1.")
