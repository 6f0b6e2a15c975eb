"""Options of ``segkit predict``."""

from dataclasses import dataclass
from pathlib import Path

from segkit.config.fields import CommandConfig, argument, option
from segkit.config.parsers import parse_names
from segkit.errors import ConfigError

OUTPUTS = ("overlay", "labelme", "coco", "idmask", "csv", "classmap")


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictConfig(CommandConfig):
    """Options of a prediction."""

    source: list[str] = argument(help="Images, folders, globs, or - to read paths from stdin.", metavar="SOURCE...")
    model: Path | None = option(None, help="A run, a checkpoint or an exported file.  [default: runs/latest]")
    out: Path = option(Path("predictions"), help="Folder for the results.")
    format: tuple[str, ...] = option(
        ("overlay", "coco"),
        help=f"Output formats: {','.join(OUTPUTS)}. For a U-Net classmap is among the defaults.",
        parse=parse_names,
        metavar="NAMES",
    )
    score: float = option(0.5, help="Ignore predictions with a lower confidence.", min=0.0, max=1.0)
    batch: int = option(4, help="Images per forward pass.", min=1, max=65536)
    device: str = option("auto", help="Device: auto, cpu, cuda, cuda:1.")
    resume: bool = option(False, help="Continue in --out: skip images that are already done.")
    force: bool = option(False, help="Replace the predictions in --out.")

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.format) - set(OUTPUTS)):
            raise ConfigError(f"--format: {', '.join(unknown)}: must be among {', '.join(OUTPUTS)}")
