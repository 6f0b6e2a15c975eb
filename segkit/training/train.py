"""Training: the loop, in the order in which things happen."""

import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from segkit.config.train import TrainConfig
from segkit.errors import Interrupted, SegkitError
from segkit.formats.pictures.framed import odd_pictures
from segkit.loading.dataset import Pictures
from segkit.loading.loader import load_batches
from segkit.loading.sampler import TrainingOrder, by_orientation
from segkit.loading.whole import Sample
from segkit.memory.measure.meter import CounterMeter, Meter
from segkit.models.adapt import reraise_compile_errors, train_mode
from segkit.models.backbones import met_one_value
from segkit.models.card import ModelCard
from segkit.progress import SILENT, Progress
from segkit.runs.checkpoint import load_last
from segkit.runs.folder import LATEST, METRICS
from segkit.runs.metrics_file import evaluations_of
from segkit.runs.tensorboard import require_tensorboard
from segkit.runtime.device import check_gpus, seed_everything
from segkit.runtime.join import joined_ranks
from segkit.runtime.launch import launch_ranks
from segkit.runtime.memory_errors import reraise_out_of_memory
from segkit.runtime.ranks import Ranks, adopt_slurm, launched_from_outside
from segkit.runtime.signals import stop_requests
from segkit.training.agreement import Agreement
from segkit.training.contract import agree_on_contract
from segkit.training.data_checks import warnings_about
from segkit.training.divergence import stop_after_nonfinite_steps, stop_without_finite_steps
from segkit.training.failures.keep import FailureKeeper
from segkit.training.gradients import SharedGradients
from segkit.training.labels_alone import restore_alone, step_alone
from segkit.training.limits import (
    PROBE_AFTER,
    leaves_evaluation_out,
    reserved,
    saves_after_evaluation,
    saves_before,
    time_is_up,
)
from segkit.training.log import RunLog
from segkit.training.micro_batch import choose_micro_batch
from segkit.training.optim import set_learning_rate
from segkit.training.plan import Plan, make_plan
from segkit.training.quantised_start import config_for_8_bits
from segkit.training.run_folder import run_folder
from segkit.training.run_options import config_of_run
from segkit.training.same_data import check_data
from segkit.training.shards import ShardedGradients
from segkit.training.state import TrainingState, start_state
from segkit.training.step import HINT_MEMORY, Training, train_step
from segkit.training.summary import TrainingSummary, summarise
from segkit.training.teachers.choose import teaching_of
from segkit.training.thaw import is_thawed, thaw
from segkit.training.unused_options import unused_options
from segkit.training.validation import estimate_evaluation, save_last, saved_on_failure, validate

_STOPPING = "interrupted: finishing the step and saving; once more, and the run ends at once, without saving"

MakeMeter = Callable[[torch.device], Meter]


def train(
    config: TrainConfig,
    progress: Progress = SILENT,
    make_meter: MakeMeter = CounterMeter,
    clock: Callable[[], float] = time.monotonic,
) -> TrainingSummary:
    """Train a model, or resume a run.

    With one rank, this process trains. With several ``gpus`` or ``ranks`` it starts one process for each; started by
    torchrun or srun, it joins the other ranks.

    Args:
        config: What to do.
        progress: Shows how far the run is.
        make_meter: Makes the meter of a device.
        clock: Seconds since some moment.

    Raises:
        SegkitError: Input, options or device do not allow it; what was reached is in the run's ``last.pt``.
    """
    adopt_slurm()
    if config.resume is not None:
        is_named, config = config.resume != LATEST, config_of_run(config)
        if not is_named:
            progress.note(f"--resume: the latest run with a checkpoint is {config.resume}")
    elif config.qat is not None:
        config = config_for_8_bits(config)
    if config.tensorboard:
        require_tensorboard()
    check_gpus(config.gpus or ())
    num_ranks = len(config.gpus) if config.gpus else config.ranks
    joins = launched_from_outside()
    if joins and not config.gpus and num_ranks != 1:
        progress.note(f"warning: --ranks {num_ranks} starts none: RANK and WORLD_SIZE say that the ranks are there")
    if num_ranks == 1 or joins:
        return _train_in_rank(config, progress, make_meter, clock)
    return launch_ranks(_train_in_rank, (config, progress, make_meter, clock), num_ranks)


