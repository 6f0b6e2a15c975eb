"""When a run saves and ends: by the clock of rank 0, and by what evaluations and checkpoints have cost it."""

from segkit.training.agreement import Agreement

_MARGIN = 1.2  # evaluations take longer when a model finds more
_LONGEST_BETWEEN_SAVES, _LONGEST_BEFORE_EVALUATION = 600.0, 60.0  # seconds
_COST = 9  # a checkpoint may take a tenth of the time since the last one
PROBE_AFTER = 1 / 3  # of the time; without an evaluation until then, one is tried on a few images


def reserved(limit: float | None, evaluation: float, saving: float) -> float:
    """Seconds at the end of a run with a time limit that its last evaluation and its checkpoints will take.

    Args:
        limit: Seconds that the run may take; None: no limit.
        evaluation: Seconds that an evaluation takes.
        saving: Seconds that a checkpoint takes; there is one before the evaluation and one after it.
    """
    return 0.0 if limit is None else min(_MARGIN * (evaluation + 2 * saving), limit / 2)


def time_is_up(limit: float | None, agreed: Agreement, evaluates: bool) -> bool:
    """Whether another step would leave too little time for the last evaluation and checkpoint.

    Args:
        limit: Seconds that the run may take; None: no limit.
        agreed: What ranks know after the step.
        evaluates: Whether an evaluation is due after this step, and another one would be at the end.
    """
    if limit is None:
        return False
    ending = reserved(limit, agreed.evaluation, agreed.saving)
    return agreed.seconds + agreed.one_step + ending * (2 if evaluates else 1) >= limit


def saves_before(agreed: Agreement, evaluates: bool) -> bool:
    """Whether to save after a step, or before its evaluation, which may take long or fail."""
    longest = _LONGEST_BEFORE_EVALUATION if evaluates else _LONGEST_BETWEEN_SAVES
    return agreed.since_saved >= max(longest, _COST * agreed.saving)


def saves_after_evaluation(agreed: Agreement, saved_before: bool) -> bool:
    """Whether to save after an evaluation that is not the last; what a crash would lose is computed again."""
    return not saved_before and agreed.since_saved + agreed.evaluation >= _COST * agreed.saving


def leaves_evaluation_out(agreed: Agreement) -> bool:
    """Whether evaluations, this one included, would take more than a tenth of the run's time; the first never does."""
    return agreed.evaluated > 0 and _COST * (agreed.evaluated + agreed.evaluation) > agreed.seconds - agreed.evaluated
