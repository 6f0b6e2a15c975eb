"""One optimizer step over a batch: forward, backward, clipping, update, and what happens when something fails.

A step that runs out of memory on any rank is repeated by all ranks with half the micro-batch. The batch stays the
same, and so does the gradient: the loss of a batch is the mean of its images' losses.
"""

import math
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from segkit.errors import DeviceError, SegkitError
from segkit.loading.dataset import to_device
from segkit.loading.whole import Sample
from segkit.memory.measure.meter import Meter
from segkit.progress import SILENT, Progress
from segkit.runtime.device import autocast, free_memory
from segkit.runtime.memory_errors import is_out_of_memory
from segkit.runtime.ranks import Ranks
from segkit.runtime.signals import StopRequest
from segkit.training.agreement import Agreement
from segkit.training.failures.step_failure import NOBODY, Kind, Phase, StepFailure, StepWatch, not_finite
from segkit.training.gradients import SharedGradients, copy_statistics, restore_statistics
from segkit.training.plan import Plan
from segkit.training.shards import explain_failure
from segkit.training.state import TrainingState
from segkit.training.teachers.teaching import ANNOTATIONS_ALONE, Teaching, in_parts

HINT_MEMORY = "try a smaller --size, --memory low, --precision bf16, or a smaller --backbone"

Statistics = list[tuple[Tensor, Tensor]]


@dataclass(slots=True)
class Beside:
    """A training that goes on beside another one, while there is one (``labels_alone``)."""

    training: "Training | None" = None


@dataclass(frozen=True, slots=True)
class Training:
    """A training in this process: what every part of it uses.

    Attributes:
        plan: What is fixed.
        state: What changes.
        gradients: The model's gradients, summed over ranks.
        ranks: The processes that share every batch.
        meter: Measures time and memory by phase.
        progress: Shows messages.
        stop: Whether the user has asked to stop.
        warn: Shows a message of any rank; ``progress`` shows those of the first one.
        clock: Seconds since some moment.
        teaching: What the model learns from.
        watch: Takes notice of steps that fail.
        beside: The same run with labels alone, to compare with.
    """

    plan: Plan
    state: TrainingState
    gradients: SharedGradients
    ranks: Ranks
    meter: Meter
    progress: Progress = SILENT
    stop: StopRequest = field(default_factory=StopRequest)
    warn: Callable[[str], None] = SILENT.note
    clock: Callable[[], float] = time.monotonic
    teaching: Teaching = ANNOTATIONS_ALONE
    watch: StepWatch = NOBODY
    beside: Beside = field(default_factory=Beside)


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """The result of one step, alike on all ranks but for ``images``.

    Attributes:
        losses: The batch's losses by name.
        grad_norm: The norm of the gradients before clipping.
        replaced: Why images could not be loaded and others took their place.
        agreed: What ranks agreed on.
        images: File names of this rank's images.
    """

    losses: dict[str, float]
    grad_norm: float
    replaced: list[str]
    agreed: Agreement
    images: list[str]


