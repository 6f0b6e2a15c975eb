"""How far a training is in an epoch of its loader."""

import weakref
from typing import Any

from segkit.memory.measure import torch_private as private

_FEWEST = 6  # steps; a loader that was read for fewer is not that of the training


class Epochs:
    """Counts the batches of loaders' iterators, and notes when an epoch of the training ends.

    Attributes:
        ends: The steps at which one ended.
        read: Batches of the newest epoch that were read.
        length: How many it has; None where that is not known.
    """

    def __init__(self) -> None:
        self.ends: list[int] = []
        self.read = 0
        self.length: int | None = None
        self._iterator: weakref.ref[Any] | None = None
        self._began = 0

    def begin_batch(self, iterator: Any, step: int) -> None:
        """Note that a batch is about to be read in step ``step``."""
        known = self._iterator() if self._iterator is not None else None
        if known is not iterator:
            if known is not None and step - self._began < _FEWEST:
                return  # another loader beside that of the training
            self.end_epoch(known, step)
            self._iterator, self._began = weakref.ref(iterator), step
            self.read, self.length = 0, private.batches_of_loader(iterator)
        self.read += 1

    def end_epoch(self, iterator: Any, step: int) -> None:
        """Note that an iterator has given its last batch, or is not read any more."""
        known = self._iterator() if self._iterator is not None else None
        if iterator is known and self._iterator is not None and step - self._began >= _FEWEST:
            self.ends.append(step)
            self._iterator = None

    def is_within(self, since: int) -> bool:
        """Whether no epoch has ended since a step, and the one that goes on is not over."""
        over = self.length is None or self.read >= self.length
        return not over and not any(end > since for end in self.ends)
