"""What the memory at the highest peak is: parameters, gradients, optimiser state, activations, inputs, temporaries.

Every live byte is in one category. Parameters, gradients, optimiser state and buffers are recognised by identity; other
tensors by the phase that made them, and by whether they lived until the backward pass. The sum is the measured total;
what the categories do not explain is the ``remainder``.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from segkit.memory.measure import cuda as device
from segkit.memory.measure.allocation import GRAPH, Allocation
from segkit.memory.measure.cuda import DeviceFigures
from segkit.memory.measure.phases import PhaseClock
from segkit.memory.measure.torch_private import storage_address
from segkit.memory.measure.tracker import LiveTensors

CATEGORIES = (
    "parameters", "buffers", "gradients", "optimizer_state", "activations", "inputs", "temporaries", "kept",
)  # fmt: skip


TEACHER = "teacher"
"""The category, and the phase, of a model that only teaches; it is left out where there is none."""


class CategoryMeter:
    """Sorts what was alive at the highest peak into categories.

    Attributes:
        categories: Bytes by category at the highest peak so far; with the remainder, their sum is the measured total.
            On a CUDA device these are, beside the tensors, the rounding of blocks, what libraries have taken through
            PyTorch for good (``workspace``), and, of what is reserved, the fragments and the cache; what the driver
            counts beyond is ``context`` (with other processes' memory, if there are any).
        modules: Bytes of activations at that peak by the module that made them.
        sites: Bytes at that peak by line.
        library_lines: Bytes of large tensors at that peak, by the library's line that made them.
    """

    def __init__(self, tensors: LiveTensors) -> None:
        self.tensors = tensors
        self.categories: dict[str, int] = {}
        self.modules: dict[str, int] = {}
        self.sites: dict[str, int] = {}
        self.library_lines: dict[str, int] = {}
        self.peak = 0
        self._gradients: set[int] = set()

    def note_optimizer(self, optimizer: Any) -> None:
        """Note the gradients, before an optimiser's step in a step whose peak is kept."""
        for parameter in _parameters(optimizer) if self.tensors.keep_peak else ():
            if parameter.grad is not None:
                self._gradients.add(storage_address(parameter.grad))

    def take(
        self, clock: PhaseClock, optimizers: list[Any], modules: list[nn.Module], teachers: Sequence[nn.Module] = ()
    ) -> None:
        """At the end of a step whose peak was kept: sort what was alive at it, if it is the highest so far.

        Args:
            clock: Has the peak.
            optimizers: All that have stepped.
            modules: All outermost modules that have run.
            teachers: Those of them that only teach.
        """
        if clock.highest > self.peak and clock.peak_allocations:
            self.peak = clock.highest
            counted = [allocation for allocation in clock.peak_allocations if self._counts(allocation)]
            self._classify(counted, optimizers, modules, teachers)
            if clock.at_highest is not None:
                self._add_device(counted, clock.at_highest, clock.allocated)
        clock.peak_allocations = []
        self.tensors.peak_allocations = []
        self._gradients.clear()

    def _counts(self, allocation: Allocation) -> bool:
        return allocation.device == self.tensors.counted and allocation.site.operation != GRAPH

    def _classify(
        self,
        peak_allocations: list[Allocation],
        optimizers: list[Any],
        modules: list[nn.Module],
        teachers: Sequence[nn.Module],
    ) -> None:
        parameters = [p for optimizer in optimizers for p in _parameters(optimizer)]
        parameters += [p for module in modules for p in module.parameters()]
        buffers = [buffer for module in modules for buffer in module.buffers()]
        states = [
            value for optimizer in optimizers for state in list(optimizer.state.values())
            if isinstance(state, dict) for value in state.values() if isinstance(value, torch.Tensor)
        ]  # fmt: skip
        names = dict.fromkeys(self._gradients, "gradients")  # by address; the later name counts
        of_teachers = [tensor for module in teachers for tensor in (*module.parameters(), *module.buffers())]
        kinds = (("optimizer_state", states), ("buffers", buffers), ("parameters", parameters), (TEACHER, of_teachers))
        for name, tensors in kinds:
            names |= dict.fromkeys(map(storage_address, tensors), name)
        sums: Counter[str] = Counter()
        by_module: Counter[str] = Counter()
        by_line: Counter[str] = Counter()
        by_maker: Counter[str] = Counter()
        for allocation in peak_allocations:
            name = names.get(allocation.key) or self._category_by_phase(allocation)
            sums[name] += allocation.size
            by_line[f"{allocation.site.line}"] += allocation.size
            if allocation.library_line is not None:
                by_maker[allocation.library_line] += allocation.size
            if allocation.module is not None and name in ("activations", "temporaries"):
                by_module[allocation.module] += allocation.size
        self.categories = {name: sums[name] for name in CATEGORIES} | {"remainder": self.peak - sum(sums.values())}
        self.categories |= {TEACHER: sums[TEACHER]} if sums[TEACHER] else {}
        self.modules = dict(by_module.most_common(12))
        self.sites = dict(by_line.most_common(12))
        self.library_lines = dict(by_maker.most_common(12))

    def _category_by_phase(self, allocation: Allocation) -> str:
        if allocation.step < self.tensors.step - 1:
            return "kept"
        if allocation.phase == TEACHER:
            return TEACHER
        if allocation.saved:
            return "activations"
        return "inputs" if allocation.phase in ("load", "transfer") else "temporaries"

    def _add_device(self, peak_allocations: list[Allocation], figures: DeviceFigures, allocated: int) -> None:
        """Add what the device has in use in addition to tensors."""
        tensors = sum(allocation.size for allocation in peak_allocations)
        live = sum(
            device.rounded(allocation.size) for allocation in self.tensors.live.values() if self._counts(allocation)
        )
        rounding = sum(device.rounded(allocation.size) for allocation in peak_allocations) - tensors
        workspace = max(0, allocated - live)  # at the end of a step, when there are no temporaries
        fragmented = min(figures.fragmented, figures.reserved - figures.peak)
        used = device.driver_used()
        self.categories |= {
            "rounding": rounding,
            "workspace": workspace,
            "fragmented": fragmented,
            "cache": figures.reserved - figures.peak - fragmented,
            "context": max(0, (used or figures.reserved) - figures.reserved),
            "remainder": figures.peak - tensors - rounding - workspace,
        }


def _parameters(optimizer: Any) -> list[torch.Tensor]:
    return [p for group in getattr(optimizer, "param_groups", ()) for p in group.get("params", ())
            if isinstance(p, torch.Tensor)]  # fmt: skip
