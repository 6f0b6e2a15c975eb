"""Training: the loop, in the order in which things happen."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from segkit.config.train import TrainConfig
from segkit.errors import Interrupted, SegkitError
from segkit.evaluate.metrics import Metrics
from segkit.inference.batches import BatchPredictor
from segkit.inference.score import ScoreOptions, score
from segkit.loading.dataset import Sample, batches_of, make_loader, pictures_for_training
from segkit.loading.sampler import TrainingOrder, by_orientation
from segkit.memory.measure.meter import CounterMeter, Meter
from segkit.models.adapt import compilation_told, train_mode
from segkit.progress import SILENT, NotesOnly, Progress
from segkit.runs.checkpoint import BEST, LAST, PREVIOUS, save_checkpoint
from segkit.runs.curves import draw_curves
from segkit.runs.samples import draw_samples, sample_images
from segkit.runs.tensorboard import require_tensorboard
from segkit.runtime.device import check_gpus, out_of_memory_told, seed_everything
from segkit.runtime.launch import launch_ranks
from segkit.runtime.ranks import Ranks, adopt_slurm, joined_ranks, launched_from_outside
from segkit.runtime.signals import StopRequest, stop_requests
from segkit.training.gradients import SharedGradients
from segkit.training.log import Journal
from segkit.training.micro_batch import choose_micro_batch
from segkit.training.optim import learning_rate, set_learning_rate
from segkit.training.plan import Plan, config_of_run, make_plan
from segkit.training.state import TrainingState, start_state
from segkit.training.step import HINT_MEMORY, give_up_on_nonsense, learn

_SAVE_SECONDS, _SAVE_SECONDS_BEFORE_EVALUATION = 600.0, 60.0  # between checkpoints

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
        bad_pictures: Times that another picture stood in for one that could not be loaded.
        micro_batch: Pictures that went through the model at once, at the end.
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
    bad_pictures: int
    micro_batch: int
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
    if config.tensorboard:
        require_tensorboard()
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
        with out_of_memory_told(HINT_MEMORY), compilation_told():
            state = start_state(plan, ranks, progress)
            train_mode(state.module)
            choose_micro_batch(plan, state, ranks, progress)
            with _saved_on_failure(plan, state, ranks, progress):
                return _loop(plan, state, ranks, stop, make_meter(ranks.device), progress)


@contextmanager
def _saved_on_failure(plan: Plan, state: TrainingState, ranks: Ranks, progress: Progress) -> Iterator[None]:
    """Keep what was learnt when a picture, the loss or the memory ends the run.

    Where one of several ranks failed in a way that the others could not hear of, they go on from the checkpoint before.
    """
    try:
        yield
    except (SegkitError, torch.OutOfMemoryError) as error:
        if state.step > state.saved_step and (ranks.world_size == 1 or getattr(error, "everywhere", False)):
            _save_last(plan, state, ranks)
        if state.saved_step:
            progress.note(f"saved after step {state.saved_step}; go on with: segkit train --resume {plan.run}")
        raise


def _loop(
    plan: Plan, state: TrainingState, ranks: Ranks, stop: StopRequest, meter: Meter, progress: Progress
) -> TrainingSummary:
    config = plan.config
    gradients = SharedGradients(state.module, ranks)
    batches = _batches(plan, state.step, ranks)
    metrics: Metrics | None = None
    began, saved = time.monotonic() - state.seconds, time.monotonic()
    ended = "complete" if plan.done(state.step, state.seconds) >= 1 else None

    with Journal(plan, state.step, ranks, progress) as journal:
        if ended and state.evaluated < state.step:  # it was interrupted between its last step and its last evaluation
            metrics = _evaluate(plan, state, ranks, stop, meter, journal, progress)
            _save_last(plan, state, ranks)
        while ended is None:
            done = plan.done(state.step, state.seconds)
            rate = learning_rate(config.schedule, plan.lr, done, state.step, config.warmup)
            set_learning_rate(state.optimizer, rate)
            with meter.phase("load"):
                batch = next(batches)
            now = time.monotonic()
            bad = [s.instead_of for s in batch if s.instead_of] if isinstance(batch, list) else []
            mine = (float(stop.asked), float(len(bad)), *ranks.from_main(now - began, now - saved))
            learnt = learn(plan, state, gradients, batch, ranks, meter, mine, progress)
            stopping, num_bad, state.seconds, since_saved = learnt.agreed
            state.step += 1
            state.bad_pictures += int(num_bad)
            bad = [message for part in ranks.gather(bad) for message in part] if num_bad else []
            names = [sample.record.file_name for sample in batch] if isinstance(batch, list) else []
            journal.step(state, learnt, rate, meter.step(names), bad)
            give_up_on_nonsense(state, batch, ranks)  # type: ignore[arg-type]  # learn has raised what is no batch

            timed_out = config.time is not None and state.seconds >= config.time
            last = stopping > 0 or timed_out or plan.total_steps == state.step
            due = plan.evaluates_after(state.step)
            evaluates = (due or last) and not stopping
            # An evaluation may take long, or fail: what would be lost is saved before it, and its outcome after it.
            if since_saved >= (_SAVE_SECONDS_BEFORE_EVALUATION if evaluates else _SAVE_SECONDS):
                saved = _save_last(plan, state, ranks, meter)
            if evaluates:
                try:
                    metrics = _evaluate(plan, state, ranks, stop, meter, journal, progress)
                except Interrupted:
                    stopping = last = True
            if due or last:
                saved = _save_last(plan, state, ranks, meter)
            if last:
                ended = "interrupted" if stopping else "time" if timed_out else "complete"
            elif config.patience is not None and due and state.stale >= config.patience:
                ended = "patience"

    state.seconds = time.monotonic() - began
    if ranks.is_main:
        draw_curves(plan.run)
    name = metrics.primary()[0] if metrics is not None else "score"
    return TrainingSummary(
        run=plan.run,
        ended=ended,
        steps=state.step,
        epochs=state.step * plan.batch / plan.epoch_length,
        seconds=state.seconds,
        metrics=metrics,
        score=(name, state.best) if state.best is not None else None,
        best_step=state.best_step,
        skipped=state.skipped,
        bad_pictures=state.bad_pictures,
        micro_batch=state.micro_batch,
        is_main=ranks.is_main,
        memory_rise=meter.rise(),
    )


def _batches(plan: Plan, first_step: int, ranks: Ranks) -> Iterator[list[Sample] | SegkitError]:
    """This rank's share of every step from ``first_step`` on, or why it cannot be loaded."""
    pictures = pictures_for_training(plan.train, plan.card, plan.config)
    crops = plan.card.framing.kind == "semantic"  # which are all of one size
    order = TrainingOrder(
        by_orientation(plan.train) * (not crops),
        plan.batch,
        plan.config.seed,
        repeats=plan.repeats,
        frame_of=None if crops else pictures.frame_of,
        first_step=first_step,
        rank=ranks.rank,
        ranks=ranks.world_size,
    )
    pins = ranks.device.type == "cuda"
    return batches_of(make_loader(pictures, order, workers=plan.config.workers or 0, pin_memory=pins))


