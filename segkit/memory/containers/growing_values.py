"""Values that a name gives up for ever longer ones: ``scores = np.concatenate([scores, new])``, ``log += line``.

Neither the tracker, which sees tensors, nor a container that grows shows them: at every look there is one array, a
longer one. A picture that is larger than the one before is none of these: what swells keeps what it began with.
"""

import array
import io
import sys
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import torch

from segkit.memory.containers.reach import Named
from segkit.memory.measure.trend import Track

_LARGE = 2048  # bytes: what is smaller is not looked at
_HEAD = 32  # values at the beginning that are compared
_MOST = 4000  # places that are remembered


@dataclass(slots=True, kw_only=True)
class Swollen(Track):
    """A place whose value was longer at every look.

    Attributes:
        value: What is there now; only during a look.
        head: What it began with at the first look; None where that is one value throughout, and says nothing.
        same: Whether it has begun so ever since.
    """

    value: Any = None
    head: bytes | None = None
    same: bool = True

    @property
    def keeps_its_head(self) -> bool:
        """Whether what is there now was seen to hold what was there before."""
        return self.head is not None and self.same


class Swelling:
    """All looks of a process so far."""

    def __init__(self) -> None:
        self.places: dict[Hashable, Swollen] = {}

    def take(self, step: int, named: Iterable[Named]) -> None:
        """Note how large everything is that has a name, and a size."""
        seen: set[Hashable] = set()
        for place, value in named:
            size = _bytes_of(value)
            if size < _LARGE or place in seen:
                continue
            seen.add(place)
            known = self.places.get(place)
            if known is None:
                if len(self.places) < _MOST:
                    self.places[place] = Swollen(steps=[step], lengths=[size], head=_head(value))
                continue
            if size < known.lengths[-1]:
                self.places[place] = Swollen(steps=[step], lengths=[size], head=_head(value))
                continue
            if size > known.lengths[-1] and _head(value) != known.head:
                known.same = False
            known.steps.append(step)
            known.lengths.append(size)
            known.value = value if size > known.lengths[-2] else None
            if len(known.steps) > 64:
                del known.steps[1::2], known.lengths[1::2]
        for place in self.places.keys() - seen:
            del self.places[place]

    def steady(self) -> list[tuple[Hashable, Swollen]]:
        """Places whose values have grown all the time, each value once."""
        found = {
            id(each.value): (place, each) for place, each in self.places.items()
            if each.value is not None and each.is_steady()
        }  # fmt: skip
        return list(found.values())

    def release(self) -> None:
        """Let go of every value."""
        for each in self.places.values():
            each.value = None


def _bytes_of(value: Any) -> int:
    """Bytes that a value without parts holds; 0 for everything else."""
    kind = type(value)
    if kind is io.BytesIO:
        return 0 if value.closed else value.getbuffer().nbytes
    if kind in (bytes, bytearray):
        return len(value)
    if kind in (str, array.array):
        return sys.getsizeof(value)
    module = str(kind.__module__).partition(".")[0]
    if module == "numpy" and hasattr(kind, "__array_interface__"):
        while getattr(value, "base", None) is not None and hasattr(type(value.base), "nbytes"):
            value = value.base
        return int(value.nbytes)
    if module == "pandas" and hasattr(kind, "memory_usage"):
        return sys.getsizeof(value)
    if kind is torch.Tensor:
        try:
            return int(value.untyped_storage().nbytes())
        except (RuntimeError, NotImplementedError):
            return 0
    return 0


def _head(value: Any) -> bytes | None:
    """What a value begins with; None where all of that is one and the same."""
    if type(value) is io.BytesIO:
        value = b"" if value.closed else bytes(value.getbuffer()[:_HEAD])
    if isinstance(value, str | bytes | bytearray | array.array):
        head = value[:_HEAD]
        same = len(set(head)) < 2
        return None if same else str(head).encode()
    try:
        flat = _first_row(value) if type(value) is torch.Tensor else list(value.flat[:_HEAD])
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):  # nothing in it, a number, no array
        return None
    return None if len(set(map(str, flat))) < 2 else str(flat).encode()


def _first_row(tensor: torch.Tensor) -> list[Any]:
    row = tensor.detach()
    while row.dim() > 1:
        row = row[0]
    return list(row[:_HEAD].tolist())
