"""What determines how LabelMe is opened."""

from dataclasses import dataclass
from pathlib import Path

from segkit.config.fields import CommandConfig, argument, option


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelConfig(CommandConfig):
    """Which folder LabelMe opens, and with which labels."""

    folder: Path = argument(help="A folder of LabelMe files or of pictures.", metavar="DIR")
    labels: Path | None = option(
        None, help="labels.txt to choose from.  [default: the dataset's, else the latest run's]"
    )
