"""Options of ``segkit train`` for what a model learns from besides its own annotations."""

from dataclasses import dataclass
from pathlib import Path

from segkit.config.fields import CommandConfig, option
from segkit.errors import ConfigError

_PANEL = "Teachers"


@dataclass(frozen=True, kw_only=True, slots=True)
class TeachingConfig(CommandConfig):
    """Options of distillation; ``TrainConfig`` has all the others."""

    teacher: Path | None = option(
        None,
        help="A run of the same categories, usually of a larger network: also learn from what it finds (distillation).",
        metavar="RUN", panel=_PANEL,
    )  # fmt: skip
    teacher_weight: float | None = option(
        None, help="Weight of the losses that compare with the teacher.  [default: 1]", min=0.0, max=1000.0,
        panel=_PANEL,
    )  # fmt: skip

    def check_teaching(self, compiled: bool) -> None:
        """Check these options against each other.

        Args:
            compiled: Whether the model is compiled.

        Raises:
            ConfigError: They contradict each other.
        """
        if self.teacher is None and self.teacher_weight is not None:
            raise ConfigError("--teacher-weight goes with --teacher", "name a run: --teacher runs/NAME")
        if self.teacher is not None and compiled:
            raise ConfigError("--compile and --teacher do not go together", "leave one of them out")
