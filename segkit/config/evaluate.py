"""Options of ``segkit eval``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from segkit.config.fields import CommandConfig, argument, option
from segkit.config.parsers import parse_names
from segkit.errors import ConfigError

IouKind = Literal["segm", "bbox", "boundary"]
Task = Literal["auto", "instance", "semantic"]
Engine = Literal["fast", "pycocotools"]
_KINDS = ("segm", "bbox", "boundary")


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalConfig(CommandConfig):
    """Everything that determines an evaluation."""

    subject: Path | None = argument(
        None, help="A run, a checkpoint, an exported file, or a COCO results file.  [default: runs/latest]",
        metavar="MODEL|RESULTS.json",
    )  # fmt: skip
    data: Path | None = option(None, help="Dataset folder or COCO file.  [default: the run's own, else dataset]")
    split: str = option("val", help="Split of a dataset folder.")
    task: Task = option("auto", help="What is scored; auto: what the model was made for.")
    iou: tuple[str, ...] | None = option(
        None, help="segm, bbox, boundary.  [default: segm, and bbox where there are boxes]", parse=parse_names,
        metavar="segm,bbox",
    )  # fmt: skip
    max_dets: str = option("auto", help="Detections counted per image; auto: what the ground truth needs.")
    lvis: bool = option(False, help="Also LVIS's federated AP, of data that lists what was looked for in each image.")
    out: Path | None = option(None, help="Folder that receives metrics.json.  [default: the run]")
    details: bool = option(
        False, help="Also P/R/F1, panoptic quality, counts, confusion, kinds of error, confidence, pictures.csv.",
        panel="Why, and how sure",
    )  # fmt: skip
    report: bool = option(
        False, help="All of --details as report.html, with pictures.  [--out default: evaluation]",
        panel="Why, and how sure",
    )  # fmt: skip
    compare: Path | None = option(
        None, help="Another run or results file: the difference, and whether it is chance.", panel="Why, and how sure"
    )
    images_dir: Path | None = option(
        None, help="Where the report finds the pictures of a COCO file that came without them.",
        panel="Why, and how sure",
    )  # fmt: skip
    score: float = option(
        0.5, help="Score from which a prediction counts as one.", min=0, max=1, panel="Why, and how sure"
    )
    bootstrap: int = option(
        1000, help="Resamplings of the pictures behind each confidence interval; 0: none.", min=0, max=100_000,
        panel="Why, and how sure",
    )  # fmt: skip
    engine: Engine = option(
        "fast", help="Who computes AP: fast (ultrafast-pycocotools), or pycocotools itself; the bits are the same."
    )
    batch: int = option(4, help="Images at once.", min=1)
    device: str = option("auto", help="auto, cpu, cuda, cuda:1.")
    workers: int | None = option(None, help="Processes that load images.  [default: 0]", min=0)

    def __post_init__(self) -> None:
        if unknown := set(self.iou or ()) - set(_KINDS):
            raise ConfigError(f"--iou: {', '.join(sorted(unknown))}: only segm, bbox and boundary are known")
        whole = self.max_dets.isascii() and self.max_dets.isdecimal() and len(self.max_dets) <= 6
        if self.max_dets != "auto" and not (whole and int(self.max_dets) >= 100):
            raise ConfigError(f"--max-dets {self.max_dets}: auto, or a number from 100, COCO's own cap, to 999999")
        if self.compare is not None and not self.bootstrap:
            raise ConfigError("--compare draws pictures again and again: give --bootstrap more than 0")
        if self.explains and self.iou == ("boundary",):
            raise ConfigError("--iou boundary: reasons are found in masks or boxes", "use --iou segm,boundary")
        if self.lvis and self.engine == "pycocotools":
            raise ConfigError("--lvis: pycocotools has no federated AP", "leave --engine out")

    @property
    def explains(self) -> bool:
        """Whether more than the numbers is asked for."""
        return self.details or self.report or self.compare is not None