def _train_in_rank(
    config: TrainConfig, progress: Progress, make_meter: MakeMeter, clock: Callable[[], float]
) -> TrainingSummary:
    with (
        joined_ranks(config.device, config.gpus, progress.note) as ranks,
        stop_requests(partial(progress.note, _STOPPING) if ranks.is_main else lambda: None) as stop,
    ):
        warn, progress = progress.note, progress if ranks.is_main else SILENT
        seed_everything(config.seed, config.deterministic)
        with reraise_out_of_memory(HINT_MEMORY), reraise_compile_errors():
            plan, last = _plan(config, ranks, progress)
            state = start_state(plan, last, ranks, progress)
            kept_alone = last[1].get("labels_alone") if last is not None else None
            train_mode(state.module)
            teaching = teaching_of(plan, state.module, state.average, ranks.device)
            teaching.restore(last[1].get("teaching", {}) if last is not None else {})
            del last  # it holds a copy of the model and the optimizer
            choose_micro_batch(plan, state, ranks, progress, teaching)
            contract = agree_on_contract(plan, state, ranks, progress)
            with run_folder(plan, config, state, ranks, progress, contract) as plan:
                progress.note(plan.describe(ranks))
                for said in plan.notes:
                    progress.note(said)
                if plan.card.levels is not None and (said := plan.card.levels.describe()):
                    progress.note(said)
                gradients = _gradients(state, ranks)
                meter = make_meter(ranks.device)
                watch = FailureKeeper(plan, state, ranks, teaching, warn)
                training = Training(plan, state, gradients, ranks, meter, progress, stop, warn, clock, teaching, watch)
                restore_alone(training, kept_alone)
                del kept_alone
                with saved_on_failure(training):
                    return summarise(training, _train(training), contract)


def _gradients(state: TrainingState, ranks: Ranks) -> SharedGradients:
    return (ShardedGradients if state.sharded else SharedGradients)(state.module, ranks)


def _plan(config: TrainConfig, ranks: Ranks, progress: Progress) -> tuple[Plan, tuple[Path, dict[str, Any]] | None]:
    """What is fixed, and the file and content of the checkpoint to go on with; says what is odd about the data."""
    place = "cpu" if config.shard else ranks.device  # where a checkpoint is whole
    last = load_last(Path(config.resume), place, progress.note) if config.resume is not None else None
    plan = make_plan(config, ranks, ModelCard.from_plain(last[1]["card"]) if last is not None else None)
    splits = [plan.train, *([plan.val] if plan.val is not None else [])]
    warnings = [warning for split in splits for warning in (*split.warnings, *odd_pictures(split))]
    warnings += warnings_about(plan)
    warnings += unused_options(plan, config) if last is None else []
    warnings += check_data(plan.run, config.dataset, last[1], plan.data) if last is not None else []
    for warning in warnings:
        progress.note(f"warning: {warning}")
    return plan, last


def _train(training: Training) -> str:
    """Train until a limit is reached or the user asks to stop; returns how it ended."""
    plan, state, ranks, meter = training.plan, training.state, training.ranks, training.meter
    config = plan.config
    state.saved_at = training.clock()
    state.began = state.saved_at - state.seconds
    ended = "complete" if plan.done(state.step, state.seconds) >= 1 else None
    state.repeated = ranks.gather(evaluations_of(plan.run / METRICS, state.step) if ranks.is_main else {})[0]

    with closing(_batches(training)) as batches, RunLog(plan, state.step, ranks, training.progress) as log:
        if ended and state.evaluated < state.step:  # it was interrupted between its last step and its last evaluation
            validate(training, log, in_time=False)
            save_last(training)
        one_value = False
        while ended is None:
            state.step_began = training.clock()
            if is_thawed(plan, state.step) and thaw(plan, state.module, state.optimizer):
                training = replace(training, gradients=SharedGradients(state.module, ranks))
                training.progress.note(f"step {state.step}: all layers learn from here on")
            done = plan.done(state.step, state.seconds, reserved(config.time, state.eval_agreed, state.save_agreed))
            rate = plan.learning_rate(done, state.step)
            set_learning_rate(state.optimizer, rate)
            with meter.phase("load"):
                batch = next(batches)
            step_alone(training, batch, rate)
            outcome = train_step(training, batch)  # forward, backward, optimizer step
            state.step += 1
            state.seconds = outcome.agreed.seconds
            state.eval_agreed, state.save_agreed = outcome.agreed.evaluation, outcome.agreed.saving
            state.bad_pictures += outcome.agreed.num_replaced
            log.step(state, outcome, rate, meter.step(outcome.images))
            stop_after_nonfinite_steps(state, outcome.images, ranks)
            one_value = one_value or _say_one_value(training)
            ended = _after_step(training, log, outcome.agreed)
    state.seconds = training.clock() - state.began
    return ended


