"""When a step ends, in a script that does not mark its steps."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import optimizer as optimizers

FORWARD, BACKWARD, OPTIMIZER = 1, 2, 3


class Steps:
    """Calls ``sample`` once a step: after an optimiser's step; without one, after backward; else after a forward pass.

    Several optimisers in turn make one step. ``restart`` is called when something better to count appears, so that all
    samples are of one kind.
    """

    def __init__(self, sample: Callable[[], None], restart: Callable[[], None]):
        self.sample, self.restart = sample, restart
        self.level = 0
        self._stepped: set[int] = set()
        self._leader: nn.Module | None = None
        self._backward = torch.Tensor.backward
        self._hooks: list[Any] = []

    def start(self) -> None:
        torch.Tensor.backward = self._and_mark(self._backward)
        self._hooks = [
            optimizers.register_optimizer_step_post_hook(self._after_step),
            nn.modules.module.register_module_forward_pre_hook(self._before_call),
            nn.modules.module.register_module_forward_hook(self._after_call),
        ]

    def stop(self) -> None:
        torch.Tensor.backward = self._backward
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def _mark(self, level: int) -> None:
        if level < self.level:
            return
        if level > self.level:
            if self.level:
                self.restart()
            self.level = level
        self.sample()

    def _after_step(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        if id(optimizer) in self._stepped or self.level < OPTIMIZER:
            self._stepped = set()
            self._mark(OPTIMIZER)
        self._stepped.add(id(optimizer))

    def _and_mark(self, backward: Callable[..., None]) -> Callable[..., None]:
        def marked(*args: Any, **options: Any) -> None:
            backward(*args, **options)
            self._mark(BACKWARD)

        return marked

    def _before_call(self, module: nn.Module, _: object) -> None:
        if self._leader is None:
            self._leader = module

    def _after_call(self, module: nn.Module, *_: object) -> None:
        if module is self._leader:
            self._mark(FORWARD)
