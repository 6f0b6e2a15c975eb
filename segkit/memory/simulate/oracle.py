"""Results that depend on values, which fake tensors do not have: of ``nonzero``, ``nms``, ``unique``, ``item``.

The answer depends on the function that needs the result. In a detector these are some twenty functions
(``segkit.memory.simulate.detector_bounds``); a function that is not known gets the largest possible size, and is noted.
"""

import sys
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import torch

from segkit.memory.measure.torch_private import (
    SCALAR_OF_TENSOR,
    TO_COPY,
    UNIQUE,
    TorchDispatchMode,
    constant_of,
    operation_name,
    return_types,
    unanswerable,
    without_modes,
)  # fmt: skip
from segkit.memory.simulate.detector_bounds import RULES, Bounds, SizeQuery
from segkit.memory.simulate.trace import Trace

aten = torch.ops.aten

_TORCH = str(Path(torch.__file__).parent)
_OWN = str(Path(__file__).parent)
_COMPREHENSIONS = ("<listcomp>", "<genexpr>", "<dictcomp>", "<setcomp>", "<lambda>")
_SCALARS = (SCALAR_OF_TENSOR, aten.item.default)
_FOLLOWED = (
    TO_COPY, aten.select.int, aten.unbind.int, aten.slice.Tensor, aten.alias.default,
    aten.detach.default, aten.view.default, aten.unsqueeze.default,
)  # fmt: skip


class Oracle(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types here
    """Answers the operations on fake tensors whose results depend on values.

    Attributes:
        bounds: What the sizes depend on.
        unknown: Operations whose results had to be guessed, in the order of their first call.
        answers: Sizes to give instead, in order, as they were in a real run; None: by rule.
    """

    def __init__(self, bounds: Bounds, trace: Trace, *, as_cuda: bool) -> None:
        """Answer by ``bounds``; with ``as_cuda``, the workspaces of CUDA's kernels are added to ``trace``."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.bounds, self._trace, self._as_cuda = bounds, trace, as_cuda
        self.unknown: dict[str, None] = {}
        self.answers: list[int] | None = None
        self._counts: Counter[str] = Counter()

    def next_forward(self, instances: Sequence[int]) -> None:
        """Begin a forward pass of images with so many instances; calls are counted from its first image on."""
        self._counts.clear()
        self.bounds = replace(self.bounds, instances=tuple(instances))

    def know(self, tensor: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Remember the values of a fake tensor, through casts and views."""
        with without_modes():
            rows = values.tolist()
        tensor.known = values  # type: ignore[attr-defined]
        tensor.tolist = lambda: rows  # type: ignore[method-assign]  # that of fake tensors asks for each value
        return tensor

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is aten.nonzero.default:
            return args[0].new_empty((self._size("nonzero", args[0]), args[0].dim()), dtype=torch.int64)
        if func in _SCALARS:
            return self._scalar(args[0])
        if func is UNIQUE:
            return self._unique(args[0])
        if func is aten.equal.default:
            return True
        if operation_name(func) == "torchvision::nms":
            count = args[0].shape[0]
            if self._as_cuda:  # one bit for each pair of boxes
                self._trace.transient(8 * count * -(-count // 64))
            return args[0].new_empty((self._size("nms", args[0]),), dtype=torch.int64)
        if func in _FOLLOWED and hasattr(args[0], "known"):
            return self._followed(func, args, kwargs)
        try:
            out = func(*args, **kwargs)
        except unanswerable():
            return self._guess(func, args, kwargs)
        return _with_statistics_in_fp32(out) if func is aten.native_batch_norm.default else out

    def _size(self, operation: str, tensor: torch.Tensor) -> int:
        """The size of a result: at most as many as there are elements (boxes, for nms)."""
        if self.answers is not None:
            return self.answers.pop(0)
        shape = tuple(tensor.shape[:1] if operation == "nms" else tensor.shape)
        most = torch.Size(shape).numel()
        if operation == "nms":
            return most
        frame = _frame_outside_torch()
        function = frame.f_code.co_name
        name = function if operation == "nonzero" else f"{function}:{operation}"
        if name not in RULES:
            self._note(operation, frame)
            return most
        query = SizeQuery(shape, self._counts[name], frame.f_locals)
        self._counts[name] += 1
        return min(most, RULES[name](self.bounds, query))

    def _scalar(self, tensor: torch.Tensor) -> Any:
        known = getattr(tensor, "known", None)
        value = known if known is not None else constant_of(tensor)
        if value is not None:
            with without_modes():
                return value.item()
        if tensor.dtype is torch.bool:
            return False  # conditions check for errors
        if tensor.dtype.is_floating_point:
            return 1.0
        frame = _frame_outside_torch()
        if frame.f_code.co_name == "on_host" and frame.f_back is not None:
            return self._count(frame.f_back)
        self._note("a whole number", frame)
        return 0

    def _count(self, frame: FrameType) -> int:
        """A number that a function asks for; see ``segkit.models.host_counts``."""
        if self.answers is not None:
            return self.answers.pop(0)
        name = f"{frame.f_code.co_name}:on_host"
        if name not in RULES:
            self._note("a whole number", frame)
            return 0
        query = SizeQuery((), self._counts[name], frame.f_locals)
        self._counts[name] += 1
        return RULES[name](self.bounds, query)

    def _unique(self, tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Distinct values, assumed to be 0, 1, 2, ..."""
        count = self._size("unique", tensor)
        with without_modes():
            values = torch.arange(count, dtype=tensor.dtype)
        empty = tensor.new_empty((0,), dtype=torch.int64)
        return self.know(tensor.new_empty((count,)), values), empty, empty

    def _followed(self, func: Any, args: Any, kwargs: Any) -> Any:
        out = func(*args, **kwargs)
        with without_modes():
            values = func(args[0].known, *args[1:], **kwargs)
        if isinstance(out, torch.Tensor):
            return self.know(out, values)
        return [self.know(each, value) for each, value in zip(out, values, strict=True)]

    def _guess(self, func: Any, args: Any, kwargs: Any) -> Any:
        """The largest possible result of an operation that nothing is known about."""
        self._note(operation_name(func), _frame_outside_torch())
        tensors = [each for each in (*args, *kwargs.values()) if isinstance(each, torch.Tensor)]
        largest = max(tensors, key=lambda tensor: tensor.numel())
        out: list[Any] = []
        for kind in return_types(func):
            whole = largest.new_empty((largest.numel(),)) if "Tensor" in kind else 0
            out.append([whole] if kind.startswith("List") else whole)
        return out[0] if len(out) == 1 else tuple(out)

    def _note(self, what: str, frame: FrameType) -> None:
        self.unknown[f"{what} in {frame.f_code.co_name} ({Path(frame.f_code.co_filename).name})"] = None


def _frame_outside_torch() -> FrameType:
    """The innermost function outside torch that is running: it needs the result."""
    return next(frame for frame, _ in traceback.walk_stack(sys._getframe()) if not _is_skipped(frame.f_code))


@cache
def _is_skipped(code: CodeType) -> bool:
    return code.co_filename.startswith((_TORCH + "/", _OWN, "<")) or code.co_name in _COMPREHENSIONS


def _with_statistics_in_fp32(out: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Batch norm keeps means and deviations in fp32 even if its input is not; fake tensors do not."""
    whole, *statistics = out
    return (whole, *(s if s.dtype is torch.float32 else s.new_empty(s.shape, dtype=torch.float32) for s in statistics))
