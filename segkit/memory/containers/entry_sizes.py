"""What one more entry of a container costs, in bytes."""

import gc
import io
import sys
import types
from collections.abc import Iterable
from typing import Any

import torch

from segkit.memory.measure.torch_private import storage_key

_ATOMS = (int, float, bool, complex, type(None), type, types.ModuleType, types.BuiltinFunctionType)


def newest_entries(container: Any, count: int) -> list[Any]:
    """The entries that were stored last; of a set, which has no order, any entries."""
    if isinstance(container, dict):
        keys = list(container)[-count:]
        return [container[key] for key in keys]
    if isinstance(container, set):
        return list(container)[:count]
    return [container[-index] for index in range(1, min(count, len(container)) + 1)]


def entry_bytes(container: Any) -> float:
    """Bytes that one more entry costs: what the newest ones hold and the others do not share."""
    entries = newest_entries(container, 9)
    seen: set[int] = set()
    for entry in entries[4:]:
        deep_bytes(entry, seen)  # what all of them share
    measured = [deep_bytes(entry, seen) for entry in entries[:4]]
    keys = 40.0 if isinstance(container, dict | set) else 8.0
    return sum(measured) / max(1, len(measured)) + keys


def heaviest_part(entry: Any) -> list[Any]:
    """The path from an entry to the one object in it that makes up most of it: ``row``, ``row['masks']``."""
    path = [entry]
    while len(path) < 6 and not hasattr(type(path[-1]), "__array_interface__"):
        each = path[-1]
        if isinstance(each, str | bytes | bytearray | torch.Tensor):
            break
        parts = list(each.values()) if isinstance(each, dict) else list(_parts(each))
        if len(parts) == 1 and type(parts[0]) is dict and not isinstance(each, list | tuple | set):
            parts = list(parts[0].values())  # an object's attributes
        weights = [deep_bytes(part, set(), 2000) for part in parts[:64]]
        if not weights or max(weights) < 512 or max(weights) <= 0.5 * sum(weights):
            break
        path.append(parts[weights.index(max(weights))])
    return path


def deep_bytes(value: Any, seen: set[int], most: int = 20_000) -> int:
    """Bytes of an object and of what it alone refers to; modules, classes and functions do not count."""
    total, stack = 0, [value]
    while stack and most > 0:
        each = stack.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, (_ATOMS, torch.nn.Module)):
            total += 24 if type(each) in (float, int) else 0
            continue
        most -= 1
        if issubclass(type(each), torch.Tensor):
            total += _tensor_bytes(each, seen)
            continue
        total += sys.getsizeof(each, 64) + _native_bytes(each)
        if hasattr(type(each), "__array_interface__") or type(each).__module__ == "numpy":
            base = getattr(each, "base", None)
            if base is not None:
                stack.append(base)
        stack += _parts(each)
    return total


def _native_bytes(each: Any) -> int:
    """Bytes that Python does not count: the pixels of a PIL image, the text of a StringIO."""
    if type(each) is io.StringIO:
        return 0 if each.closed else each.tell()
    if str(type(each).__module__).startswith("PIL.") and hasattr(type(each), "getbands"):
        width, height = each.size
        return int(width * height * len(each.getbands()))
    return 0


def _parts(each: Any) -> Iterable[Any]:
    if isinstance(each, dict):
        return [*each.keys(), *each.values()]
    if isinstance(each, str | bytes | bytearray):
        return ()
    if isinstance(each, types.FunctionType):
        return each.__closure__ or ()
    return [part for part in gc.get_referents(each) if not isinstance(part, types.FrameType)]


def _tensor_bytes(tensor: torch.Tensor, seen: set[int]) -> int:
    storage, key = storage_key(tensor)
    if key in seen:
        return 100
    seen.add(key)
    size = int(storage.nbytes()) if storage is not None else 0
    return size + 600  # the Python object, the tensor and the storage records themselves