def train_step(training: Training, batch: list[Sample] | SegkitError) -> StepOutcome:
    """Forward, backward and optimizer step over a batch; every rank calls it with its part of the batch.

    Args:
        training: The training.
        batch: This rank's part, or why it could not be loaded.

    Raises:
        SegkitError: On all ranks alike: one rank has no batch, or too little memory for a single image.
    """
    state, gradients, ranks = training.state, training.gradients, training.ranks
    failed_alone = False  # whether one image at a time was tried
    while True:
        statistics = copy_statistics(state.module)
        training.teaching.begin()
        training.watch.begin()
        with _watched(training, batch, statistics):
            losses, failure = forward_backward(training, batch)
        with training.meter.phase("step"):
            gradients.finish()
            replaced = [each.instead_of for each in batch if each.instead_of] if isinstance(batch, list) else []
            agreed = agree(training, failure is not None, len(replaced))
            if not agreed.failed:
                assert isinstance(batch, list)
                own: dict[str, float] = dict(zip(losses, torch.stack(list(losses.values())).tolist(), strict=True))
                numbers = dict(zip(losses, ranks.sum(list(own.values())), strict=True))
                training.teaching.end(ranks)
                with _watched(training, batch, statistics, "optimiser"):
                    norm = optimizer_step(training, numbers, statistics)
                if bad := not_finite(own, numbers, norm, scaled=state.scaler.is_enabled()):
                    training.watch.keep(bad, batch)
                if agreed.num_replaced:
                    replaced = [each for part in ranks.gather(replaced) for each in part]
                return StepOutcome(numbers, norm, replaced, agreed, [sample.record.file_name for sample in batch])
            restore_statistics(statistics)
            gradients.clear()
            free_memory(ranks.device)
            if isinstance(failure, DeviceError) and isinstance(batch, list):
                training.watch.keep(StepFailure("out of memory", failure.message), batch)
            last_try, failed_alone = failed_alone, state.micro_batch == 1
            _halve_micro_batch(training, failure, last_try)


@contextmanager
def _watched(
    training: Training,
    batch: list[Sample] | SegkitError,
    statistics: Statistics,
    phase: Phase = "forward and backward",
) -> Iterator[None]:
    """Have a step kept that ends the run by an error inside it."""
    try:
        yield
    except Exception as error:
        explained = isinstance(error, SegkitError)
        if isinstance(batch, list) and not (explained and phase != "optimiser"):
            restore_statistics(statistics)
            kind: Kind = "out of memory" if explained else "exception"
            message = error.message if isinstance(error, SegkitError) else f"{type(error).__name__}: {error}"
            trace = None if explained else "".join(traceback.format_exception(error))
            training.watch.keep(StepFailure(kind, message, phase, trace), batch)
        raise


def agree(training: Training, failed: bool, num_replaced: int) -> Agreement:
    """Reduce what each rank knows over ranks; every rank must call this.

    Args:
        training: The training.
        failed: Whether this rank has no losses.
        num_replaced: Its images of the step that were replaced.
    """
    state, ranks, now = training.state, training.ranks, training.clock()
    times = (
        now - state.began, now - state.saved_at, now - state.step_began, state.eval_seconds, state.eval_total,
        state.save_seconds,
    )  # fmt: skip
    clock = times if ranks.is_main else (0.0,) * len(times)
    failures, stops, replaced, *seconds = ranks.sum([failed, training.stop.asked, num_replaced, *clock])
    return Agreement(failures > 0, stops > 0, int(replaced), *seconds)


def forward_backward(
    training: Training, batch: list[Sample] | SegkitError
) -> tuple[dict[str, Tensor], SegkitError | None]:
    """Forward and backward over this rank's part of a batch, a micro-batch at a time.

    Returns:
        The losses by name, and why there are none. The error is returned and not raised: a traceback would keep the
        tensors of the step alive.
    """
    if isinstance(batch, SegkitError):
        return {}, batch
    plan, state, device, phase = training.plan, training.state, training.ranks.device, training.meter.phase
    totals: dict[str, Tensor] = {}
    micro: Sequence[Sample] = ()
    try:
        parts, done = in_parts(batch, state.micro_batch), 0
        for number, micro in enumerate(parts, 1):
            with phase("transfer"):
                images, targets = to_device(micro, device)
            if number == len(parts):
                training.gradients.send_in_next_backward()
            weight = len(micro) / plan.batch  # the last micro-batch may be smaller
            with autocast(device, plan.dtype):
                losses = training.teaching.losses(state.module, images, targets, phase)
                loss = torch.stack(list(losses.values())).sum() * weight
            with phase("backward"):
                state.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            for name, value in losses.items():
                totals[name] = totals.get(name, 0.0) + value.detach().float() * weight
            del images, targets, losses, loss
            done += len(micro)
            if done < len(batch):
                training.progress.alive(f"{done} of the {len(batch)} images of a step are done")
    except Exception as error:
        if state.sharded:
            explain_failure(error, _describe(micro), plan.run)
        if state.sharded or not is_out_of_memory(error) or (plan.card.norm == "sync" and training.ranks.world_size > 1):
            raise  # ranks that exchange statistics inside the model cannot wait for one that left it
        training.watch.look()
        return {}, DeviceError(f"out of memory with {_describe(micro)}", HINT_MEMORY)
    return totals, None


