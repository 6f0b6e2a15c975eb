"""Containers that grow in the containers that they hold: ``found.setdefault(image_id, []).append(...)``.

Each of the inner ones is short, and gets an entry now and then; the outer one does not grow. Only their sum shows it.
"""

import collections
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from segkit.memory.containers.named_values import NamedValue
from segkit.memory.measure.trend import Track

_OUTER, _INNER = (dict, list), (list, dict, set, collections.deque)
_FEWEST, _MOST = 4, 50_000  # inner containers


@dataclass(slots=True, kw_only=True)
class GrowingContainer(Track):
    """A container that was longer in every census, by itself or with the containers that it holds.

    Attributes:
        container: The object itself.
    """

    container: Any


class NestedContainers:
    """The containers of containers that every census has seen, by identity."""

    def __init__(self) -> None:
        self.by_identity: dict[int, GrowingContainer] = {}

    def take(self, step: int, named: Iterable[NamedValue]) -> None:
        """Note the entries in every container of containers that has a name."""
        seen: dict[int, GrowingContainer] = {}
        for _, value in named:
            if not isinstance(value, _OUTER) or id(value) in seen or not _FEWEST <= len(value) <= _MOST:
                continue
            total = _total(value)
            if total == 0:
                continue
            known = self.by_identity.get(id(value))
            if known is None or total < known.lengths[-1]:
                known = GrowingContainer(container=value)
            known.steps.append(step)
            known.lengths.append(total)
            known.container = value
            seen[id(value)] = known
        self.by_identity = seen

    def steady(self) -> list[GrowingContainer]:
        """Those that have gained entries at every census."""
        return [nested for nested in self.by_identity.values() if nested.container is not None and nested.is_steady()]

    def release(self) -> None:
        """Let go of every container."""
        for nested in self.by_identity.values():
            nested.container = None


def newest_inner_entries(outer: Any) -> list[Any]:
    """The newest entries of a few of the containers that a container holds."""
    parts = list(islice(_parts(outer), 400))[:: max(1, min(400, len(outer)) // 12)]
    return [_newest(part) for part in parts if type(part) in _INNER and len(part) > 0]


def _total(outer: Any) -> int:
    try:
        return sum(len(part) for part in _parts(outer) if type(part) in _INNER)
    except RuntimeError:  # another thread has changed it
        return 0


def _parts(outer: Any) -> Iterable[Any]:
    return outer.values() if isinstance(outer, dict) else outer


def _newest(inner: Any) -> Any:
    if isinstance(inner, dict):
        return next(reversed(inner.values()))
    return next(iter(inner)) if isinstance(inner, set) else inner[-1]
