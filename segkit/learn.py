"""One optimiser step over a batch: micro-batches, precision, clipping, and what is done with a loss that is none."""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from segkit.device import Ranks, autocast
from segkit.errors import SegkitError
from segkit.loading import Sample
from segkit.memory.meter import Meter
from segkit.optim import clip_gradients
from segkit.plan import Plan
from segkit.state import TrainingState

_TOO_MANY_SKIPS = 10  # steps in a row without a finite loss


def share_gradients(module: nn.Module, ranks: Ranks) -> nn.Module:
    """The model with its gradients averaged over ranks; alone, the model itself."""
    if ranks.world_size == 1:
        return module
    devices = [ranks.device] if ranks.device.type == "cuda" else None
    return DistributedDataParallel(module, device_ids=devices, gradient_as_bucket_view=True)


def train_mode(model: nn.Module) -> nn.Module:
    """Training mode, in which frozen layers stay as they are: their batch norms do not follow the data."""
    model.train()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d) and layer.weight is not None and not layer.weight.requires_grad:
            layer.eval()
    return model


class Learnt(NamedTuple):
    """What one step came to, alike on all ranks."""

    losses: dict[str, float]
    grad_norm: float
    agreed: tuple[float, ...]


def learn(
    plan: Plan,
    state: TrainingState,
    model: nn.Module,
    batch: Sequence[Sample],
    ranks: Ranks,
    meter: Meter,
    mine: tuple[float, ...],
) -> Learnt:
    """One optimiser step over a batch, a micro-batch at a time.

    A micro-batch weighs as much as it has pictures, so that the last, smaller one counts rightly, and ranks exchange
    gradients only once. ``mine`` are figures of this rank; their means over ranks come back as ``agreed``, so that all
    ranks decide alike on whether to stop, how late it is, and when to save.
    """
    device, totals = ranks.device, dict[str, torch.Tensor]()
    for start in range(0, len(batch), plan.micro_batch):
        micro = batch[start : start + plan.micro_batch]
        share, last = len(micro) / len(batch), start + plan.micro_batch >= len(batch)
        with meter.phase("transfer"):
            images = [sample.image.to(device, non_blocking=True) for sample in micro]
            targets = [_to_device(sample.target, device) for sample in micro]
        apart = nullcontext() if last or not isinstance(model, DistributedDataParallel) else model.no_sync()
        with apart:
            with meter.phase("forward"), autocast(device, plan.dtype):
                losses: dict[str, torch.Tensor] = model(images, targets)
                loss = torch.stack(list(losses.values())).sum() * share
            with meter.phase("backward"):
                state.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        for name, value in losses.items():
            totals[name] = totals.get(name, torch.zeros((), device=device)) + value.detach().float() * share
        del images, targets, losses, loss
    with meter.phase("step"):
        figures = torch.tensor(mine, device=device)
        numbers = ranks.mean(torch.cat([torch.stack(list(totals.values())), figures])).tolist()
        values = dict(zip(totals, numbers, strict=False))
        state.scaler.unscale_(state.optimizer)
        norm = clip_gradients(state.module.parameters(), plan.config.clip_grad or 0.0)
        finite = math.isfinite(sum(values.values())) and (math.isfinite(norm) or state.scaler.is_enabled())
        _update(state, finite)
    return Learnt(values, norm, tuple(numbers[len(totals) :]))


def _update(state: TrainingState, finite: bool) -> None:
    """Take the step, or leave it out where its loss or gradients are not finite."""
    if state.scaler.is_enabled():  # it looks for itself whether gradients are finite, and shrinks its scale if not
        scale = state.scaler.get_scale()
        state.scaler.step(state.optimizer)
        state.scaler.update()
        finite = state.scaler.get_scale() >= scale
    elif finite:
        state.optimizer.step()
    if finite:
        state.average.update(state.module)
        state.skipped_in_a_row = 0
    else:
        state.skipped += 1
        state.skipped_in_a_row += 1
    state.optimizer.zero_grad(set_to_none=True)


def give_up_on_nonsense(state: TrainingState, batch: Sequence[Sample]) -> None:
    """End a run that left out too many steps in a row.

    Raises:
        SegkitError: It did; the message names the pictures of the last one.
    """
    if state.skipped_in_a_row >= _TOO_MANY_SKIPS:
        names = ", ".join(sample.record.file_name for sample in batch)
        raise SegkitError(
            f"loss or gradients were not finite {_TOO_MANY_SKIPS} steps in a row, last on {names}",
            "start again with a smaller --lr, or --precision fp32",
        )


def _to_device(target: Any, device: torch.device) -> dict[str, torch.Tensor]:
    return {name: value.to(device, non_blocking=True) for name, value in target.items()}
