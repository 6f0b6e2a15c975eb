"""Options of ``segkit eval``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from segkit.choices import EngineName, ScoringTool
from segkit.config.fields import MOST_PROCESSES, CommandConfig, argument, flag_of, option, options_of
from segkit.config.parsers import SIZE_UNITS, parse_areas, parse_names, parse_promise, parse_size
from segkit.errors import ConfigError

Task = Literal["auto", "instance", "semantic"]
_ANALYSIS = "Error analysis and confidence"
_KINDS = ("segm", "bbox", "boundary")


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalConfig(CommandConfig):
    """Options of an evaluation."""

    subject: Path | None = argument(
        None, help="A run, a checkpoint, an exported file, a COCO results file, or the annotations of a second person "
        "(a folder or a COCO file; --data names those of the first).  [default: runs/latest]",
        metavar="MODEL|RESULTS.json", complete="model",
    )  # fmt: skip
    data: Path | None = option(
        None, help="Dataset folder or COCO file.  [default: the run's own, else dataset]", complete="dataset"
    )
    split: str = option("val", help="Split of the dataset folder.", complete="split")
    folds: bool = option(
        False, help="Score the runs of all folds (train --fold) together: each image by the run that has not seen it.",
    )  # fmt: skip
    task: Task = option("auto", help="What to evaluate; auto: what the model was trained for.")
    iou: tuple[str, ...] | None = option(
        None, help="Types of IoU: segm, bbox, boundary.  [default: segm, and bbox if there are boxes]",
        parse=parse_names, metavar="segm,bbox", complete=_KINDS,
    )  # fmt: skip
    max_dets: str = option("auto", help="Maximum detections per image; auto: enough for the most crowded image.")
    areas: tuple[float, ...] = option(
        (), help="Also AP by own size classes, from each of these areas in pixels to the next.",
        parse=parse_areas, metavar="0,324,961",
    )  # fmt: skip
    as_tool: ScoringTool | None = option(
        None, flag="--as", help="What each rule of another tool's scoring changes in AP, one after another.",
        panel=_ANALYSIS,
    )  # fmt: skip
    lvis: bool = option(False, help="Also LVIS's federated AP, for data that lists the categories checked per image.")
    out: Path | None = option(None, help="Folder for metrics.json.  [default: that of the model]")
    details: bool = option(
        False, help="Also precision, recall, F1, panoptic quality, counts, confusion matrix, TIDE error types, "
        "confidence intervals, and pictures.csv.",
        panel=_ANALYSIS,
    )  # fmt: skip
    report: bool = option(
        False, help="Write all of --details to report.html, with images.  [--out default: evaluation]",
        panel=_ANALYSIS,
    )  # fmt: skip
    promise: str | None = option(
        None, help="Find the score threshold that keeps a promise on further pictures, for predict --score promise.",
        parse=parse_promise, metavar="'recall >= 0.95'", panel=_ANALYSIS,
    )  # fmt: skip
    compare: Path | None = option(
        None,
        help="Another run or results file to compare with: the difference and its p-value.",
        panel=_ANALYSIS,
        complete="model",
    )
    images_dir: Path | None = option(
        None, help="Folder of the images for the report, where a COCO file came without them.",
        panel=_ANALYSIS,
    )  # fmt: skip
    score: float = option(
        0.5,
        help="Ignore predictions with a lower confidence, except for AP (up to 100, for scores in percent).",
        min=0,
        max=100,
        panel=_ANALYSIS,
    )
    bootstrap: int = option(
        1000, help="Random changes of sign behind the p-value of --compare; 0: no confidence intervals.", min=0,
        max=100_000,
        panel=_ANALYSIS,
    )  # fmt: skip
    engine: EngineName = option(
        "fast",
        help="Library that computes AP: ultrafast-pycocotools (fast) or pycocotools; the numbers are the same.",
    )
    batch: int = option(4, help="Images per forward pass.", min=1, max=65536)
    vram: int | None = option(
        None, help="GPU memory to use at most; where a batch needs more, fewer images go through the model at once. "
        f"{SIZE_UNITS}  [default: all free memory]",
        parse=parse_size, metavar="SIZE",
    )  # fmt: skip
    device: str = option("auto", help="Device: auto, cpu, cuda, cuda:1.", complete=("auto", "cpu", "cuda"))
    trust: bool = option(
        False, help="Run an exported file that is a program (TorchScript, PT2): only if you know who made it."
    )
    workers: int | None = option(None, help="Processes that load images.  [default: 0]", min=0, max=MOST_PROCESSES)

    def _check(self) -> None:
        if unknown := set(self.iou or ()) - set(_KINDS):
            raise ConfigError(f"--iou: {', '.join(sorted(unknown))}: must be segm, bbox or boundary")
        whole = self.max_dets.isascii() and self.max_dets.isdecimal() and len(self.max_dets) <= 6
        if self.max_dets != "auto" and not (whole and int(self.max_dets) >= 100):
            raise ConfigError(f"--max-dets {self.max_dets}: auto, or a number from 100, COCO's own cap, to 999999")
        if self.folds and (self.data is not None or self.split != "val" or self.compare is not None):
            raise ConfigError(
                "--folds scores the folds of the run's own dataset", "leave --data, --split, --compare out"
            )
        if self.compare is not None and not self.bootstrap:
            raise ConfigError("--compare needs random samples: --bootstrap must be more than 0")
        if self.needs_details and self.iou == ("boundary",):
            raise ConfigError("--iou boundary: the error analysis needs masks or boxes", "use --iou segm,boundary")
        if self.task == "semantic" and not self.iou:
            for flag, asked in (("--areas", self.areas), ("--as", self.as_tool), ("--promise", self.promise)):
                if asked:
                    raise ConfigError(
                        f"{flag} is about instances: --task semantic scores pixels", "leave one of them out"
                    )
        if self.as_tool is not None and self.iou == ("boundary",):
            raise ConfigError(f"--as {self.as_tool}: it compares masks or boxes", "use --iou segm or --iou bbox")
        if self.promise is not None and self.folds:
            raise ConfigError("--promise is about one model, and --folds scores several", "leave one of them out")
        if self.promise is not None and self.iou == ("boundary",):
            raise ConfigError("--promise: recall is that of masks or boxes", "use --iou segm or --iou bbox")
        if self.lvis and self.engine == "pycocotools":
            raise ConfigError("--lvis: pycocotools has no federated AP", "leave --engine out")

    def unused_options(self) -> list[str]:
        """The options that were given and have no effect without an error analysis."""
        needs_analysis = {"score", "bootstrap", "images_dir"} if not self.needs_details else set()
        return [flag_of(each) for each in options_of(type(self)) if each.name in needs_analysis & self.given_options()]

    def check_split(self) -> None:
        """Refuse a split beside a file, which is the split.

        Raises:
            ConfigError: Both were named.
        """
        if "split" in self.given_options() and self.data is not None and self.data.is_file():
            raise ConfigError(
                f"--split {self.split}: --data {self.data} is a file, and is scored as it is",
                "name the folder of the dataset, or leave --split out",
            )

    @property
    def needs_results(self) -> bool:
        """Whether something is computed from all results once they are scored."""
        return self.needs_details or self.as_tool is not None or self.promise is not None

    @property
    def promised_recall(self) -> float | None:
        """The recall to promise."""
        return None if self.promise is None else float(self.promise.rpartition(" ")[2])

    @property
    def needs_details(self) -> bool:
        """Whether an error analysis is asked for, not only metrics."""
        return self.details or self.report or self.compare is not None
