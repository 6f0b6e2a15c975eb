"""What to do after a training: sentences with commands that can be copied."""

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from segkit.evaluation.metrics import Metrics
from segkit.next_step import PICTURES, NextStep


def next_steps(run: Path, ended: str, step: int, scores: Mapping[int, Metrics], best: int) -> list[NextStep]:
    """What the end of a run suggests: train longer, look at the errors, predict.

    Args:
        run: The folder of the run.
        ended: How it ended, as ``TrainingSummary`` has it.
        step: Steps done.
        scores: The evaluations of the run by their steps.
        best: The step of the best one.
    """
    return list(_steps(run, ended, step, scores, best))


def _steps(run: Path, ended: str, step: int, scores: Mapping[int, Metrics], best: int) -> Iterator[NextStep]:
    name = shlex.quote(str(run))
    longer = f"segkit train --resume {name} --steps {2 * step}"
    if ended == "interrupted":
        yield NextStep("Go on with the training.", f"segkit train --resume {name}")
        return
    learnt = any(metrics.finds_something() for metrics in scores.values())
    if scores and not learnt:
        yield NextStep("Train longer: nothing of the validation split is found yet.", longer)
        return
    if ended != "patience" and len(scores) > 1 and best == max(scores):
        yield NextStep(
            "Train longer, if there is time: the last score was the best one, so it may rise further.", longer
        )
    if learnt:
        yield NextStep("See where the errors are, with pictures.", f"segkit eval {name} --report")
    yield NextStep(f"Predict the pictures in your folder {PICTURES}.", f"segkit predict {PICTURES} --model {name}")
