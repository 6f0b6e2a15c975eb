"""Optimizers by name, learning rate schedules, and averaged weights."""

import math
from collections.abc import Sequence
from typing import Any, assert_never

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from segkit.choices import OptimizerName, ScheduleName
from segkit.models.adapt import select

_WARMUP_FRACTION, _LONGEST_WARMUP = 0.05, 1000


def groups_of(module: nn.Module, factors: dict[str, float]) -> list[dict[str, Any]]:
    """Trainable parameters in groups by learning rate and weight decay, which biases and norms do not have.

    Args:
        module: The model.
        factors: Multiples of the learning rate, by names that ``segkit.models.adapt.select`` knows; where two names
            stand for a parameter, the one that stands for fewer parameters counts. Those that a model has of its own
            (``lr_factors``) count where it is not named.

    Raises:
        ConfigError: No layer has a name.
    """
    chosen: dict[str, tuple[int, float]] = {}
    factors = getattr(module, "lr_factors", {}) | factors
    for name, factor in factors.items():
        found = select(module, name, "--lr-factors")
        chosen |= {each: (len(found), factor) for each in found if len(found) <= chosen.get(each, (len(found), 1.0))[0]}
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {(1.0, True): [], (1.0, False): []}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            factor = chosen.get(name, (0, 1.0))[1]
            groups.setdefault((factor, parameter.ndim > 1), []).append(parameter)
    return [{"params": some, "factor": factor, "decays": decays} for (factor, decays), some in groups.items()]


def make_optimizer(
    name: OptimizerName,
    groups: Sequence[dict[str, Any]],
    *,
    lr: float,
    weight_decay: float,
    momentum: float,
    fused: bool,
) -> torch.optim.Optimizer:
    """Make an optimizer.

    Args:
        name: The algorithm.
        groups: The parameters (``groups_of``).
        lr: Learning rate, before a schedule changes it.
        weight_decay: Weight decay of groups that have it.
        momentum: Momentum of sgd and rmsprop.
        fused: Use fused kernels where there are any.
    """
    groups = [group | {"weight_decay": weight_decay if group["decays"] else 0.0} for group in groups]
    match name:
        case "sgd":
            return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=momentum > 0, fused=fused)
        case "adamw":
            return torch.optim.AdamW(groups, lr=lr, fused=fused)
        case "adam":
            return torch.optim.Adam(groups, lr=lr, fused=fused)
        case "rmsprop":
            return torch.optim.RMSprop(groups, lr=lr, momentum=momentum)
        case "adagrad":
            return torch.optim.Adagrad(groups, lr=lr, fused=fused)
        case _:
            assert_never(name)


def learning_rate(
    schedule: ScheduleName,
    peak: float,
    done: float,
    step: int,
    warmup: int | None,
    *,
    drops: int | None = None,
    gamma: float = 0.1,
) -> float:
    """The learning rate of a step.

    Args:
        schedule: How it decreases.
        peak: The highest rate.
        done: The fraction of the run that is over, by steps or by time.
        step: The step, from 0.
        warmup: Steps of linear warm-up; None: a twentieth of the run, at most 1000 steps.
        drops: How often the schedule ``step`` has lowered the rate; None: by the fraction that is over.
        gamma: By what factor.
    """
    rising = _rising(done, step, warmup)
    match schedule:
        case "constant":
            falling = 1.0
        case "step":  # a tenth at two thirds and again at eight ninths, as in the 1x schedules of Mask R-CNN
            falling = gamma ** ((done >= 2 / 3) + (done >= 8 / 9) if drops is None else drops)
        case "cosine":
            falling = 0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2
        case "poly":
            falling = (1 - done) ** 0.9
        case "onecycle":  # up over the first 30 %, then a cosine to nothing (Smith 2018)
            up = done / 0.3
            falling = (1 - math.cos(math.pi * up)) / 2 if up < 1 else (1 + math.cos(math.pi * (done - 0.3) / 0.7)) / 2
            falling = max(falling, 0.01)
        case _:
            assert_never(schedule)
    return peak * rising * falling


def _rising(done: float, step: int, warmup: int | None) -> float:
    """The fraction of the peak that the warm-up has reached."""
    share = (step + 1) / ((_LONGEST_WARMUP if warmup is None else warmup) + 1)
    return min(1.0, share if warmup is not None else max(share, done / _WARMUP_FRACTION))


def warmed_up(done: float, step: int, warmup: int | None) -> bool:
    """Whether the warm-up is over; the arguments are those of ``learning_rate``."""
    return _rising(done, step, warmup) >= 1


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all groups, each times its factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]


class Average:
    """An exponential moving average of a model's parameters and floating-point buffers.

    The decay grows from 0 with the number of updates, so that the random start is soon forgotten. With a decay of 0
    it is the model itself. ``torch.optim.swa_utils.AveragedModel`` copies the module with its hooks, replaces the
    average by the model at the first update, and averages counters too: old checkpoints would resume differently.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.state = {name: value.detach().clone() for name, value in module.state_dict().items()} if decay else {}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Update the average after an optimizer step."""
        if not self.decay:
            return
        self.updates += 1
        update = get_ema_multi_avg_fn(min(self.decay, self.updates / (10 + self.updates)))  # type: ignore[no-untyped-call]
        averages: list[torch.Tensor] = []
        values: list[torch.Tensor] = []
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                averages.append(self.state[name])
                values.append(value.detach())
            else:
                self.state[name].copy_(value)
        update(averages, values, self.updates)

    def state_of(self, module: nn.Module) -> dict[str, torch.Tensor]:
        """The weights to evaluate and to save."""
        return self.state if self.decay else module.state_dict()
