"""Growth that ends by itself: the bound of a container, read from the container and from the source."""

import functools
import inspect
from collections.abc import Collection, Iterable
from typing import Any

from segkit.memory.census import is_bounded
from segkit.memory.storing import bounds_in_source

_LRU = type(functools.lru_cache(lambda: 0))


def bound_of(
    chain: Iterable[Any], container: Any, expression: str | None, sizes: Collection[int], files: Iterable[str]
) -> tuple[int | None, str] | None:
    """The most entries that a container will have (None: a number that is not known), and why; None: no bound is seen.

    Args:
        chain: The objects from the root to what is held.
        container: What grows.
        expression: Python for it.
        sizes: Sizes of the tensors that the model was given.
        files: The user's source files.
    """
    for each in chain:
        if isinstance(each, _LRU):
            most = each.cache_parameters()["maxsize"]
            return None if most is None else (most, f"the lru_cache holds at most {most}")
    if container is None:
        return None
    length = is_bounded(container)
    if length is not None:
        return length, f"the deque holds at most {length}"
    if isinstance(container, dict):
        found = _bound_of_keys(container, chain, sizes)
        if found is not None:
            return found
    if expression is not None:
        line = bounds_in_source(expression, files)
        if line is not None:
            return None, f"{line} keeps it short"
    return None


def _bound_of_keys(
    container: dict[Any, Any], chain: Iterable[Any], sizes: Collection[int]
) -> tuple[int | None, str] | None:
    keys = list(container)
    numbers = [number for key in keys for number in _numbers(key)]
    several = all(isinstance(key, tuple | list) for key in keys)
    may_be_sizes = all(_numbers(key) for key in keys) and (several or not _counts_up(keys))
    seen = any(number in sizes for number in numbers) and all(number in sizes or number < 5 for number in numbers)
    if may_be_sizes and seen:
        return None, "it is keyed by sizes, and grows only with new ones"
    if all(type(key) is int for key in keys):
        for owner in chain:
            length = _length_of_dataset(owner)
            if length is not None and all(0 <= key < length for key in keys):
                return length, f"it is keyed by the dataset's {length} indices"
    return None


def _counts_up(keys: list[Any]) -> bool:
    """Whether the keys are those of a counter: one a step."""
    return all(type(key) is int for key in keys) and sorted(keys) == list(range(min(keys), min(keys) + len(keys)))


def _numbers(key: Any) -> list[int]:
    """The integers that a key is made of; none where it is made of anything else."""
    if type(key) is int:
        return [key]
    if isinstance(key, tuple | list):
        parts = [_numbers(each) for each in key if not _is_a_name(each)]
        return [number for part in parts for number in part] if all(parts) else []
    return []


def _is_a_name(value: Any) -> bool:
    return isinstance(value, str) or type(value).__module__ == "torch"  # "cpu", torch.float32, device("cpu")


def _length_of_dataset(owner: Any) -> int | None:
    if not hasattr(type(owner), "__getitem__") or not hasattr(type(owner), "__len__") or inspect.isclass(owner):
        return None
    if isinstance(owner, dict | list | tuple | set):
        return None
    try:
        return len(owner)
    except Exception:  # the user's own
        return None
