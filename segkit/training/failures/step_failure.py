"""What fails in a step, and who takes notice: nobody by default."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from segkit.loading.whole import Sample

Kind = Literal["out of memory", "not finite", "exception"]
Phase = Literal["forward and backward", "optimiser"]


@dataclass(frozen=True, slots=True)
class StepFailure:
    """Why a step failed on this rank.

    Attributes:
        kind: What failed.
        message: In a line.
        phase: Where.
        trace: The traceback of an exception.
        losses: This rank's losses by name, as far as there are any.
        grad_norm: The norm of the gradients, summed over ranks; None where the step did not come so far.
    """

    kind: Kind
    message: str
    phase: Phase = "forward and backward"
    trace: str | None = None
    losses: Mapping[str, float] | None = None
    grad_norm: float | None = None


def not_finite(
    losses: Mapping[str, float], total: Mapping[str, float], norm: float, *, scaled: bool
) -> StepFailure | None:
    """The failure of a step that gave no numbers; None where it gave some, or the fault is another rank's.

    Args:
        losses: This rank's losses.
        total: Those of all ranks.
        norm: The norm of the gradients.
        scaled: Whether a loss scale is searched for, by steps whose gradients are not finite.
    """
    bad = [name for name, value in losses.items() if not math.isfinite(value)]
    if bad or not math.isfinite(sum(losses.values())):
        return StepFailure("not finite", f"{', '.join(bad) or 'the sum of losses'}", losses=losses, grad_norm=norm)
    if all(math.isfinite(value) for value in total.values()) and not math.isfinite(norm) and not scaled:
        return StepFailure("not finite", "the gradients", losses=losses, grad_norm=norm)
    return None


class StepWatch:
    """Takes no notice of failing steps."""

    def begin(self) -> None:
        """A step begins, or begins again with smaller micro-batches."""

    def look(self) -> None:
        """Memory has run out, and what the step has allocated is still there."""

    def keep(self, failure: StepFailure, batch: Sequence[Sample]) -> None:
        """A step has failed; the model is as it was before it.

        Args:
            failure: Why.
            batch: This rank's part of the batch.
        """


NOBODY: Any = StepWatch()
