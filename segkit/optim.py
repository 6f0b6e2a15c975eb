"""Optimisers by name, and the learning rate as a function of how far the run is."""

import math
from collections.abc import Iterable
from typing import assert_never

import torch
from torch import nn

from segkit.config.train import OptimizerName, ScheduleName

_WARMUP_SHARE, _LONGEST_WARMUP = 0.05, 1000


def make_optimizer(
    name: OptimizerName, module: nn.Module, *, lr: float, weight_decay: float, momentum: float, fused: bool
) -> torch.optim.Optimizer:
    """An optimiser over the parameters that learn; biases and norms are not decayed."""
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in learning if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in learning if p.ndim <= 1], "weight_decay": 0.0},
    ]
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


def learning_rate(schedule: ScheduleName, peak: float, done: float, step: int, warmup: int | None) -> float:
    """The rate of a step.

    Args:
        schedule: How it goes down.
        peak: The highest rate.
        done: The share of the run that is over, 0 to 1, by steps or by time.
        step: The step, from 0.
        warmup: Steps over which it rises linearly; None: a twentieth of the run, at most 1000 steps.
    """
    share = (step + 1) / ((_LONGEST_WARMUP if warmup is None else warmup) + 1)
    rising = min(1.0, share if warmup is not None else max(share, done / _WARMUP_SHARE))
    match schedule:
        case "constant":
            falling = 1.0
        case "step":  # a tenth at two thirds and again at eight ninths, as in the 1x schedules of Mask R-CNN
            falling = 0.1 ** ((done >= 2 / 3) + (done >= 8 / 9))
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


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the rate of all groups."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def clip_gradients(parameters: Iterable[nn.Parameter], largest: float) -> float:
    """Scale gradients down to a norm of ``largest`` (0: no limit); returns their norm before."""
    return float(nn.utils.clip_grad_norm_(list(parameters), largest if largest > 0 else math.inf))


class Average:
    """An exponential moving average of a model's parameters and floating-point buffers.

    The decay grows from 0 with the number of updates, so that the random start is soon forgotten. With a decay of 0
    it follows the model itself.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.state = {name: value.detach().clone() for name, value in module.state_dict().items()} if decay else {}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take a step of the model into account."""
        if not self.decay:
            return
        self.updates += 1
        weight = 1 - min(self.decay, self.updates / (10 + self.updates))
        floats: list[torch.Tensor] = []
        news: list[torch.Tensor] = []
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                floats.append(self.state[name])
                news.append(value.detach())
            else:
                self.state[name].copy_(value)
        torch._foreach_lerp_(floats, news, weight)

    def state_of(self, module: nn.Module) -> dict[str, torch.Tensor]:
        """The weights to evaluate and to save."""
        return self.state if self.decay else module.state_dict()
