"""Training: the loop, in the order in which things happen."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from segkit.checkpoint import save_checkpoint
from segkit.config.train import TrainConfig
from segkit.config.units import format_bytes, format_duration
from segkit.curves import draw_curves
from segkit.device import (
    Ranks,
    adopt_slurm,
    check_gpus,
    joined_ranks,
    launched_from_outside,
    out_of_memory_told,
    seed_everything,
)
from segkit.errors import SegkitError
from segkit.evaluate.metrics import Metrics
from segkit.interrupts import StopRequest, stop_requests
from segkit.launch import launch_ranks
from segkit.learn import Learnt, give_up_on_nonsense, learn, share_gradients, train_mode
from segkit.loading import Pictures, Sample, TrainingOrder, batches_of, make_loader
from segkit.memory.meter import CounterMeter, Meter, StepRecord
from segkit.optim import learning_rate, set_learning_rate
from segkit.plan import Plan, config_of_run, make_plan
from segkit.progress import SILENT, Progress
from segkit.runs import METRICS, MetricsFile
from segkit.scoring import score
from segkit.state import TrainingState, start_state

_SAVE_SECONDS, _SAVE_SECONDS_BEFORE_EVALUATION = 600.0, 60.0  # between checkpoints
_HINT_MEMORY = "try a smaller --micro-batch (the batch stays what it is), a smaller --size, or --precision bf16"

MakeMeter = Callable[[torch.device], Meter]


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
        score: What tells models apart, and its best value.
        best_step: The step that had it.
        skipped: Steps left out because their loss was not finite.
        is_main: Whether this process speaks for all ranks.
        memory_rise: Bytes a step by which the memory that is held rose all the time; None where it did not.
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
    is_main: bool
    memory_rise: float | None = None


def train(config: TrainConfig, progress: Progress = SILENT, make_meter: MakeMeter = CounterMeter) -> TrainingSummary:
    """Train a model, or go on with a run.

    Alone, this process trains. With several ``gpus`` or ``ranks`` it starts one process for each; started by torchrun
    or srun, it joins the others.

    Args:
        config: What to do.
        progress: Who is told how far it is.
        make_meter: Makes the meter of a device.

    Raises:
        SegkitError: Input, options or device do not allow it; what was reached is in the run's ``last.pt``.
    """
    adopt_slurm()
    if config.resume is not None:
        config = config_of_run(config)
    num_ranks = len(config.gpus) if config.gpus else config.ranks
    if num_ranks == 1 or launched_from_outside():
        return _train_in_rank(config, progress, make_meter)
    check_gpus(config.gpus or ())
    return launch_ranks(_train_in_rank, (config, progress, make_meter), num_ranks)


def _train_in_rank(config: TrainConfig, progress: Progress, make_meter: MakeMeter) -> TrainingSummary:
    with joined_ranks(config.device, config.gpus) as ranks, stop_requests() as stop:
        progress = progress if ranks.is_main else SILENT
        seed_everything(config.seed, config.deterministic)
        plan = make_plan(config, ranks)
        progress.note(plan.describe(ranks))
        with out_of_memory_told(_HINT_MEMORY):
            state = start_state(plan, ranks, progress)
            with _saved_on_failure(plan, state, ranks, progress):
                return _loop(plan, state, ranks, stop, make_meter(ranks.device), progress)


@contextmanager
def _saved_on_failure(plan: Plan, state: TrainingState, ranks: Ranks, progress: Progress) -> Iterator[None]:
    """Keep what was learnt when a picture, the loss or the memory ends the run.

    Several ranks cannot save together when one has failed: they go on from the checkpoint before.
    """
    try:
        yield
    except (SegkitError, torch.OutOfMemoryError):
        if state.step > 0 and ranks.world_size == 1:
            _save(plan, state, ranks, "last.pt")
            progress.note(f"saved after step {state.step}; go on with: segkit train --resume {plan.run}")
        raise


def _loop(
    plan: Plan, state: TrainingState, ranks: Ranks, stop: StopRequest, meter: Meter, progress: Progress
) -> TrainingSummary:
    config = plan.config
    model = train_mode(share_gradients(state.module, ranks))
    batches = _batches(plan, state.step, ranks)
    metrics: Metrics | None = None
    began, saved = time.monotonic() - state.seconds, time.monotonic()
    ended = "complete" if plan.done(state.step, state.seconds) >= 1 else None
    progress.start("training", plan.total_steps)
    progress.advance(state.step)

    with MetricsFile(plan.run / METRICS, state.step) if ranks.is_main else nullcontext() as lines:
        while ended is None:
            done = plan.done(state.step, state.seconds)
            rate = learning_rate(config.schedule, plan.lr, done, state.step, config.warmup)
            set_learning_rate(state.optimizer, rate)
            with meter.phase("load"):
                batch = next(batches)
            now = time.monotonic()
            mine = (float(stop.asked), *ranks.from_main(now - began, now - saved))
            learnt = learn(plan, state, model, batch, ranks, meter, mine)
            stopping, state.seconds, since_saved = learnt.agreed
            state.step += 1
            _report(plan, state, learnt, rate, meter.step(), lines, progress)
            give_up_on_nonsense(state, batch)

            timed_out = config.time is not None and state.seconds >= config.time
            last = stopping > 0 or timed_out or plan.total_steps == state.step
            due = plan.evaluates_after(state.step)
            evaluates = (due or last) and not stopping
            # An evaluation may take long, or fail: what would be lost is saved before it, and its outcome after it.
            if since_saved >= (_SAVE_SECONDS_BEFORE_EVALUATION if evaluates else _SAVE_SECONDS):
                saved = _save_last(plan, state, ranks, meter)
            if evaluates:
                metrics = _evaluate(plan, state, ranks, meter, lines, progress)
                train_mode(model)
            if due or last:
                saved = _save_last(plan, state, ranks, meter)
            if last:
                ended = "interrupted" if stopping else "time" if timed_out else "complete"
            elif config.patience is not None and due and state.stale >= config.patience:
                ended = "patience"

    progress.done()
    state.seconds = time.monotonic() - began
    if ranks.is_main:
        draw_curves(plan.run)
    name = metrics.primary()[0] if metrics is not None else "score"
    return TrainingSummary(
        run=plan.run,
        ended=ended,
        steps=state.step,
        epochs=state.step * plan.batch / len(plan.train.images),
        seconds=state.seconds,
        metrics=metrics,
        score=(name, state.best) if state.best is not None else None,
        best_step=state.best_step,
        skipped=state.skipped,
        is_main=ranks.is_main,
        memory_rise=meter.rise(),
    )


def _batches(plan: Plan, first_step: int, ranks: Ranks) -> Iterator[list[Sample]]:
    """This rank's share of every step from ``first_step`` on."""
    config = plan.config
    pictures = Pictures(
        plan.train,
        plan.card.framing,
        seed=config.seed,
        augment=config.augment,
        boxes_will_do=config.model == "fasterrcnn",
    )
    order = TrainingOrder(len(pictures), plan.batch, config.seed, first_step, ranks.rank, ranks.world_size)
    return batches_of(make_loader(pictures, order, workers=config.workers or 0, pin_memory=ranks.device.type == "cuda"))


