"""One optimiser step over a batch: micro-batches, precision, clipping, and what is done when something is in the way.

A step that runs out of memory on any rank is begun again by all of them with half as many pictures at once. The batch
stays what it is, and so does what is learnt from it: the loss of a batch is the mean of its pictures' losses.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from segkit.errors import DeviceError, SegkitError
from segkit.loading.dataset import Sample
from segkit.memory.measure.meter import Meter
from segkit.progress import Progress
from segkit.runtime.device import autocast, free_memory, is_out_of_memory
from segkit.runtime.ranks import Ranks
from segkit.training.gradients import SharedGradients, batch_statistics
from segkit.training.plan import Plan
from segkit.training.state import TrainingState

_TOO_MANY_SKIPS = 10  # steps in a row without a finite loss
HINT_MEMORY = "try a smaller --size, --memory low, --precision bf16, or a smaller --backbone"


class Learnt(NamedTuple):
    """What one step came to, alike on all ranks."""

    losses: dict[str, float]
    grad_norm: float
    agreed: tuple[float, ...]


def learn(
    plan: Plan,
    state: TrainingState,
    gradients: SharedGradients,
    batch: Sequence[Sample] | SegkitError,
    ranks: Ranks,
    meter: Meter,
    mine: tuple[float, ...],
    progress: Progress,
) -> Learnt:
    """One optimiser step over a batch, a micro-batch at a time; every rank calls it with its share.

    Args:
        plan: What is fixed.
        state: What changes.
        gradients: The model's, shared with the other ranks.
        batch: This rank's share, or why it has none.
        ranks: Who shares the step.
        meter: Who measures.
        mine: Figures of this rank; their sums over ranks come back as ``agreed``, so that all decide alike on
            whether to stop, how late it is, and when to save.
        progress: Who hears what was in the way.

    Raises:
        SegkitError: On all ranks alike: one of them has no batch, or a single picture is too much for its memory.
    """
    alone = False  # whether one picture at a time was tried
    while True:
        statistics = [(buffer, buffer.clone()) for buffer in batch_statistics(state.module)]
        losses, failure = _add_up_gradients(plan, state, gradients, batch, ranks, meter)
        with meter.phase("step"):
            gradients.finish()
            failed, *agreed = ranks.sum([float(failure is not None), *mine])
            if not failed:
                numbers = dict(zip(losses, ranks.sum(torch.stack(list(losses.values())).tolist()), strict=True))
                norm = _take_step(plan, state, gradients, numbers, statistics)
                return Learnt(numbers, norm, tuple(agreed))
            _restore(statistics)
            gradients.clear()
            free_memory(ranks.device)
            exhausted, alone = alone, state.micro_batch == 1
            _make_room(plan, state, ranks, failure, exhausted, progress)


def _add_up_gradients(
    plan: Plan,
    state: TrainingState,
    gradients: SharedGradients,
    batch: Sequence[Sample] | SegkitError,
    ranks: Ranks,
    meter: Meter,
) -> tuple[dict[str, torch.Tensor], SegkitError | None]:
    """Forward and backward; the losses of this rank's share, or what kept it from them."""
    if isinstance(batch, SegkitError):
        return {}, batch
    totals: dict[str, torch.Tensor] = {}
    micro: Sequence[Sample] = ()
    try:
        for start in range(0, len(batch), state.micro_batch):
            micro = batch[start : start + state.micro_batch]
            with meter.phase("transfer"):
                images = [sample.image.to(ranks.device, non_blocking=True) for sample in micro]
                targets = [_to_device(sample.target, ranks.device) for sample in micro]
            if start + state.micro_batch >= len(batch):
                gradients.send_in_next_backward()
            share = len(micro) / plan.batch  # so that the last, smaller micro-batch counts rightly
            with meter.phase("forward"), autocast(ranks.device, plan.dtype):
                losses: dict[str, torch.Tensor] = state.module(images, targets)
                loss = torch.stack(list(losses.values())).sum() * share
            with meter.phase("backward"):
                state.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            for name, value in losses.items():
                totals[name] = totals.get(name, 0.0) + value.detach().float() * share
            del images, targets, losses, loss
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error) or (plan.card.norm == "sync" and ranks.world_size > 1):
            raise  # ranks that exchange statistics inside the model cannot wait for one that left it
        return {}, DeviceError(f"out of memory with {_described(micro)}", HINT_MEMORY)
    return totals, None


