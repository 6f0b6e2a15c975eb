"""How a run ended."""

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from segkit.evaluation.metrics import Metrics
from segkit.next_step import NextStep
from segkit.runs.curves import draw_curves
from segkit.runs.folder import METRICS
from segkit.runs.metrics_file import read_metrics
from segkit.training.contract import Contract, kept
from segkit.training.next_steps import next_steps
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
        next: What to do now.
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
    next: tuple[NextStep, ...] = ()

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
            "next": [step._asdict() for step in self.next],
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
    scores = _evaluations(plan.run)
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
        best=scores.get(state.best_step) if state.best_step != state.evaluated else None,
        next=tuple(next_steps(plan.run, ended, state.step, scores, state.best_step)),
    )


def _evaluations(run: Path) -> dict[int, Metrics]:
    """The evaluations of a run by their steps, from its metrics file, without those of another version, or edited."""
    lines = read_metrics(run / METRICS) if (run / METRICS).is_file() else iter(())
    found = {}
    for line in lines:
        if line["kind"] == "eval":
            with suppress(msgspec.ValidationError):
                found[line["step"]] = msgspec.convert(
                    {name: value for name, value in line.items() if name not in _OF_THE_LINE}, Metrics
                )
    return found
