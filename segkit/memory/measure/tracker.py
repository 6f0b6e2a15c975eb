"""Which tensors are alive, since which step, and which line made them.

A dispatch mode sees every operation; each new storage is noted with its bytes, the step and the innermost line of the
user's code, and a weak reference says when it is freed. Storages that only C++ holds (saved activations) are seen too.
It works on every device, and is what a CPU, which has no allocator counters, is measured by.
"""

import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NamedTuple, Self

import torch

from segkit.memory.measure.torch_private import (
    TorchDispatchMode,
    is_fake,
    operation_name,
    returns_new_tensors,
    storage_key,
)
from segkit.memory.measure.user_code import USER_CODE, Line

# Views of storages that were not made by an operation: data from outside enters through these.
_ENTRANCES = ("aten::lift_fresh", "aten::set_", "aten::detach", "aten::alias", "aten::_reshape_alias")


GRAPH = "autograd graph"
_LARGE = 2**18  # bytes: of what is larger, the library's line is noted as well


class Site(NamedTuple):
    """Where a tensor was made: a line of the user's code, and the operation."""

    line: Line
    operation: str


class Birth(weakref.ref):  # type: ignore[type-arg]
    """A weak reference to a storage that knows when and where it was made."""

    __slots__ = (
        "cohort",
        "device",
        "key",
        "lineage",
        "maker",
        "module",
        "old",
        "operation",
        "phase",
        "saved",
        "site",
        "size",
        "step",
    )

    key: int
    size: int
    site: Site
    step: int
    phase: str
    operation: str
    device: str
    module: str | None
    maker: str | None  # the innermost line outside torch itself, for large tensors of steps whose crest is kept
    saved: bool  # by autograd, for a backward pass
    old: bool  # it has outlived the grace
    lineage: tuple[int, int]  # times that this tensor was joined to more of its kind, and the bytes it began with
    cohort: dict[int, "Birth"]


class LiveTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types here
    """Counts the bytes of live storages and their peak, and keeps the births of each step together.

    Attributes:
        step: The number of the step that goes on.
        phase: What the step is doing.
        module: The module whose forward is running.
        counted: The type of device whose tensors are counted: the CPU, until a tensor is on another.
        allocated: Bytes alive on it.
        others: Bytes alive elsewhere.
        peak: The most of them since ``reset_peak``.
        cohorts: Live births by step.
        crest: Births alive at the highest peak since ``reset_peak``, where asked for by ``keep_crest``.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.step, self.allocated, self.peak, self.others = 0, 0, 0, 0
        self.counted = "cpu"
        self.phase = "load"
        self.module: str | None = None
        self.paused = False
        self.failure: BaseException | None = None
        self.live: dict[int, Birth] = {}
        self.cohorts: dict[int, dict[int, Birth]] = {0: {}}
        self.dead: list[Birth] = []  # old births that died since they were last asked for
        self.keep_crest = False
        self.crest: list[Birth] = []
        self.joins: dict[Site, Birth] = {}  # by site, the latest tensor that was joined to its predecessor
        self._rising = False
        self._graphs = 0
        self._sites: dict[tuple[str, int, str], Site] = {}
        self._operations: dict[Any, str] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **kwargs) if kwargs else func(*args)
        operation = self._operations.get(func)
        if operation is None:
            operation = self._operations[func] = _allocating_operation(func)
        if operation and not self.paused:
            try:
                if type(out) is torch.Tensor or isinstance(out, torch.Tensor):
                    self._note(out, operation, args)
                elif isinstance(out, tuple | list):
                    for each in out:
                        if isinstance(each, torch.Tensor):
                            self._note(each, operation, args)
            except Exception as error:  # the script must not notice
                self.failure, self.paused = error, True
        return out

    @property
    def on_host(self) -> int:
        """Bytes alive in the host's memory."""
        return self.allocated if self.counted == "cpu" else self.others

    def next_step(self) -> None:
        """Begin a step."""
        self.step += 1
        self.cohorts[self.step] = {}

    def reset_peak(self) -> None:
        """Begin to look for a new peak."""
        self.peak = self.allocated
        self._rising = False

    def peak_composition(self) -> list[Birth]:
        """Births that were alive at the last peak; only with ``keep_crest``."""
        if self._rising:
            self.crest, self._rising = list(self.live.values()), False
        return self.crest

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Note nothing: the tool is at work."""
        before, self.paused = self.paused, True
        try:
            yield
        finally:
            self.paused = before

    def _note(self, tensor: torch.Tensor, operation: str, args: Any) -> None:
        try:
            storage, key = storage_key(tensor)
        except (NotImplementedError, RuntimeError):  # sparse, meta, functorch wrappers
            return
        if key in self.live:
            return
        size = storage.nbytes()
        if size == 0 or is_fake(tensor):
            return
        birth = Birth(storage, self._died)
        line = USER_CODE.innermost(sys._getframe(2))
        label = (line.file, line.number, operation)
        site = self._sites.get(label)
        if site is None:
            site = self._sites[label] = Site(line, operation)
        birth.key, birth.size, birth.site, birth.step = key, size, site, self.step
        birth.phase, birth.operation, birth.module = self.phase, operation, self.module
        birth.device, birth.saved, birth.old = tensor.device.type, False, False
        birth.maker = USER_CODE.maker(sys._getframe(2)) if self.keep_crest and size >= _LARGE else None
        birth.lineage = (0, size)
        if operation == "aten::cat":
            birth.lineage = self._joined(args, site, size)
            if birth.lineage[0]:
                self.joins[site] = birth
        birth.cohort = self.cohorts[self.step]
        birth.cohort[key] = self.live[key] = birth
        if birth.device != self.counted:
            if self.counted != "cpu" or birth.device == "cpu":
                self.others += size
                return
            self.counted, self.others, self.allocated, self.peak = birth.device, self.others + self.allocated, 0, 0
        self.allocated += size
        if self.allocated > self.peak:
            self.peak = self.allocated
            self._rising = self.keep_crest

    def note_graph(self, token: object, line: Line) -> None:
        """Note a step's autograd graph by an object that it owns; it counts no bytes of its own."""
        birth = Birth(token, self._died)
        self._graphs += 1
        birth.key, birth.size, birth.step = -self._graphs, 0, self.step
        birth.site = self._sites.setdefault((line.file, line.number, GRAPH), Site(line, GRAPH))
        birth.phase, birth.operation, birth.module, birth.device = "backward", GRAPH, None, "cpu"
        birth.maker = None
        birth.saved, birth.old, birth.lineage = False, False, (0, 0)
        birth.cohort = self.cohorts[self.step]
        birth.cohort[birth.key] = birth

    def _joined(self, args: Any, site: Site, size: int) -> tuple[int, int]:
        """How often what is concatenated here was concatenated here before: ``kept = torch.cat([kept, new])``.

        What does not become longer by it (a queue that drops its oldest) begins anew.
        """
        parts = args[0] if args and isinstance(args[0], tuple | list) else ()
        for each in parts:
            before = self.live.get(storage_key(each)[1])
            if before is not None and before.operation == "aten::cat" and before.site.line == site.line:
                longer = size > before.size and before.step < self.step
                return (before.lineage[0] + 1, before.lineage[1]) if longer else (0, size)
        return 0, size

    def _died(self, birth: Birth) -> None:
        if self._rising:
            self.crest, self._rising = list(self.live.values()), False
        if self.live.get(birth.key) is birth:
            del self.live[birth.key]
            if birth.device == self.counted:
                self.allocated -= birth.size
            else:
                self.others -= birth.size
        birth.cohort.pop(birth.key, None)
        if birth.old:
            self.dead.append(birth)

    def __enter__(self) -> Self:
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)  # type: ignore[no-untyped-call]
        self.live.clear()
        self.cohorts.clear()


def _allocating_operation(func: Any) -> str:
    """The name of an operation that may bring a storage that was not there before; else nothing."""
    name = operation_name(func)
    return name if name in _ENTRANCES or returns_new_tensors(func) else ""