def _described(micro: Sequence[Sample]) -> str:
    """How many pictures, and which of them is the heaviest."""
    heaviest = max(micro, key=lambda s: (s.image.shape[-2] * s.image.shape[-1], len(s.target.get("labels", ()))))
    height, width = heaviest.image.shape[-2:]
    count = len(heaviest.target["labels"]) if "labels" in heaviest.target else None
    instances = "" if count is None else f", {count} instance{'' if count == 1 else 's'}"
    which = f"{heaviest.record.file_name} ({height}x{width} as the model gets it{instances})"
    return which if len(micro) == 1 else f"{len(micro)} pictures at once, the largest {which}"


def _make_room(
    plan: Plan, state: TrainingState, ranks: Ranks, failure: SegkitError | None, exhausted: bool, progress: Progress
) -> None:
    """Let all ranks put half as many pictures through the model at once; the batch stays what it is.

    Raises:
        SegkitError: There is nothing to halve, or memory was not what a rank lacked.
    """
    failures = [each for each in ranks.gather(failure) if each is not None]
    other = [each for each in failures if not isinstance(each, DeviceError)]
    if other or exhausted:
        first = (other or failures)[0]
        first.everywhere = True
        raise first
    state.micro_batch = -(-state.micro_batch // 2)
    times = -(-plan.batch // ranks.world_size // state.micro_batch)
    what = f"{state.micro_batch} at once, {times} times a step" if state.micro_batch > 1 else "one at a time"
    progress.note(f"step {state.step + 1}: {failures[0].message}; going on with {what} (the batch stays {plan.batch})")


def _take_step(
    plan: Plan,
    state: TrainingState,
    gradients: SharedGradients,
    losses: dict[str, float],
    statistics: Sequence[tuple[torch.Tensor, torch.Tensor]],
) -> float:
    """Update the weights, or leave them where loss or gradients are not finite; returns the gradients' norm."""
    state.scaler.unscale_(state.optimizer)
    norm = gradients.clip(plan.config.clip_grad or 0.0)
    finite = math.isfinite(sum(losses.values())) and (math.isfinite(norm) or state.scaler.is_enabled())
    if update(state, finite):
        state.average.update(state.module)
        state.skipped_in_a_row = 0
    else:
        _restore(statistics)  # a step that is left out leaves nothing
        state.skipped += 1
        state.skipped_in_a_row += 1
    gradients.clear()
    return norm


def update(state: TrainingState, finite: bool) -> bool:
    """Let the optimiser step if the loss is finite; returns whether it did.

    Memory that it lacks is looked for once: fused optimisers allocate all that they need before they change anything.

    Raises:
        DeviceError: There is none.
    """
    if not (state.scaler.is_enabled() or finite):
        return False
    scale = state.scaler.get_scale()
    for again in (False, True):
        try:
            state.scaler.step(state.optimizer)  # where it scales, it looks for itself whether gradients are finite
            break
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            begun = {float(values["step"]) for values in state.optimizer.state.values() if "step" in values}
            if again or len(begun) > 1:
                raise DeviceError("out of memory in the optimiser", "--optimizer sgd needs the least") from None
        free_memory(next(state.module.parameters()).device)
    state.scaler.update()
    return not state.scaler.is_enabled() or state.scaler.get_scale() >= scale


def give_up_on_nonsense(state: TrainingState, batch: Sequence[Sample], ranks: Ranks) -> None:
    """End a run that left out too many steps in a row.

    Raises:
        SegkitError: It did; the message names the pictures of the last one.
    """
    if state.skipped_in_a_row >= _TOO_MANY_SKIPS:
        names = ", ".join(name for part in ranks.gather([s.record.file_name for s in batch]) for name in part)
        error = SegkitError(
            f"loss or gradients were not finite {_TOO_MANY_SKIPS} steps in a row, last on {names}",
            "start again with a smaller --lr, or --precision fp32",
        )
        error.everywhere = True
        raise error


def _restore(statistics: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> None:
    for buffer, before in statistics:
        buffer.copy_(before)


def _to_device(target: Any, device: torch.device) -> dict[str, Any]:
    return {
        name: value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
        for name, value in target.items()
    }
