"""Which tensors are alive, since which step, and which line made them.

A dispatch mode sees every operation; each new storage is noted with its bytes, the step and the innermost line of code
outside torch, and a weak reference says when it is freed. Storages that only C++ holds (saved activations) are seen
too. It works on every device, and is what a CPU, which has no allocator counters, is measured by.
"""

import sys
import weakref
from collections import defaultdict
from types import CodeType, TracebackType
from typing import Any, NamedTuple, Self

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_LIBRARIES = ("/torch/", "/torchvision/", "\\torch\\", "\\torchvision\\")
_DEPTH = 60  # frames looked at for a line of the user's


class Site(NamedTuple):
    """Where a tensor was made: ``file:line`` of the innermost code outside torch, and the operation."""

    line: str
    operation: str


class _Storage(NamedTuple):
    size: int
    site: Site
    step: int


class LiveTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types here
    """Counts the bytes of live storages, their peak, and the storages that survive the step they were born in."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.step, self.allocated, self.peak = 0, 0, 0
        self._live: dict[int, _Storage] = {}
        self._watchers: dict[int, weakref.ref[Any]] = {}
        self._is_library: dict[CodeType, bool] = {}
        self._views: dict[Any, bool] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if self._makes_views(func):  # of storages that are known, or were there before
            return out
        for each in out if isinstance(out, tuple | list) else (out,):
            if isinstance(each, torch.Tensor):
                self._note(each, func)
        return out

    def reset_peak(self) -> None:
        """Begin to look for a new peak."""
        self.peak = self.allocated

    def survivors(self, born_after: int, born_before: int) -> dict[Site, dict[int, int]]:
        """Live bytes by site and step of birth, for births in steps from ``born_after`` up to ``born_before``."""
        out: dict[Site, dict[int, int]] = defaultdict(lambda: defaultdict(int))
        for storage in self._live.values():
            if born_after <= storage.step < born_before:
                out[storage.site][storage.step] += storage.size
        return out

    def _makes_views(self, func: Any) -> bool:
        known = self._views.get(func)
        if known is None:
            known = self._views[func] = any(each.alias_info is not None for each in func._schema.returns)
        return known

    def _note(self, tensor: torch.Tensor, func: Any) -> None:
        try:
            storage = tensor.untyped_storage()
            key, size = storage._cdata, storage.nbytes()
        except (
            NotImplementedError,
            RuntimeError,
        ):  # tensors without storage: sparse, meta, functorch wrappers
            return
        if key in self._live or size == 0:
            return
        self._live[key] = _Storage(size, Site(self._line(), str(func)), self.step)
        self._watchers[key] = weakref.ref(storage, lambda _, key=key: self._freed(key))  # type: ignore[misc]
        self.allocated += size
        self.peak = max(self.peak, self.allocated)

    def _freed(self, key: int) -> None:
        storage = self._live.pop(key, None)
        self._watchers.pop(key, None)
        if storage is not None:
            self.allocated -= storage.size

    def _line(self) -> str:
        frame = sys._getframe(3)
        for _ in range(_DEPTH):
            code = frame.f_code
            library = self._is_library.get(code)
            if library is None:
                library = any(part in code.co_filename for part in _LIBRARIES) or code.co_filename.startswith("<")
                self._is_library[code] = library
            if not library or frame.f_back is None:
                return f"{code.co_filename}:{frame.f_lineno}"
            frame = frame.f_back
        return f"{code.co_filename}:{frame.f_lineno}"

    def __enter__(self) -> Self:
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)  # type: ignore[no-untyped-call]
        self._watchers.clear()
