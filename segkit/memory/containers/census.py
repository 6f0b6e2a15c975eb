"""Containers that grow from step to step, which a tracker of tensors cannot see.

A census notes the length of every list, dict, set and deque. What is longer in every census than in the one before, at
a steady pace, grows.
"""

import collections
import gc
import sys
from dataclasses import dataclass
from typing import Any

from segkit.memory.containers.growing_values import GrowingValues
from segkit.memory.containers.named_values import named_values, objects_by_kind, untracked_dicts
from segkit.memory.containers.nested_containers import NestedContainers
from segkit.memory.measure.trend import Track

_KINDS = (list, dict, set, collections.deque)
_SHORT = 4  # entries; shorter containers are ignored
_MOST = 64  # containers that are followed


@dataclass(slots=True, kw_only=True)
class GrowingContainer(Track):
    """A container that was longer in every census.

    Attributes:
        container: The object itself.
    """

    container: Any


class Census:
    """All censuses of a process so far.

    Attributes:
        growing: Containers that were longer at every census, by identity.
        values: Values that are replaced by longer ones.
        nested: Containers that grow in the containers that they hold.
    """

    def __init__(self) -> None:
        self.growing: dict[int, GrowingContainer] = {}
        self._lengths: dict[int, int] = {}
        self._before = -1
        self.values, self.nested = GrowingValues(), NestedContainers()
        self._subclasses: dict[type, bool] = {}

    def take(self, step: int) -> None:
        """Note how long every container is."""
        objects = objects_by_kind()
        containers = [each for kind, those in objects.items() if self._is_container(kind) for each in those]
        named = named_values(objects)
        containers += untracked_dicts(objects, named)
        objects.clear()
        lengths: dict[int, int] = {}
        for each in containers:
            try:
                lengths[id(each)] = len(each)
            except Exception:  # a subclass of the user's
                continue
        before = self._lengths
        longer = {
            key for key, length in lengths.items()
            if length >= _SHORT and length > before.get(key, length) and key not in self.growing
        }  # fmt: skip
        grown = [each for each in containers if id(each) in longer]
        self._follow(step)
        self.values.take(step, named)
        self.nested.take(step, named)
        named.clear()
        own = {id(lengths), id(before), id(grown), id(self.growing), id(containers), id(gc.garbage)}
        for each in grown:
            if id(each) not in own and len(self.growing) < _MOST:
                was = GrowingContainer(
                    container=each, steps=[self._before, step], lengths=[before[id(each)], len(each)]
                )
                self.growing[id(each)] = was
        self._lengths, self._before = lengths, step

    def length_before(self, identity: int) -> int | None:
        """How long a container was at the last census; None where it was not seen."""
        return self._lengths.get(identity)

    def release(self) -> None:
        """Let go of containers that nothing else holds any more; to be called at every step."""
        for key, growing in list(self.growing.items()):
            if sys.getrefcount(growing.container) <= 2:  # by the record, and by this call
                del self.growing[key]

    def release_values(self) -> None:
        """Let go of the values and of the outer containers that a census has noted."""
        self.values.release()
        self.nested.release()

    def _is_container(self, kind: type) -> bool:
        known = self._subclasses.get(kind)
        if known is None:
            own = str(kind.__module__).startswith("segkit.memory")
            known = self._subclasses[kind] = issubclass(kind, _KINDS) and not own
        return known

    def _follow(self, step: int) -> None:
        """Note the lengths of the containers that are followed; drop those that do not grow any more."""
        for key, growing in list(self.growing.items()):
            length = len(growing.container)
            if length < growing.lengths[-1]:
                growing.emptied = True
            growing.steps.append(step)
            growing.lengths.append(length)
            stalled = length == growing.lengths[-2] == growing.lengths[-3]
            if stalled or growing.emptied or sys.getrefcount(growing.container) <= 2:
                del self.growing[key]

    def steady(self) -> list[GrowingContainer]:
        """Containers that have grown at every census."""
        return [each for each in self.growing.values() if each.is_steady()]
