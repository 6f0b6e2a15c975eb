"""Options of ``segkit predict``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from segkit.config.fields import CommandConfig, argument, option, options_of
from segkit.config.parsers import parse_names
from segkit.data.pixel_size import PixelSize, parse_area, parse_pixel_size
from segkit.errors import ConfigError

EdgeRule = Literal["keep", "mark", "drop"]
_CHOOSING = ("min_area", "max_area", "edge", "pixel_size")  # what results depend on
_CHOICE, _MEASURES = "Which instances are kept", "Measures"


def _parse_pixel_size(text: str) -> str:
    """Read ``auto``, ``none`` or ``0.32um``, and keep the text."""
    if text not in ("auto", "none"):
        parse_pixel_size(text)
    return text


def _parse_area(text: str) -> str:
    """Read ``20px`` or ``20um2``, and keep the text."""
    parse_area(text)
    return text


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
    min_area: str | None = option(
        None, help="Leave out what is smaller: 20px or 20um2.", parse=_parse_area, metavar="AREA", panel=_CHOICE
    )
    max_area: str | None = option(
        None, help="Leave out what is larger.", parse=_parse_area, metavar="AREA", panel=_CHOICE
    )
    edge: EdgeRule = option(
        "keep", help="Instances that the border of the picture cuts; mark: in the tables, but not in their means.",
        panel=_CHOICE,
    )  # fmt: skip
    measure: bool = option(
        False, help="Measure all instances: tables of instances and pictures, and a summary; like --format csv.",
        panel=_MEASURES,
    )  # fmt: skip
    pixel_size: str = option(
        "auto", help="Side of a pixel: 0.32um (nm, um, mm, cm, m); auto: as TIFF and OME files say; none.",
        parse=_parse_pixel_size, metavar="SIZE", panel=_MEASURES,
    )  # fmt: skip
    batch: int = option(4, help="Images per forward pass.", min=1, max=65536)
    device: str = option("auto", help="Device: auto, cpu, cuda, cuda:1.")
    resume: bool = option(False, help="Continue in --out: skip images that are already done.")
    force: bool = option(False, help="Replace the predictions in --out.")

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.format) - set(OUTPUTS)):
            raise ConfigError(f"--format: {', '.join(unknown)}: must be among {', '.join(OUTPUTS)}")

    @property
    def formats(self) -> tuple[str, ...]:
        """The output formats, and with ``--measure`` csv among them."""
        return self.format if "csv" in self.format or not self.measure else (*self.format, "csv")

    @property
    def fixed_pixel_size(self) -> PixelSize | None:
        """The size that was named."""
        return None if self.pixel_size in ("auto", "none") else parse_pixel_size(self.pixel_size)

    def choice_options(self) -> dict[str, str]:
        """What says which instances are kept besides ``score``, as typed; defaults are left out."""
        defaults = {each.name: each.default for each in options_of(type(self))}
        values = {name: getattr(self, name) for name in _CHOOSING}
        return {name: str(value) for name, value in values.items() if value != defaults[name]}

    def other_choice(self, theirs: dict[str, str] | None) -> str | None:
        """How other values of ``choice_options`` differ, in words; None where they do not, or are not known."""
        own = self.choice_options()
        for name in _CHOOSING:
            if theirs is not None and theirs.get(name) != own.get(name):
                flag = "--" + name.replace("_", "-")
                before, now = (f"with {flag} {v[name]}" if name in v else f"without {flag}" for v in (theirs, own))
                return f"{before}, not {now}"
        return None

    @property
    def areas(self) -> tuple[tuple[float, str] | None, tuple[float, str] | None]:
        """The least and the largest area, each with the unit whose squares it counts."""
        low, high = (None if text is None else parse_area(text) for text in (self.min_area, self.max_area))
        return low, high
