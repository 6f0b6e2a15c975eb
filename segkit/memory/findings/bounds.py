"""Growth that ends by itself: the bound of a container, from the container itself and from the source code."""

import inspect
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from torch.utils.data import Dataset

from segkit.memory.findings.source_bounds import bound_in_source
from segkit.memory.findings.source_objects import Held
from segkit.memory.holders.edges import LRU_CACHE
from segkit.memory.holders.roots import Root, is_user_class
from segkit.memory.measure.user_code import Line


class RunFacts(NamedTuple):
    """What is known of a run, to decide whether growth will end, and to describe what grows.

    Attributes:
        sizes: Sizes of the tensors that the model was given.
        files: The user's source files.
        datasets: Lengths of the datasets that loaders have read.
        lengths: How long containers were some steps ago, by identity.
        steps: How many steps were measured.
        double_backward: The line of a backward pass that keeps its own graph, if there is one.
    """

    sizes: Collection[int] = ()
    files: Collection[str] = ()
    datasets: Collection[int] = ()
    lengths: Mapping[int, int] = MappingProxyType({})
    steps: int = 0
    double_backward: Line | None = None


class Bound(NamedTuple):
    """Why growth will end by itself.

    Attributes:
        entries: After how many entries; None where that is not known.
        reason: Why.
    """

    entries: int | None
    reason: str


def bound_of(root: Root, chain: Sequence[Any], at: int | None, expression: str | None, facts: RunFacts) -> Bound | None:
    """The bound of a container; None where none is seen.

    Args:
        root: The name that the chain begins with.
        chain: The objects from the root to what is held.
        at: Which of them grows, if one does.
        expression: Python for it.
        facts: What is known of the run.
    """
    for each in chain:
        if isinstance(each, LRU_CACHE):
            most = each.cache_parameters()["maxsize"]
            return None if most is None else Bound(most, f"the lru_cache holds at most {most}")
    if at is None:
        return None
    container = chain[at]
    if isinstance(container, deque) and container.maxlen is not None:
        return Bound(container.maxlen, f"the deque holds at most {container.maxlen}")
    if isinstance(container, dict):
        found = _bound_of_keys(container, chain[:at], facts)
        if found is not None:
            return found
    flat = not isinstance(chain[min(at + 1, len(chain) - 1)], list | dict | set | deque)
    if isinstance(container, list) and flat and facts.lengths.get(id(container)) == len(container):
        return Bound(len(container), f"the list has {len(container)} places, and gets no more")
    found_in = bound_in_source(Held(root, chain[: at + 1], expression), facts.files) if expression is not None else None
    if found_in is None:
        return None
    end = f" (at most {found_in.entries:,} entries)" if found_in.entries is not None else ""
    return Bound(found_in.entries, f"{found_in.line} keeps it short{end}")


def _bound_of_keys(container: dict[Any, Any], owners: Sequence[Any], facts: RunFacts) -> Bound | None:
    keys = list(container)
    numbers = [number for key in keys for number in _numbers(key)]
    several = all(isinstance(key, tuple | list) for key in keys)
    may_be_sizes = all(_numbers(key) for key in keys) and (several or not _counts_up(keys))
    seen = any(each in facts.sizes for each in numbers) and all(each in facts.sizes or each < 5 for each in numbers)
    if may_be_sizes and seen:
        return Bound(None, "it is keyed by sizes, and grows only with new ones")
    if all(type(key) is int for key in keys):
        own = [length for owner in owners if (length := _length_of_dataset(owner)) is not None]
        seen_elsewhere = [] if _counts_up(keys) else list(facts.datasets)
        for length in (*own, *seen_elsewhere):
            if all(0 <= key < length for key in keys):
                return Bound(length, f"it is keyed by the dataset's {length} indices")
    return None


def _counts_up(keys: list[Any]) -> bool:
    """Whether the keys count up by one, as a step counter does."""
    return all(type(key) is int for key in keys) and keys == list(range(keys[0], keys[0] + len(keys)))


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
    if not (is_user_class(type(owner)) or isinstance(owner, Dataset)):  # a tensor has a length, too
        return None
    try:
        return len(owner)
    except Exception:  # the user's own
        return None
