"""Options of ``segkit check``."""

from dataclasses import dataclass
from pathlib import Path

from segkit.config.convert import SourceFormat
from segkit.config.fields import MOST_PIXELS, MOST_PROCESSES, CommandConfig, argument, option
from segkit.errors import ConfigError

_WITH_MODEL = "With a model"


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckConfig(CommandConfig):
    """Options of a check of annotations."""

    src: str = argument(
        help="A dataset, or a folder or file of annotations in any format that convert reads.",
        metavar="SRC",
        complete="dataset",
    )
    source_format: SourceFormat = option("auto", flag="--from", help="Format of SRC.")
    images_dir: Path | None = option(None, help="Another folder to look for images in.")
    size: int | None = option(
        None, help="Shorter image side in pixels, at which instances must not be too small to learn.  "
        "[default: that of --model, else the images' own, at most 800]",
        min=32, max=MOST_PIXELS,
    )  # fmt: skip
    max_size: int | None = option(
        None, help="Longest side in pixels.  [default: 5/3 of --size]", min=32, max=MOST_PIXELS
    )
    model: Path | None = option(
        None, help="A run, a checkpoint or an exported file, whose predictions show likely annotation errors; for a "
        "run of a fold (train --fold) those of all folds.", panel=_WITH_MODEL, complete="model",
    )  # fmt: skip
    predictions: Path | None = option(
        None, help="The same from a COCO results file of any tool, for the images of SRC.", metavar="RESULTS.json",
        panel=_WITH_MODEL,
    )  # fmt: skip
    split: str = option(
        "val", help="Split of the dataset folder whose image ids the results have.", panel=_WITH_MODEL, complete="split"
    )
    confidence: float = option(
        0.5, help="List likely annotation errors from this confidence on.", min=0.0, max=1.0, panel=_WITH_MODEL
    )
    batch: int = option(4, help="Images per forward pass.", min=1, max=65536, panel=_WITH_MODEL)
    device: str = option(
        "auto", help="Device: auto, cpu, cuda, cuda:1.", complete=("auto", "cpu", "cuda"), panel=_WITH_MODEL
    )
    trust: bool = option(
        False, help="Run an exported file that is a program (TorchScript, PT2): only if you know who made it.",
        panel=_WITH_MODEL,
    )  # fmt: skip
    out: Path | None = option(None, help="Write check.json and check.html, with pictures, to this folder.")
    fix: Path | None = option(
        None, help="Write LabelMe files of the images with findings to this folder: flags and descriptions say what "
        "may be wrong.",
    )  # fmt: skip
    strict: bool = option(False, help="Exit with code 3 if something was found.")
    workers: int | None = option(
        None, help="Processes that read files.  [default: by the number of files]", min=0, max=MOST_PROCESSES
    )

    def _check(self) -> None:
        if self.model is not None and self.predictions is not None:
            raise ConfigError("--model and --predictions: both give predictions", "name one of them")
        if self.src == "-":
            raise ConfigError("check reads no list of files from standard input", "name a folder or a file")
        if self.max_size is not None and self.size is not None and self.max_size < self.size:
            raise ConfigError(f"--max-size {self.max_size}: less than --size {self.size}")
        given = self.given_options()
        judged = self.model is not None or self.predictions is not None
        if "confidence" in given and not judged:
            raise ConfigError("--confidence: likely annotation errors need predictions", "add --model or --predictions")
        if "split" in given and self.predictions is None:
            raise ConfigError("--split: says which image ids --predictions has", "leave it out")
