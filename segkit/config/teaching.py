"""Options of ``segkit train`` for what a model learns from besides its own annotations."""

from dataclasses import dataclass
from pathlib import Path

from segkit.config.fields import MOST_STEPS, option
from segkit.config.panoptic import PanopticConfig
from segkit.config.parsers import parse_names
from segkit.errors import ConfigError

_PANEL = "Learning from less"
_WITH_UNLABELLED = ("maskrcnn", "fasterrcnn", "unet")


@dataclass(frozen=True, kw_only=True, slots=True)
class TeachingConfig(PanopticConfig):
    """Options of distillation and of images without annotations; ``TrainConfig`` has all the others."""

    teacher: Path | None = option(
        None,
        help="A run of the same categories, usually of a larger network: also learn from what it finds (distillation).",
        metavar="RUN", panel=_PANEL, complete="run",
    )  # fmt: skip
    teacher_weight: float | None = option(
        None, help="Weight of the losses that compare with the teacher.  [default: 1]", min=0.0, max=1000.0,
        panel=_PANEL,
    )  # fmt: skip

    unlabelled: tuple[str, ...] | None = option(
        None,
        help="Folders or globs of pictures without annotations: also learn from what the model's own average finds in "
        "them (a mean teacher), from half of the run on.",
        parse=parse_names, metavar="DIR,...", panel=_PANEL,
    )  # fmt: skip
    unlabelled_weight: float | None = option(
        None, help="Weight of the losses of unlabelled pictures.  [default: 1]", min=0.0, max=1000.0, panel=_PANEL,
    )  # fmt: skip

    fold: int | None = option(
        None, help="Validate with this fold of the training split (convert --folds), and train on the others.", min=1,
        max=100, panel=_PANEL,
    )  # fmt: skip
    qat: Path | None = option(
        None,
        help="A run: go on from it for a tenth of its steps, with layers that compute as in 8 bits (quantisation-aware "
        "training), for segkit export --int8; unet, maskrcnn, fasterrcnn.",
        metavar="RUN", panel=_PANEL, complete="run",
    )  # fmt: skip
    label_share: float | None = option(
        None, help="Learn from this fraction of the training images only; each category keeps its share.",
        min=1e-6, max=1.0, panel=_PANEL,
    )  # fmt: skip
    label_curve: bool = option(
        False, help="Train on 1/8, 1/4, 1/2 and all of the labels, and say what twice as many would give.",
        panel=_PANEL,
    )  # fmt: skip
    curve_seeds: int = option(2, help="Runs of --label-curve on each part of the labels.", min=1, max=100, panel=_PANEL)
    unfreeze_after: int | None = option(
        None, help="Steps after which the layers of --freeze learn, too.  [default: never]", min=1, max=MOST_STEPS,
        panel=_PANEL,
    )  # fmt: skip

    def check_teaching(self, model: str, compiled: bool, ema: float | None) -> None:
        """Check these options against each other.

        Args:
            model: The architecture.
            compiled: Whether the model is compiled.
            ema: The decay of averaged weights.

        Raises:
            ConfigError: They contradict each other.
        """
        if self.qat is not None and (self.label_curve or self.teacher is not None or self.unlabelled):
            raise ConfigError("--qat goes on from a run with its own annotations alone", "leave the other options out")
        if self.label_curve and self.label_share is not None:
            raise ConfigError("--label-curve chooses parts of the labels itself", "leave --label-share out")
        if self.teacher is None and self.teacher_weight is not None:
            raise ConfigError("--teacher-weight goes with --teacher", "name a run: --teacher runs/NAME")
        if self.teacher is not None and compiled:
            raise ConfigError("--compile and --teacher do not go together", "leave one of them out")
        if not self.unlabelled:
            if self.unlabelled_weight is not None:
                raise ConfigError("--unlabelled-weight goes with --unlabelled", "name a folder: --unlabelled DIR")
            return
        if model not in _WITH_UNLABELLED:
            known = ", ".join(_WITH_UNLABELLED)
            raise ConfigError(f"--unlabelled is for {known}, and not for {model}", "leave it out")
        if ema == 0:
            raise ConfigError("--unlabelled needs averaged weights, which --ema 0 turns off", "leave --ema out")
