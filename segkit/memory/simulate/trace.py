"""Every storage that a run on fake tensors would allocate and free, in order, and what was alive at the peak."""

import sys
import traceback
import weakref
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, NamedTuple

import torch

from segkit.memory.measure.torch_private import TorchDispatchMode, storage_address, storage_key

_DEPTH = 30  # frames that are searched

TASKS = {
    "assign_targets_to_anchors": "anchor matching",
    "assign_targets_to_proposals": "region matching",
    "filter_proposals": "choosing proposals",
    "choose_proposals": "choosing proposals",
    "compute_loss": "loss of the proposals",
    "mask_targets": "mask targets",
    "match_places": "matching of places",
    "fcos_losses": "loss of the detections",
    "stride_masks": "mask targets",
    "match_cells": "matching of cells",
    "mask_logits": "masks by kernels",
    "matrix_nms": "matrix NMS",
    "dynamic_masks": "dynamic mask head",
    "in_boxes": "masks in their boxes",
    "semantic_losses": "loss",
    "normalize": "pictures",
    "batch_images": "pictures",
    "batch_of": "pictures",
}
"""Functions whose memory is a category of its own."""

Event = tuple[int, int]
"""An allocation (number, bytes), or a release (number, 0)."""


class _TracedStorage(weakref.ref):  # type: ignore[type-arg]
    """A weak reference to a storage that knows its size and category."""

    __slots__ = ("category", "key", "number", "size")

    key: int
    number: int
    category: str
    size: int


class Peak(NamedTuple):
    """The most that was alive at once, in bytes: the sum, and by category."""

    allocated: int
    by_category: dict[str, int]


class Trace(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types here
    """Follows the storages that operations make, fake or real, until they are freed.

    Attributes:
        events: What was allocated and freed, in order.
        allocated: Bytes alive.
        category: That of the storages that are made now.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.events: list[Event] = []
        self.allocated = 0
        self.category = "model"
        self._live: dict[int, _TracedStorage] = {}
        self._peak = 0
        self._at_peak: dict[str, int] | None = None  # None: still rising
        self._sums: dict[str, int] = defaultdict(int)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for each in out if isinstance(out, tuple | list) else (out,):
            if isinstance(each, torch.Tensor):
                self._note(each)
        return out

    def reset_peak(self) -> None:
        """Begin to measure a new peak."""
        self._peak, self._at_peak = self.allocated, None

    def peak(self) -> Peak:
        """The highest peak since the last reset."""
        if self._at_peak is None:
            self._at_peak = dict(self._sums)
        return Peak(self._peak, {name: size for name, size in self._at_peak.items() if size})

    @contextmanager
    def doing(self, category: str) -> Iterator[None]:
        """Set the category within a block."""
        before, self.category = self.category, category
        try:
            yield
        finally:
            self.category = before

    def claim(self, tensors: Sequence[torch.Tensor], category: str) -> None:
        """Change the category of storages that were made before."""
        for tensor in tensors:
            allocation = self._live.get(storage_address(tensor))
            if allocation is not None:
                self._sums[allocation.category] -= allocation.size
                allocation.category = category
                self._sums[category] += allocation.size

    def divide(self, tensors: Sequence[torch.Tensor], ranks: int) -> None:
        """Count storages that were made before as a part of their bytes: the others are on other ranks."""
        for tensor in tensors:
            allocation = self._live.get(storage_address(tensor))
            if allocation is not None:
                size = -(-allocation.size // ranks)
                self.allocated -= allocation.size - size
                self._sums[allocation.category] -= allocation.size - size
                allocation.size = size
                self.events[allocation.number] = (allocation.number, size)

    def transient(self, size: int) -> None:
        """Note memory that a kernel allocates and frees before it returns."""
        number = len(self.events)
        self.events += [(number, size), (number, 0)]
        if self._rise(size):  # a peak that has ended already
            self._at_peak = self._sums | {self.category: self._sums[self.category] + size}

    def _note(self, tensor: torch.Tensor) -> None:
        storage, key = storage_key(tensor)
        size = storage.nbytes() if storage is not None else 0
        if size == 0 or key in self._live:
            return
        allocation = _TracedStorage(storage, self._freed)
        allocation.key, allocation.number, allocation.size = key, len(self.events), size
        allocation.category = self._category_here()
        self._live[key] = allocation
        self.events.append((allocation.number, size))
        self._rise(size)
        self.allocated += size
        self._sums[allocation.category] += size

    def _category_here(self) -> str:
        """The task of a running function, else the part of the model, else the phase."""
        for frame, _ in islice(traceback.walk_stack(sys._getframe(3)), _DEPTH):
            if frame.f_code.co_name in TASKS:
                return TASKS[frame.f_code.co_name]
        return self.category

    def _rise(self, size: int) -> bool:
        """Whether so many bytes more are a new peak."""
        if self.allocated + size <= self._peak:
            return False
        self._peak, self._at_peak = self.allocated + size, None
        return True

    def _freed(self, allocation: _TracedStorage) -> None:
        if self._at_peak is None and self.allocated == self._peak:
            self._at_peak = dict(self._sums)
        if self._live.get(allocation.key) is allocation:
            del self._live[allocation.key]
            self.allocated -= allocation.size
            self._sums[allocation.category] -= allocation.size
            self.events.append((allocation.number, 0))
