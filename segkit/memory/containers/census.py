"""Containers that grow from step to step, which a tracker of tensors cannot see.

A census notes the length of every list, dict, set and deque. What is longer in every census than in the one before, at
a steady pace, grows.
"""

import contextlib
import gc
import sys
from typing import Any

from segkit.memory.containers.growing_values import GrowingValues
from segkit.memory.containers.named_values import CONTAINERS, named_values, objects_by_kind, untracked_dicts
from segkit.memory.containers.nested_containers import GrowingContainer, NestedContainers
from segkit.memory.holders.roots import user_modules
from segkit.memory.measure.user_code import is_own_class

_SHORT = 4  # entries; shorter containers are ignored
_MOST = 1000  # containers that are followed: new ones at the places of shorter ones that are gone look like growth, too


class Census:
    """All censuses of a process so far.

    Attributes:
        growing: Containers that were longer at every census, by identity.
        values: Values that are replaced by longer ones.
        nested: Containers that grow in the containers that they hold.
        lengths: How long every container was at the last census, by identity.
    """

    def __init__(self) -> None:
        self.growing: dict[int, GrowingContainer] = {}
        self.lengths: dict[int, int] = {}
        self._before = -1
        self.values, self.nested = GrowingValues(), NestedContainers()

    def take(self, step: int) -> None:
        """Note how long every container is."""
        modules = user_modules()
        objects = objects_by_kind(modules)
        kinds = [kind for kind in objects if issubclass(kind, CONTAINERS) and not is_own_class(kind)]
        containers = [each for kind in kinds for each in objects[kind]]
        named = named_values(objects, modules)
        containers += untracked_dicts(objects, named, modules)
        objects.clear()
        lengths = _lengths(containers)
        before = self.lengths
        longer = {
            key for key, length in lengths.items()
            if length >= _SHORT and length > before.get(key, length) and key not in self.growing
        }  # fmt: skip
        grown = [each for each in containers if id(each) in longer] if longer else []
        self._follow(step)
        self.values.take(step, named)
        self.nested.take(step, named)
        named.clear()
        own = {id(lengths), id(before), id(grown), id(self.growing), id(containers), id(gc.garbage)}
        for each in grown:
            if id(each) not in own and len(self.growing) < _MOST:
                self.growing[id(each)] = GrowingContainer(
                    container=each, steps=[self._before, step], lengths=[before[id(each)], len(each)]
                )
        self.lengths, self._before = lengths, step

    def release(self) -> None:
        """Let go of containers that nothing else holds any more; to be called at every step."""
        for key, growing in list(self.growing.items()):
            if sys.getrefcount(growing.container) <= 2:  # by the record, and by this call
                del self.growing[key]

    def _follow(self, step: int) -> None:
        """Note the lengths of the containers that are followed; drop those that do not grow any more."""
        for key, growing in list(self.growing.items()):
            length = len(growing.container)
            growing.steps.append(step)
            growing.lengths.append(length)
            stalled = length == growing.lengths[-2] == growing.lengths[-3]
            if stalled or length < growing.lengths[-2] or sys.getrefcount(growing.container) <= 2:
                del self.growing[key]

    def steady(self) -> list[GrowingContainer]:
        """Containers that have grown at every census."""
        return [each for each in self.growing.values() if each.is_steady()]


def _lengths(containers: list[Any]) -> dict[int, int]:
    """How long containers are, by identity."""
    try:
        return dict(zip(map(id, containers), map(len, containers), strict=True))
    except Exception:  # a subclass of the user's fails: without those
        lengths: dict[int, int] = {}
        for each in containers:
            with contextlib.suppress(Exception):
                lengths[id(each)] = len(each)
        return lengths