def _evaluate(
    plan: Plan,
    state: TrainingState,
    ranks: Ranks,
    stop: StopRequest,
    meter: Meter,
    journal: Journal,
    progress: Progress,
) -> Metrics | None:
    """Score the averaged weights on the validation split, and keep them if they are the best so far.

    Raises:
        Interrupted: On all ranks: one of them was asked to stop.
    """
    if plan.val is None:
        _save_best(plan, state, ranks)
        state.evaluated = state.step
        return None
    # What an evaluation draws at random must not change what is trained after it.
    devices = [ranks.device] if ranks.device.type == "cuda" else []
    with meter.phase("eval"), torch.random.fork_rng(devices):
        module = state.module
        if state.average.decay:
            module = plan.card.build().to(ranks.device)
            module.load_state_dict(state.weights())
        module.eval()
        try:
            scored = score(
                BatchPredictor(module, ranks.device, plan.dtype, state.micro_batch, NotesOnly(progress)),
                plan.card,
                plan.val,
                ranks,
                ScoreOptions(
                    keep_results_of=frozenset(image.id for image in sample_images(plan.val)),
                    skip_bad=plan.config.bad_pictures == "skip",
                ),
                NotesOnly(progress),
                should_stop=lambda: stop.asked,
            )
        finally:
            train_mode(state.module)
    metrics, state.evaluated = scored.metrics, state.step
    name, value = metrics.primary()
    nothing_to_find = value < 0  # no model is better than another: the last one is kept
    better = nothing_to_find or state.best is None or value >= state.best
    if not nothing_to_find:
        state.stale = 0 if state.best is None or value > state.best else state.stale + 1
        state.best, state.best_step = (value, state.step) if better else (state.best, state.best_step)
    if better:
        _save_best(plan, state, ranks)
        if ranks.is_main:
            draw_samples(plan.run, plan.val, scored.results, f"after step {state.step}: {name} {value:.3f}")
    if nothing_to_find:
        progress.note(f"step {state.step}: the validation split has nothing to score; best.pt is the last model")
    else:
        journal.evaluation(state, metrics, better)
    return metrics


def _save_last(plan: Plan, state: TrainingState, ranks: Ranks, meter: Meter | None = None) -> float:
    """Write ``last.pt``, to go on from, and keep the one of an earlier step beside it; returns the time."""
    with meter.phase("save") if meter is not None else nullcontext():
        keep = plan.run / PREVIOUS if state.last_is_whole and state.saved_step != state.step else None
        _save(plan.run / LAST, state.to_checkpoint(plan.card, ranks), ranks, keep)
        state.saved_step, state.last_is_whole = state.step, True
    return time.monotonic()


def _save_best(plan: Plan, state: TrainingState, ranks: Ranks) -> None:
    """Write ``best.pt``: the weights, and what they are."""
    _save(plan.run / BEST, {"card": plan.card.to_plain(), "model": state.weights(), "step": state.step}, ranks)


def _save(path: Path, content: dict[str, Any], ranks: Ranks, keep_as: Path | None = None) -> None:
    if ranks.is_main:
        save_checkpoint(path, content, keep_as)
    ranks.barrier()