def _report(
    plan: Plan,
    state: TrainingState,
    learnt: Learnt,
    rate: float,
    record: StepRecord,
    lines: MetricsFile | None,
    progress: Progress,
) -> None:
    """A line for ``metrics.jsonl``, and what the user sees."""
    if lines is None:
        return
    loss = sum(learnt.losses.values())
    speed = plan.batch / record.seconds if record.seconds else None
    lines.write(
        {
            "kind": "step",
            "step": state.step,
            "epoch": plan.epoch(state.step - 1),
            "loss": loss,
            "losses": learnt.losses,
            "lr": rate,
            "grad_norm": learnt.grad_norm,
            "images_per_s": speed,
            **record.line(),
        }
    )
    memory = format_bytes(record.peak if record.peak is not None else record.rss)
    shown = {"epoch": str(plan.epoch(state.step - 1)), "loss": f"{loss:.3f}", "memory": memory}
    if speed is not None:
        shown["images/s"] = f"{speed:.1f}"
    if plan.config.time:
        shown["time left"] = format_duration(max(0.0, plan.config.time - state.seconds))
    progress.advance(1, **shown)


def _evaluate(
    plan: Plan,
    state: TrainingState,
    ranks: Ranks,
    meter: Meter,
    lines: MetricsFile | None,
    progress: Progress,
) -> Metrics | None:
    """Score the averaged weights on the validation split, and keep them if they are the best so far."""
    if plan.val is None:
        _save(plan, state, ranks, "best.pt")
        return None
    # What an evaluation draws at random must not change what is trained after it.
    devices = [ranks.device] if ranks.device.type == "cuda" else []
    with meter.phase("eval"), torch.random.fork_rng(devices):
        module = state.module
        if state.average.decay:
            module = plan.card.build().to(ranks.device)
            module.load_state_dict(state.weights())
        module.eval()
        metrics = score(module, plan.card, plan.val, ranks, dtype=plan.dtype, batch=plan.micro_batch, workers=0).metrics
    name, value = metrics.primary()
    if value < 0:  # nothing in the split to find: no model is better than another
        progress.note(f"step {state.step}: the validation split has nothing to score; best.pt is the last model")
        _save(plan, state, ranks, "best.pt")
        return metrics
    better = state.best is None or value >= state.best
    state.stale = 0 if state.best is None or value > state.best else state.stale + 1
    if better:
        state.best, state.best_step = value, state.step
        _save(plan, state, ranks, "best.pt")
    if lines is not None:
        where = {"kind": "eval", "step": state.step, "epoch": plan.epoch(state.step)}
        lines.write(where | metrics.to_json())
    mark = "best so far" if better else f"best {state.best:.3f} at step {state.best_step}"
    progress.note(f"step {state.step}, epoch {plan.epoch(state.step)}: {name} {value:.3f} ({mark})")
    return metrics


def _save_last(plan: Plan, state: TrainingState, ranks: Ranks, meter: Meter) -> float:
    """Write ``last.pt``; returns the time."""
    with meter.phase("save"):
        _save(plan, state, ranks, "last.pt")
    return time.monotonic()


def _save(plan: Plan, state: TrainingState, ranks: Ranks, name: str) -> None:
    """Write a checkpoint: ``last.pt`` to go on from, ``best.pt`` with the weights alone."""
    if name == "best.pt":
        content: dict[str, Any] = {"card": plan.card.to_plain(), "model": state.weights(), "step": state.step}
    else:
        content = state.to_checkpoint(plan.card, ranks)
    if ranks.is_main:
        save_checkpoint(plan.run / name, content)
    ranks.barrier()
