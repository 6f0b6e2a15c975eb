"""What ranks agree on in every step."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Agreement:
    """What all ranks know alike after the backward pass, so that they decide alike.

    Attributes:
        failed: Whether a rank has no losses.
        stop: Whether a rank was asked to stop.
        num_replaced: Images of the step, on all ranks, that could not be loaded and were replaced.
        seconds: Time spent in the run, by the clock of rank 0.
        since_saved: Seconds since the last checkpoint, likewise.
        one_step: Seconds of this step, likewise.
        evaluation: Seconds of the last evaluation, likewise; 0 before the first one.
        evaluated: Seconds of all evaluations, likewise.
        saving: Seconds of the last checkpoint, likewise.
    """

    failed: bool
    stop: bool
    num_replaced: int
    seconds: float
    since_saved: float
    one_step: float
    evaluation: float
    evaluated: float
    saving: float