def _say_one_value(training: Training) -> bool:
    """Warn where images are so small, and so few at a time, that a batch norm sees a single value; returns whether."""
    if not met_one_value(training.state.module):
        return False
    training.progress.note(
        "warning: the deepest maps have a single pixel, of which batch norm cannot learn: its running statistics are "
        "used there; a larger --size, a larger --micro-batch or --norm group avoids that"
    )
    return True


def _after_step(training: Training, log: RunLog, agreed: Agreement) -> str | None:
    """Evaluate and save where it is due; returns how the run ended, or None if it goes on."""
    plan, state, config = training.plan, training.state, training.plan.config
    stop, due = agreed.stop, plan.evaluates_after(state.step)
    if due and state.spaced_by_time:  # steps that are repeated are evaluated as before, whatever time it takes now
        due = state.repeated.get(state.step, not leaves_evaluation_out(agreed))
    due = training.teaching.switches(state.step, plan.done(state.step, state.seconds)) or due
    timed_out = time_is_up(config.time, agreed, due)
    last = stop or timed_out or plan.total_steps == state.step
    if last and not stop:
        stop_without_finite_steps(training)
    evaluates = (due or last) and not stop
    saved = saves_before(agreed, evaluates) or (evaluates and last and config.time is not None)
    if saved:
        save_last(training)
    try:
        if evaluates:
            validate(training, log)
        elif not last and config.time and not agreed.evaluation and agreed.seconds >= PROBE_AFTER * config.time:
            estimate_evaluation(training)
    except Interrupted:
        stop = training.ranks.sum([training.stop.asked])[0] > 0
        timed_out, last = not stop, True
        if timed_out:
            training.progress.note(f"the time was over before the evaluation was: segkit eval {plan.run}")
    impatient = not last and config.patience is not None and due and state.stale >= config.patience
    if impatient:
        stop_without_finite_steps(training)
    if last or impatient or (due and saves_after_evaluation(agreed, saved)):
        save_last(training)
    if last:
        return "interrupted" if stop else "time" if timed_out else "complete"
    return "patience" if impatient else None


def _batches(training: Training) -> Generator[list[Sample] | SegkitError]:
    """This rank's part of every batch from the next step on, or why it cannot be loaded."""
    plan, ranks = training.plan, training.ranks
    pictures = plan.training_pictures()
    crops = plan.card.framing.kind == "semantic"  # all of the same size
    order = TrainingOrder(
        by_orientation(plan.train) * (not crops),
        plan.batch,
        plan.config.seed,
        repeats=plan.repeats,
        frame_of=None if crops else pictures.frame_of,
        first_step=training.state.step,
        rank=ranks.rank,
        ranks=ranks.world_size,
    )
    with closing(_load(training, pictures, order)) as batches, closing(training.teaching) as teaching:
        for annotated in batches:
            batch = [*annotated, *teaching.more(partial(_unlabelled, training))]
            errors = [each for each in batch if isinstance(each, SegkitError)]
            yield errors[0] if errors else [each for each in batch if isinstance(each, Sample)]


def _unlabelled(training: Training) -> Generator[list[Sample | SegkitError]]:
    """This rank's images without annotations of every step, from the next one on."""
    plan, ranks = training.plan, training.ranks
    assert plan.unlabelled is not None
    pictures = plan.unlabelled_pictures()
    crops = plan.card.framing.kind == "semantic"
    order = TrainingOrder(
        by_orientation(plan.unlabelled) * (not crops),
        plan.batch,
        plan.config.seed,
        frame_of=None if crops else pictures.frame_of,
        first_step=training.state.step,
        rank=ranks.rank,
        ranks=ranks.world_size,
    )
    return _load(training, pictures, order)


def _load(training: Training, pictures: Pictures, order: TrainingOrder) -> Generator[list[Sample | SegkitError]]:
    return load_batches(
        pictures,
        order,
        workers=training.plan.config.workers or 0,
        pin_memory=training.ranks.device.type == "cuda",
        warn=training.warn,
        alive=training.progress.alive,
    )