def optimizer_step(training: Training, losses: dict[str, float], statistics: Statistics) -> float:
    """Update the weights; a step whose loss or gradients are not finite is skipped and leaves no trace.

    Args:
        training: The training, with gradients summed over ranks.
        losses: The batch's losses.
        statistics: Those of batch norms before the step (``copy_statistics``).

    Returns:
        The norm of the gradients before clipping.
    """
    state, gradients = training.state, training.gradients
    state.scaler.unscale_(state.optimizer)
    if training.plan.card.sparse:
        gradients.keep_zeros()
    norm = gradients.clip(training.plan.config.clip_grad or 0.0)
    finite = math.isfinite(sum(losses.values())) and (math.isfinite(norm) or state.scaler.is_enabled())
    if update_weights(state, finite):
        state.average.update(state.module)
        state.skipped_in_a_row = 0
    else:
        restore_statistics(statistics)
        state.skipped += 1
        state.skipped_in_a_row += 1
    gradients.clear()
    return norm


def update_weights(state: TrainingState, finite: bool) -> bool:
    """Let the optimizer step if the loss is finite; returns whether it did.

    When memory runs out here, what is not used is freed, and the step is tried once more: fused optimizers allocate
    all that they need before they change anything.

    Raises:
        DeviceError: There is too little memory.
    """
    if not (state.scaler.is_enabled() or finite):
        return False
    scale = state.scaler.get_scale()
    for again in (False, True):
        try:
            state.scaler.step(state.optimizer)  # a scaler that is enabled checks itself whether gradients are finite
            break
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            step_counts = {float(values["step"]) for values in state.optimizer.state.values() if "step" in values}
            if again or state.sharded or len(step_counts) > 1:  # some parameters were updated, others not
                raise DeviceError("out of memory in the optimiser", "--optimizer sgd needs the least") from None
        free_memory(next(state.module.parameters()).device)
    state.scaler.update()
    return not state.scaler.is_enabled() or state.scaler.get_scale() >= scale


def _halve_micro_batch(training: Training, failure: SegkitError | None, last_try: bool) -> None:
    """Go on with half the micro-batch on all ranks; the batch stays the same.

    Raises:
        SegkitError: There is nothing to halve, or a rank failed for another reason than memory.
    """
    plan, state, ranks = training.plan, training.state, training.ranks
    failures = [each for each in ranks.gather(failure) if each is not None]
    other = [each for each in failures if not isinstance(each, DeviceError)]
    if other or last_try:
        ranks.raise_together((other or failures)[0])
    state.micro_batch = -(-state.micro_batch // 2)
    times = -(-plan.batch // ranks.world_size // state.micro_batch)
    what = f"{state.micro_batch} at once, {times} times a step" if state.micro_batch > 1 else "one at a time"
    training.progress.note(
        f"step {state.step + 1}: {failures[0].message}; going on with {what} (the batch stays {plan.batch})"
    )


def _describe(micro: Sequence[Sample]) -> str:
    """The number of images in a micro-batch, and its largest one."""
    largest = max(micro, key=lambda s: (s.image.shape[-2] * s.image.shape[-1], len(s.target.get("labels", ()))))
    height, width = largest.image.shape[-2:]
    count = len(largest.target["labels"]) if "labels" in largest.target else None
    instances = "" if count is None else f", {count} instance{'' if count == 1 else 's'}"
    which = f"{largest.record.file_name} ({height}x{width} as the model gets it{instances})"
    return which if len(micro) == 1 else f"{len(micro)} pictures at once, the largest {which}"
