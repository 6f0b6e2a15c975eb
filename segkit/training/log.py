"""What a run reports while it goes on: ``metrics.jsonl``, event files by option, and the progress bar."""

from contextlib import ExitStack
from typing import Any, Self

from segkit.evaluation.metrics import Metrics
from segkit.memory.measure.meter import StepRecord
from segkit.progress import Progress
from segkit.runs.folder import EVENTS, METRICS
from segkit.runs.metrics_file import MetricsFile
from segkit.runs.tensorboard import EventFile
from segkit.runtime.ranks import Ranks
from segkit.training.plan import Plan
from segkit.training.state import TrainingState
from segkit.training.step import StepOutcome
from segkit.units import format_bytes, format_duration


class RunLog:
    """Writes a line for every step and every evaluation; only rank 0 writes files."""

    def __init__(self, plan: Plan, first_step: int, ranks: Ranks, progress: Progress) -> None:
        """Prepare; files are opened on entering the context.

        Args:
            plan: The run.
            first_step: Steps that were done before.
            ranks: The processes that share it.
            progress: Shows the figures.
        """
        self._plan, self._first_step, self._is_main, self._progress = plan, first_step, ranks.is_main, progress
        self._files: list[MetricsFile | EventFile] = []
        self._shown: set[str] = set()

    def __enter__(self) -> Self:
        if self._is_main:
            with ExitStack() as opened:  # closed if the second cannot be opened
                self._files.append(MetricsFile(self._plan.run / METRICS, self._first_step))
                opened.callback(self._files[0].close)
                if self._plan.config.tensorboard:
                    self._files.append(EventFile(self._plan.run / EVENTS, self._first_step))
                opened.pop_all()
        self._progress.start("training", self._plan.total_steps)
        self._progress.advance(self._first_step)
        return self

    def __exit__(self, *error: object) -> None:
        for file in self._files:
            file.close()
        self._progress.done()

    def step(self, state: TrainingState, outcome: StepOutcome, rate: float, record: StepRecord) -> None:
        """Log a step that is done.

        Args:
            state: The state after it.
            outcome: Its result.
            rate: Its learning rate.
            record: Its time and memory.
        """
        plan, config = self._plan, self._plan.config
        loss, epoch = sum(outcome.losses.values()), plan.epoch(state.step - 1)
        speed = plan.batch / record.seconds if record.seconds else None
        self._write(
            {
                "kind": "step",
                "step": state.step,
                "epoch": epoch,
                "loss": loss,
                "losses": outcome.losses,
                "lr": rate,
                "grad_norm": outcome.grad_norm,
                "images_per_s": speed,
                **record.line(),
                "micro_batch": state.micro_batch,
                **({"bad_pictures": outcome.replaced} if outcome.replaced else {}),
            }
        )
        for message in outcome.replaced:
            if message not in self._shown:
                self._shown.add(message)
                self._progress.note(f"step {state.step}: {message}; another picture takes its place")
        memory = format_bytes(record.peak if record.peak is not None else record.rss)
        shown = {"loss": f"{loss:.3f}", "lr": f"{rate:.1e}", "memory": memory}
        if speed is not None:
            shown["images/s"] = f"{speed:.1f}"
        shown["epoch"] = str(epoch)
        if config.time:
            shown["time limit in"] = format_duration(max(0.0, config.time - state.seconds))
        self._progress.advance(1, **shown)

    def evaluation(
        self, state: TrainingState, metrics: Metrics, better: bool, sides: dict[str, dict[str, float]]
    ) -> None:
        """Log the evaluation after a step, whether it was the best so far, and what it was chosen from.

        Args:
            state: The state after it.
            metrics: What it found.
            better: Whether none before was better.
            sides: The main scores of the models that it is the better one of; empty where there is one model.
        """
        epoch = self._plan.epoch(state.step)
        self._write({"kind": "eval", "step": state.step, "epoch": epoch} | metrics.to_json() | sides)
        name, value = metrics.primary()
        mark = "best so far" if better else f"best {state.best:.3f} at step {state.best_step}"
        mark += "" if metrics.finds_something() else ", nothing is found yet"
        self._progress.note(f"step {state.step}, epoch {epoch}: {name} {value:.3f} ({mark})")

    def _write(self, line: dict[str, Any]) -> None:
        for file in self._files:
            file.write(line)
