"""Options of ``segkit predict``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from segkit.config.devices import check_devices
from segkit.config.fields import MOST_PIXELS, MOST_PROCESSES, CommandConfig, argument, option, options_of
from segkit.config.parsers import SIZE_UNITS, parse_duration, parse_indices, parse_names, parse_size, to_toml
from segkit.data.pixel_size import PixelSize, parse_area, parse_pixel_size
from segkit.errors import ConfigError

DEFAULT_SCORE = 0.5
KEPT_SCORES = ("best", "promise")  # thresholds that eval has found and keeps with a model
EdgeRule = Literal["keep", "mark", "drop"]
_CHOOSING = (
    "categories", "max_instances", "nms", "nms_across", "tta", "tile", "overlap", "min_area", "max_area", "edge",
    "pixel_size", "pages", "every",
)  # fmt: skip
TagKind = Literal["auto", "none", "name", "score"]
_CHOICE, _MEASURES, _OVERLAY, _WATCH = "Which instances are kept", "Measures", "Overlays", "Watched folders"


def _parse_pixel_size(text: str) -> str:
    """Read ``auto``, ``none`` or ``0.32um``, and keep the text."""
    if text not in ("auto", "none"):
        parse_pixel_size(text)
    return text


def _parse_tile(text: str) -> str:
    """Read ``auto``, ``none``, or a number of pixels from 32.

    Raises:
        ValueError: It is none of these.
    """
    if text not in ("auto", "none"):
        digits = text.isascii() and text.isdigit() and len(text) < 6
        if not digits or not 32 <= int(text) <= MOST_PIXELS:
            raise ValueError(f"{text!r} is neither a number of pixels from 32 to {MOST_PIXELS} nor auto or none")
    return text


_SCORES = "a score such as 0.5, cell=0.3,debris=0.7, best or promise"


def parse_score(text: str) -> float | str:
    """Read a number from 0 to 1, ``best``, ``promise``, or ``cell=0.3,debris=0.7``.

    Raises:
        ValueError: It is none of these.
    """
    if text.strip() in KEPT_SCORES:
        return text.strip()
    parts = []
    for part in parse_names(text):
        name, _, value = part.rpartition("=")
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not 0 <= number <= 1 or ("=" in part and not name.strip()):
            raise ValueError(f"{text!r} is not {_SCORES}; scores are 0 to 1")
        parts.append((name.strip(), number))
    names = [name for name, _ in parts]
    if not parts or len(set(names)) != len(names):
        raise ValueError(f"{text!r} is not {_SCORES}, each name once")
    if names == [""]:
        return parts[0][1]
    return ",".join(f"{name}={number:g}" if name else f"{number:g}" for name, number in parts)


def _parse_area(text: str) -> str:
    """Read ``20px`` or ``20um2``, and keep the text."""
    parse_area(text)
    return text


OUTPUTS = (
    "overlay", "labelme", "coco", "idmask", "csv", "classmap", "panoptic", "imagej", "qupath", "geojson", "gpkg",
    "crops",
)  # fmt: skip
_ALSO = {"roi": "imagej"}  # other names


def _parse_formats(text: str) -> tuple[str, ...]:
    """Read names of output formats; ``roi`` is another one of ``imagej``."""
    return tuple(dict.fromkeys(_ALSO.get(name, name) for name in parse_names(text)))


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictConfig(CommandConfig):
    """Options of a prediction."""

    first = ("model", "out", "format", "score", "tile", "measure", "pixel_size", "gpus", "resume", "force")

    source: list[str] = argument(
        help="Images, videos, folders, globs, or - to read paths from stdin.", metavar="SOURCE..."
    )
    model: Path | None = option(
        None, help="A run, a checkpoint or an exported file.  [default: runs/latest]", complete="model"
    )
    pages: Literal["first", "all"] = option(
        "first", help="Of files with several pages (TIFF, GIF, WebP): predict the first, or each as a picture."
    )
    every: int = option(1, help="Of videos: predict every so many-th frame.", min=1, max=1_000_000)
    out: Path = option(Path("predictions"), help="Folder for the results.")
    format: tuple[str, ...] = option(
        ("overlay", "coco"),
        help=f"Output formats: {','.join(OUTPUTS)} (imagej is also called roi). For a U-Net classmap is among the "
        "defaults; for a model of things and stuff that and panoptic.",
        parse=_parse_formats,
        metavar="NAMES",
        complete=OUTPUTS,
    )
    score: float | str = option(
        DEFAULT_SCORE, help="Ignore predictions with a lower confidence: 0.5; cell=0.3,debris=0.7; best, the "
        "threshold with the highest F1 that segkit eval --details found; or promise, that of eval --promise.",
        parse=parse_score, metavar="SCORE", complete=("best", "promise"),
    )  # fmt: skip
    categories: tuple[str, ...] = option(
        (), help="Only these categories.", parse=parse_names, metavar="NAMES", panel=_CHOICE, complete="category"
    )
    max_instances: int | None = option(
        None, help="At most so many instances in a picture, the best ones; more than the model's own limit, too.",
        min=1, max=100_000, panel=_CHOICE,
    )  # fmt: skip
    nms: float | None = option(
        None, help="Of two instances of one category that overlap with more IoU, keep the better one.",
        min=0.0, max=1.0, panel=_CHOICE,
    )  # fmt: skip
    nms_across: float | None = option(
        None, help="The same for instances of any categories.", min=0.0, max=1.0, panel=_CHOICE
    )
    tile: str = option(
        "none", help="Predict large pictures in tiles of so many pixels; auto: those much larger than what the model "
        "gets, at their own scale, and those for which memory does not suffice; none.",
        parse=_parse_tile, metavar="auto|N|none",
    )  # fmt: skip
    overlap: int | None = option(
        None, help="Pixels that neighbouring tiles share.  [default: a quarter of the tile]", min=0, max=MOST_PIXELS
    )
    tta: tuple[str, ...] = option(
        (), help="Test-time augmentation, the mean over several views of each image: flips, scales, or both.",
        parse=parse_names, metavar="NAMES", complete=("flips", "scales"),
    )  # fmt: skip
    labels: TagKind = option(
        "auto", help="Text at each instance of an overlay; auto: name and score where there are few.", panel=_OVERLAY
    )
    line_width: int | None = option(
        None, help="Width of contours in overlays, in pixels.  [default: by the size]", min=1, max=100, panel=_OVERLAY
    )
    polygon_tolerance: float | None = option(
        None, help="LabelMe files: polygons in place of masks, at most so many pixels away from the mask's outline; "
        "masks with holes stay masks.",
        min=0.0, max=100.0, metavar="PIXELS",
    )  # fmt: skip
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
    labelled: Path | None = option(
        None, help="Annotations of some of the pictures, drawn at random: measures all, and gives intervals for counts "
        "and areas over all of them (prediction-powered).",
        metavar="SUBSET", panel=_MEASURES,
    )  # fmt: skip
    pixel_size: str = option(
        "auto", help="Side of a pixel: 0.32um (nm, um, mm, cm, m); auto: as TIFF and OME files say; none.",
        parse=_parse_pixel_size, metavar="SIZE", panel=_MEASURES,
    )  # fmt: skip
    batch: int = option(4, help="Images per forward pass.", min=1, max=65536)
    vram: int | None = option(
        None, help="Memory of each GPU to use at most; where a batch needs more, fewer images go through the model at "
        f"once. {SIZE_UNITS}  [default: all free memory]",
        parse=parse_size, metavar="SIZE",
    )  # fmt: skip
    gpus: tuple[int, ...] | None = option(
        None, help="GPUs that share the pictures, one process each.", parse=parse_indices, metavar="0,1,..."
    )
    device: str = option("auto", help="Device: auto, cpu, cuda, cuda:1.", complete=("auto", "cpu", "cuda"))
    ranks: int = option(1, help="Processes that share the pictures; only with --device cpu.", min=1, max=MOST_PROCESSES)
    watch: bool = option(
        False, help="Predict what is in the folders and what arrives in them, until Ctrl-C or --until: files that are "
        "complete, with a line for each. Needs the extra watch.",
        panel=_WATCH,
    )  # fmt: skip
    until: float | None = option(
        None, help="End the watch after so long: 30s, 90m, 2h.", parse=parse_duration, metavar="DURATION", panel=_WATCH
    )
    settle: float = option(
        2.0, help="A file is complete when it has not changed for so long, and has an end.  [default: 2s]",
        parse=parse_duration, metavar="DURATION", panel=_WATCH,
    )  # fmt: skip
    max_rss: int | None = option(
        None, help="End the watch with code 6 when the process uses more memory, so that a service manager starts it "
        f"again. {SIZE_UNITS}",
        parse=parse_size, metavar="SIZE", panel=_WATCH,
    )  # fmt: skip
    max_latency: float | None = option(
        None, help="The same when a picture is done so long after it came.", parse=parse_duration,
        metavar="DURATION", panel=_WATCH,
    )  # fmt: skip
    workers: int | None = option(
        None, help="Threads that read the next pictures while the model works, and as many that write.  "
        "[default: one a core, at most 4]",
        min=0, max=MOST_PROCESSES,
    )  # fmt: skip
    trust: bool = option(
        False, help="Run an exported file that is a program (TorchScript, PT2): only if you know who made it."
    )
    resume: bool = option(False, help="Continue in --out: skip images that are already done.")
    force: bool = option(False, help="Replace the predictions in --out.")

    def _check(self) -> None:
        check_devices(self.device, self.gpus, self.ranks)
        self._check_watch()
        self._check_what_is_kept()
        if self.resume and self.force:
            raise ConfigError("--resume and --force contradict each other", "leave one of them out")
        if not self.format:
            raise ConfigError("--format: nothing would be written", f"name some of {', '.join(OUTPUTS)}")
        if unknown := sorted(set(self.format) - set(OUTPUTS)):
            raise ConfigError(f"--format: {', '.join(unknown)}: must be among {', '.join(OUTPUTS)}")
        if self.polygon_tolerance is not None and "labelme" not in self.format:
            raise ConfigError("--polygon-tolerance is for LabelMe files", "add labelme to --format")
        for flag, given in (("--labels", self.labels != "auto"), ("--line-width", self.line_width is not None)):
            if given and "overlay" not in self.format:
                raise ConfigError(f"{flag} is for overlays", "add overlay to --format")
        if self.overlap is not None and self.tile == "none":
            raise ConfigError("--overlap is for tiles", "add --tile auto, or --tile with a number of pixels")
        if self.overlap is not None and self.tile.isdigit() and self.overlap > int(self.tile) // 2:
            raise ConfigError(f"--overlap {self.overlap}: more than half of a tile of {self.tile} pixels")
        if unknown := sorted(set(self.tta) - {"flips", "scales"}):
            raise ConfigError(f"--tta: {', '.join(unknown)}: must be flips, scales, or both")

    def _check_what_is_kept(self) -> None:
        """Check the bounds of what is kept.

        Raises:
            ConfigError: Nothing is within them.
        """
        low, high = self.areas
        if low is not None and high is not None and low[1] == high[1] and low[0] > high[0]:
            raise ConfigError(f"--min-area {self.min_area}: more than --max-area {self.max_area}")

    def _check_watch(self) -> None:
        """Check the options of watched folders.

        Raises:
            ConfigError: They do not go together.
        """
        if not self.watch:
            alone = [name for name in ("until", "settle", "max_rss", "max_latency") if name in self.given_options()]
            if alone:
                raise ConfigError(f"--{alone[0].replace('_', '-')} is for watched folders", "add --watch")
            return
        if self.labelled is not None:
            raise ConfigError("--watch and --labelled do not go together: not all pictures are there yet")
        if "-" in self.source:
            raise ConfigError("--watch -: not a folder", "name folders: what arrives in them is predicted")

    @property
    def formats(self) -> tuple[str, ...]:
        """The output formats, and with ``--measure`` or ``--labelled`` csv among them."""
        measured = self.measure or self.labelled is not None
        return self.format if "csv" in self.format or not measured else (*self.format, "csv")

    @property
    def fixed_pixel_size(self) -> PixelSize | None:
        """The size that was named."""
        return None if self.pixel_size in ("auto", "none") else parse_pixel_size(self.pixel_size)

    def choice_options(self) -> dict[str, str]:
        """What says which instances are kept besides ``score``, as typed; defaults are left out."""
        defaults = {each.name: each.default for each in options_of(type(self))}
        values = {name: getattr(self, name) for name in _CHOOSING}
        return {name: str(to_toml(value)) for name, value in values.items() if value != defaults[name]}

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
