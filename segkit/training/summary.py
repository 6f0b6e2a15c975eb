"""How a run ended."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from segkit.evaluation.metrics import Metrics
from segkit.runs.curves import draw_curves
from segkit.runs.folder import METRICS
from segkit.runs.metrics_file import read_metrics
from segkit.training.contract import Contract, kept
from segkit.training.step import Training

_OF_THE_LINE = ("kind", "step", "epoch")  # what a line of metrics.jsonl has besides the metrics


@dataclass(frozen=True, slots=True)
class TrainingSummary:
    """How a run ended.

    Attributes:
        run: Its folder.
        ended: ``complete``, ``time``, ``patience`` or ``interrupted``.
        steps: Steps done, over all sessions.
        epochs: Passes over the training images.
        seconds: Time spent, over all sessions.
        metrics: The last evaluation.
        best: The evaluation after ``best_step``, which best.pt has; None where that is the last one.
        score: The name of the metric that models are compared by, and its best value.
        best_step: The step that had it.
        skipped: Steps skipped because their loss or gradients were not finite.
        bad_pictures: Images that could not be loaded and were replaced by others.
        micro_batch: Images that went through the model at once, at the end.
        is_main: Whether this process is rank 0.
        memory_rise: Bytes per step by which the held memory rose steadily; None where it did not.
        memory: What was said before the first step, and what was needed (``contract.kept``).
        unlabelled: What images without annotations gave (``Teaching.gave``).
    """

    run: Path
    ended: str
    steps: int
    epochs: float
    seconds: float
    metrics: Metrics | None
    score: tuple[str, float] | None
    best_step: int
    skipped: int
    bad_pictures: int
    micro_batch: int
    is_main: bool
    memory_rise: float | None = None
    memory: dict[str, Any] | None = None
    unlabelled: dict[str, Any] = field(default_factory=dict)
    best: Metrics | None = None

    def to_json(self) -> dict[str, Any]:
        """What ``train --json`` prints."""
        return {
            "run": str(self.run),
            "ended": self.ended,
            "steps": self.steps,
            "epochs": self.epochs,
            "seconds": self.seconds,
            "score": dict([self.score]) if self.score is not None else {},
            "best_step": self.best_step,
            "skipped": self.skipped,
            "bad_pictures": self.bad_pictures,
            "micro_batch": self.micro_batch,
            "memory_rise": self.memory_rise,
            "memory": self.memory,
            "metrics": self.metrics.to_json() if self.metrics is not None else None,
            **({"best_metrics": self.best.to_json()} if self.best is not None else {}),
            **({"unlabelled": self.unlabelled} if self.unlabelled else {}),
        }


def summarise(training: Training, ended: str, contract: Contract | None = None) -> TrainingSummary:
    """The summary of a training that has ended; draws the run's curves.

    Args:
        training: The training.
        ended: How it ended.
        contract: What it was to need.
    """
    plan, state = training.plan, training.state
    if training.ranks.is_main:
        draw_curves(plan.run)
    name = state.metrics.primary()[0] if state.metrics is not None else "score"
    return TrainingSummary(
        run=plan.run,
        ended=ended,
        steps=state.step,
        epochs=state.step * plan.batch / plan.epoch_length,
        seconds=state.seconds,
        metrics=state.metrics,
        score=(name, state.best) if state.best is not None else None,
        best_step=state.best_step,
        skipped=state.skipped,
        bad_pictures=state.bad_pictures,
        micro_batch=state.micro_batch,
        is_main=training.ranks.is_main,
        memory_rise=training.meter.rise(),
        memory=kept(contract, training.meter.peaks()),
        unlabelled=training.teaching.gave([category.name for category in plan.train.categories]),
        best=_evaluation_after(plan.run, state.best_step) if state.best_step != state.evaluated else None,
    )


def _evaluation_after(run: Path, step: int) -> Metrics | None:
    """An earlier evaluation of a run, from its metrics file; None where it is not there, or not whole."""
    lines = read_metrics(run / METRICS) if (run / METRICS).is_file() else iter(())
    found = [line for line in lines if line["kind"] == "eval" and line["step"] == step]
    try:
        return (
            msgspec.convert({k: v for k, v in found[-1].items() if k not in _OF_THE_LINE}, Metrics) if found else None
        )
    except msgspec.ValidationError:  # of another version, or edited
        return None
