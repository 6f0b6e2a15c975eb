"""Values that are replaced by ever longer ones: ``scores = np.concatenate([scores, new])``, ``log += line``.

Neither the tracker of tensors nor a container that grows shows them: at every census there is one array, a longer one.
An image that is larger than the one before is no such value: a value that grows keeps the beginning that it had.
"""

import array
import io
import sys
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import torch

from segkit.memory.containers.named_values import NamedValue
from segkit.memory.measure.torch_private import storage_key
from segkit.memory.measure.trend import Track

_LARGE = 2048  # bytes; smaller values are ignored
_BEGINNING = 32  # values at the beginning that are compared
_MOST = 4000  # places that are followed


@dataclass(slots=True, kw_only=True)
class GrowingValue(Track):
    """A place whose value was longer at every census.

    Attributes:
        value: What is there now; only during a census.
        beginning: Its first values at the first census; None where they are all equal, and prove nothing.
        same: Whether it has had this beginning ever since.
    """

    value: Any = None
    beginning: bytes | None = None
    same: bool = True

    @property
    def keeps_beginning(self) -> bool:
        """Whether the value was seen to keep what it had before."""
        return self.beginning is not None and self.same


class GrowingValues:
    """The values that every census has seen, by their place."""

    def __init__(self) -> None:
        self.places: dict[Hashable, GrowingValue] = {}

    def take(self, step: int, named: Iterable[NamedValue]) -> None:
        """Note the size of every value that has a name."""
        seen: set[Hashable] = set()
        for place, value in named:
            size = _bytes_of(value)
            if size < _LARGE or place in seen:
                continue
            seen.add(place)
            known = self.places.get(place)
            if known is None or size < known.lengths[-1]:
                if known is not None or len(self.places) < _MOST:
                    self.places[place] = GrowingValue(steps=[step], lengths=[size], beginning=_beginning(value))
                continue
            if size > known.lengths[-1] and _beginning(value) != known.beginning:
                known.same = False
            known.steps.append(step)
            known.lengths.append(size)
            known.value = value if size > known.lengths[-2] else None
            if len(known.steps) > 64:
                del known.steps[1::2], known.lengths[1::2]
        for place in self.places.keys() - seen:
            del self.places[place]

    def steady(self) -> list[tuple[Hashable, GrowingValue]]:
        """Places whose values have grown at every census, each value once."""
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
    if kind is io.StringIO:  # of the characters that it has written, whatever their width
        return 0 if value.closed else value.tell()
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
        storage, _ = storage_key(value)
        return int(storage.nbytes()) if storage is not None else 0
    return 0


def _beginning(value: Any) -> bytes | None:
    """The first values of a value; None where they are all equal."""
    if type(value) is io.BytesIO:
        value = b"" if value.closed else bytes(value.getbuffer()[:_BEGINNING])
    if type(value) is io.StringIO:
        value = "" if value.closed else value.getvalue()
    if isinstance(value, str | bytes | bytearray | array.array):
        head = value[:_BEGINNING]
        same = len(set(head)) < 2
        return None if same else str(head).encode()
    try:
        flat = _first_row(value) if type(value) is torch.Tensor else list(value.flat[:_BEGINNING])
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):  # it is empty, a number, or no array
        return None
    return None if len(set(map(str, flat))) < 2 else str(flat).encode()


def _first_row(tensor: torch.Tensor) -> list[Any]:
    row = tensor.detach()
    while row.dim() > 1:
        row = row[0]
    return list(row[:_BEGINNING].tolist())
