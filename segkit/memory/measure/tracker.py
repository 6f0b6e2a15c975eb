"""Which tensors are alive, since which step, and which line made them.

A dispatch mode sees every operation; each new storage is noted with its bytes, the step and the innermost line of the
user's code, and a weak reference notices when it is freed. Storages that only C++ holds (saved activations) count, too.
It works on every device, and is what a CPU, which has no allocator counters, is measured by.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

import torch

from segkit.memory.measure.allocation import GRAPH, Allocation, Site
from segkit.memory.measure.torch_private import (
    TorchDispatchMode,
    direct,
    is_fake,
    never_compile,
    operation_name,
    put_back,
    returns_new_tensors,
    storage_address,
    storage_key,
    take_off,
    without_mode,
)
from segkit.memory.measure.user_code import UNKNOWN, USER_CODE, Line, describe, line_of

# Views of storages that were not made by an operation: data from outside enters through these.
_VIEWS = ("aten::set_", "aten::detach", "aten::alias", "aten::_reshape_alias")
_ENTRANCES = ("aten::lift_fresh", *_VIEWS)
_MOST_PLACES = 20_000  # in the code; a script may compile more and more
_LARGE = 2**18  # bytes: of larger tensors, the library's line is noted as well


class LiveTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types here
    """Counts the bytes of live storages and their peak, and groups them by the step that made them.

    Attributes:
        step: The number of the step that goes on, of those that are followed.
        steps: The number of the step that goes on.
        phase: What the step is doing.
        module: The module whose forward is running.
        counted: The type of device whose tensors are counted: the CPU, until a tensor is on another.
        allocated: Bytes alive on it.
        others: Bytes alive on other devices.
        peak: The highest ``allocated`` since ``reset_peak``.
        live: Live allocations by the address of their storage.
        cohorts: Live allocations, and autograd graphs, by the step that made them.
        freed: Old allocations that were freed since this list was last taken.
        joins: By site, the latest tensor that was concatenated with its predecessor.
        keep_peak: Whether to remember what is alive at the peak.
        peak_allocations: That.
        unseen: Bytes of the host's memory that steps which were not followed have added.
        resting: Whether this step is not followed: only what is freed is noted (see ``sampling``).
        paused: Whether nothing is noted: the tool itself is at work.
        is_aside: Whether a tracer records what is computed: nothing may be noted, and no hook may touch a tensor.
        failure: An error in here, after which nothing is noted any more.
    """

    supports_higher_order_operators = True  # else those raise an error under a mode

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Let ``torch.compile`` compile; what its code dispatches is noted."""
        return True

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Whether to wrap the method below: that would load the compiler. ``never_compile`` is used instead."""
        return False

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.step, self.allocated, self.peak, self.others = 0, 0, 0, 0
        self.steps = self.unseen = 0
        self.counted = "cpu"
        self.phase = "load"
        self.module: str | None = None
        self.paused = self.is_aside = self.resting = False
        self.failure: str | None = None
        self.live: dict[int, Allocation] = {}
        self.cohorts: dict[int, dict[int, Allocation]] = {0: {}}
        self.freed: list[Allocation] = []
        self.keep_peak = False
        self.peak_allocations: list[Allocation] = []
        self.joins: dict[Site, Allocation] = {}
        self._rising = self._has_rested = False
        self._numbers = [0]
        self._graphs = 0
        self._sites: dict[tuple[str, int, str], Site] = {}
        self._places: dict[tuple[int, int, str], tuple[Site, CodeType]] = {}
        self._free = self._on_free
        self._operations: dict[int, tuple[Any, str]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        known = self._operations.get(id(func))  # operators live for ever, and their hash is code in Python
        if known is None:
            known = self._operations[id(func)] = (direct(func), _allocating_operation(func))
        call, operation = known
        out = call(*args, **kwargs) if kwargs else call(*args)
        if operation and not self.paused:
            try:
                if type(out) is torch.Tensor:
                    self._note(out, operation, args, sys._getframe(1))
                else:
                    for each in out if isinstance(out, (tuple, list)) else (out,):
                        if isinstance(each, torch.Tensor):
                            self._note(each, operation, args, sys._getframe(1))
            except Exception as error:  # the script must not notice
                self.failure, self.paused = describe(error), True
        return out

    @property
    def on_host(self) -> int:
        """Bytes alive in the host's memory."""
        return self.allocated if self.counted == "cpu" else self.others

    def next_step(self, *, followed: bool = True) -> None:
        """Begin a step; ``followed``: whether the one that ends was."""
        self.steps += 1
        if followed:
            self.step += 1
            self.cohorts[self.step] = {}
            self._numbers.append(self.steps)
        self._numbers[-1] = self.steps

    def number_of(self, step: int) -> int:
        """The number among all steps of one that was followed."""
        return self._numbers[min(step, len(self._numbers) - 1)]

    def reset_peak(self) -> None:
        """Begin to measure a new peak."""
        self.peak = self.allocated
        self._rising = False

    def take_peak_allocations(self) -> list[Allocation]:
        """Allocations that were alive at the last peak; only with ``keep_peak``."""
        if self._rising:
            self.peak_allocations, self._rising = list(self.live.values()), False
        return self.peak_allocations

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Note nothing: the tool is at work."""
        before, self.paused = self.paused, True
        try:
            yield
        finally:
            self.paused = before

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Be off this thread's stack of modes: something records what it sees (see ``tracers``)."""
        before, self.is_aside = self.is_aside, True
        try:
            with without_mode(self):
                yield
        finally:
            self.is_aside = before

    def rest(self) -> bool:
        """Do not follow what comes, until ``resume``; whether that is possible."""
        self.resting = take_off(self)
        self._has_rested |= self.resting
        return self.resting

    def resume(self) -> None:
        """Follow what comes again."""
        if self.resting:
            put_back(self)
            self.resting = False

    def note_from_outside(self, tensor: torch.Tensor, operation: str, frame: FrameType) -> None:
        """Note a tensor that no operation has made that is seen here; ``frame``: where it was made."""
        if not self.paused and not self.resting:
            self._note(tensor, operation, (), frame)

    def _note(self, tensor: torch.Tensor, operation: str, args: Any, frame: FrameType) -> None:
        storage, key = storage_key(tensor)
        if storage is None or key in self.live:
            return
        size = storage.nbytes()
        if size == 0 or is_fake(tensor) or (self._has_rested and operation in _VIEWS):
            return  # a view of what a step made that was not followed
        allocation = self._allocation(storage, key, self._site(frame, operation))
        allocation.size, allocation.device = size, "cpu" if tensor.is_cpu else tensor.device.type
        if self.keep_peak and size >= _LARGE:
            allocation.library_line = USER_CODE.library_line(frame)
        allocation.joined = (0, size)
        if operation == "aten::cat":
            allocation.joined = self._count_joins(args, allocation.site, size)
            if allocation.joined[0]:
                self.joins[allocation.site] = allocation
        self.live[key] = allocation
        if allocation.device != self.counted:
            if self.counted != "cpu" or allocation.device == "cpu":
                self.others += size
                return
            self.counted, self.others, self.allocated, self.peak = allocation.device, self.others + self.allocated, 0, 0
        self.allocated += size
        if self.allocated > self.peak:
            self.peak = self.allocated
            self._rising = self.keep_peak

    def note_graph(self, token: object, line: Line) -> None:
        """Note a step's autograd graph by an object that it owns; it counts no bytes of its own."""
        self._graphs += 1
        self._allocation(token, -self._graphs, self._site_of(line, GRAPH)).phase = "backward"

    def _site(self, frame: FrameType, operation: str) -> Site:
        """The site of an operation that is called at or below a frame.

        To find the number of a line takes longer than all else here. So each place in the code is asked for it once.
        """
        users = USER_CODE.innermost_frame(frame)
        if users is None:
            return self._site_of(UNKNOWN, operation)
        code = users.f_code
        place = (id(code), users.f_lasti, operation)
        known = self._places.get(place)
        if known is not None:
            return known[0]
        if len(self._places) >= _MOST_PLACES:
            self._places.clear()
        site = self._site_of(line_of(users), operation)
        self._places[place] = (site, code)  # with the code, as its identity would else be that of other code later
        return site

    def _site_of(self, line: Line, operation: str) -> Site:
        label = (line.file, line.number, operation)
        site = self._sites.get(label)
        if site is None:
            site = self._sites[label] = Site(line, operation)
        return site

    def _allocation(self, owner: Any, key: int, site: Site) -> Allocation:
        """A new allocation in this step's cohort, of no bytes yet."""
        allocation = Allocation(owner, self._free)
        allocation.key, allocation.site, allocation.step = key, site, self.step
        allocation.phase, allocation.module = self.phase, self.module
        allocation.size, allocation.device, allocation.library_line = 0, "cpu", None
        allocation.saved, allocation.old, allocation.joined = False, False, (0, 0)
        allocation.cohort = self.cohorts[self.step]
        allocation.cohort[key] = allocation
        return allocation

    def _count_joins(self, args: Any, site: Site, size: int) -> tuple[int, int]:
        """How often what is concatenated here was concatenated here before: ``kept = torch.cat([kept, new])``.

        Where the result is not longer than before (a queue that drops its oldest entries), counting begins anew.
        """
        parts = args[0] if args and isinstance(args[0], tuple | list) else ()
        for each in parts:
            before = self.live.get(storage_address(each))
            if before is not None and before.site.operation == "aten::cat" and before.site.line == site.line:
                longer = size > before.size and before.step < self.step
                return (before.joined[0] + 1, before.joined[1]) if longer else (0, size)
        return 0, size

    def _on_free(self, allocation: Allocation) -> None:
        if self._rising:
            self.peak_allocations, self._rising = list(self.live.values()), False
        if self.live.get(allocation.key) is allocation:
            del self.live[allocation.key]
            if allocation.device == self.counted:
                self.allocated -= allocation.size
            else:
                self.others -= allocation.size
        allocation.cohort.pop(allocation.key, None)
        if allocation.old:
            self.freed.append(allocation)

    def clear(self) -> None:
        """Forget all allocations."""
        self.live.clear()
        self.cohorts.clear()


def _allocating_operation(func: Any) -> str:
    """The name of an operation that may bring a storage that was not there before; else nothing."""
    name = operation_name(func)
    return name if name in _ENTRANCES or returns_new_tensors(func) else ""


never_compile(LiveTensors.__torch_dispatch__, callees=True)
