"""What determines an evaluation."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from segkit.config.fields import argument, option
from segkit.config.units import parse_names
from segkit.errors import ConfigError

IouType = Literal["segm", "bbox"]
Task = Literal["auto", "instance", "semantic"]


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalConfig:
    """Everything that determines an evaluation."""

    subject: Path | None = argument(
        None, help="A run, a checkpoint, an exported file, or a COCO results file.  [default: runs/latest]",
        metavar="MODEL|RESULTS.json",
    )  # fmt: skip
    data: Path | None = option(None, help="Dataset folder or COCO file.  [default: the run's own, else dataset]")
    split: str = option("val", help="Split of a dataset folder.")
    task: Task = option("auto", help="What is scored; auto: what the model was made for.")
    iou: tuple[str, ...] | None = option(
        None, help="segm, bbox.  [default: segm, and bbox where the model predicts boxes]", parse=parse_names,
        metavar="segm,bbox",
    )  # fmt: skip
    max_dets: str = option("auto", help="Detections counted per image; auto: what the ground truth needs.")
    out: Path | None = option(None, help="Folder that receives metrics.json.  [default: the run]")
    batch: int = option(4, help="Images at once.", min=1)
    device: str = option("auto", help="auto, cpu, cuda, cuda:1.")
    workers: int | None = option(None, help="Processes that load images.  [default: 0]", min=0)

    def __post_init__(self) -> None:
        if unknown := set(self.iou or ()) - {"segm", "bbox"}:
            raise ConfigError(f"--iou: {', '.join(sorted(unknown))}: only segm and bbox are known")
        if self.max_dets != "auto" and not (self.max_dets.isdigit() and int(self.max_dets) >= 100):
            raise ConfigError(f"--max-dets {self.max_dets}: auto, or a number from 100, COCO's own cap")
