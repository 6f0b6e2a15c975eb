"""Options of ``segkit label``."""

from dataclasses import dataclass
from pathlib import Path

from segkit.config.fields import CommandConfig, argument, option


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelConfig(CommandConfig):
    """Options of opening LabelMe."""

    folder: Path = argument(help="Folder of LabelMe files or images.", metavar="DIR")
    labels: Path | None = option(
        None, help="A labels.txt with the labels to offer.  [default: the dataset's, else the latest run's]"
    )
