"""What determines a prediction."""

from dataclasses import dataclass
from pathlib import Path

from segkit.config.fields import CommandConfig, argument, option
from segkit.config.parsers import parse_names
from segkit.errors import ConfigError

OUTPUTS = ("overlay", "labelme", "coco", "idmask", "csv")


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictConfig(CommandConfig):
    """Everything that determines a prediction."""

    source: list[str] = argument(help="Pictures, folders, globs, or - for paths on stdin.", metavar="SOURCE...")
    model: Path | None = option(None, help="A run, a checkpoint or an exported file.  [default: runs/latest]")
    out: Path = option(Path("predictions"), help="Folder that receives the results.")
    format: tuple[str, ...] = option(
        ("overlay", "coco"), help=f"What to write: {','.join(OUTPUTS)}.", parse=parse_names, metavar="NAMES"
    )
    score: float = option(0.5, help="Leave out instances that score less.", min=0.0, max=1.0)
    batch: int = option(4, help="Images at once.", min=1)
    device: str = option("auto", help="auto, cpu, cuda, cuda:1.")
    resume: bool = option(False, help="Go on in --out: skip pictures that were done before.")
    force: bool = option(False, help="Replace the predictions in --out.")

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.format) - set(OUTPUTS)):
            raise ConfigError(f"--format: {', '.join(unknown)}: only {', '.join(OUTPUTS)} are known")
