"""What holds an object: the chain of references from a name in the user's code to it.

A breadth-first search against the direction of references, with ``gc.get_referrers``, for many objects at once: each
level costs one pass over the heap. It ends at the names of ``roots``.
"""

import gc
import inspect
import sys
import types
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from segkit.memory.holders.edges import expressions_along, readable
from segkit.memory.holders.referrers import referrers_of
from segkit.memory.holders.roots import (
    Root,
    class_root,
    first_unnamed,
    global_root,
    is_user_class,
    iterator_root,
    namespace_of,
    running_locals,
    unnamed_root,
)  # fmt: skip
from segkit.memory.holders.users_words import users_root
from segkit.memory.measure.budget import Deadline
from segkit.memory.measure.heap import objects_of
from segkit.memory.measure.user_code import is_own_file, is_own_object

_LEVELS, _FRONTIER, _SECONDS = 24, 3000, 1.5


@dataclass(frozen=True, slots=True)
class ReferenceChain:
    """The chain of references that keeps an object alive.

    Attributes:
        expression: Python for the object.
        scope: Where that expression is valid.
        kind: That of the root.
        objects: The objects from the root to the kept one, both included.
        expressions: Python for each of them.
        container: Index in the chain of what holds several of the objects: what grows. None: there is no such thing.
        verified: Whether the expression was evaluated and gave this very object.
        path: Python for the object from a name that reaches all of the chain; ``expression`` may begin later in it.
    """

    expression: str
    scope: str
    kind: str
    objects: tuple[Any, ...]
    expressions: tuple[str, ...]
    container: int | None
    verified: bool
    path: str

    @property
    def root(self) -> Root:
        """The name that the chain begins with."""
        return Root(self.expressions[0], self.scope, self.kind, 0)

    @property
    def is_transient(self) -> bool:
        """Whether the object is only passing through a library's function."""
        return self.kind == "local" and self.container is None and "/torch/" in self.scope


def find_holders(
    targets: Sequence[object],
    groups: Sequence[int],
    ignored: Iterable[object] = (),
    *,
    unnamed: bool = False,
    deadline: Deadline | None = None,
) -> list[ReferenceChain | None]:
    """The chain from the best known name to each object; None where no Python name reaches it.

    Args:
        targets: The objects.
        groups: A number for each: what holds several of one number is a container that grows.
        ignored: The tool's own objects that refer to them.
        unnamed: Where no name reaches an object, begin with the nearest object of a class of the user's: what a
            ``for`` loop iterates over has no name.
        deadline: When to end; by default after one and a half seconds.
    """
    search, deadline = _Search(targets, groups, ignored), deadline or Deadline(_SECONDS)
    try:
        search.run(deadline)
        if unnamed and not deadline.is_over:  # else there may be a name
            search.begin_with_instances()
        return [search.chain_to(index) for index in range(len(targets))]
    finally:
        search.clear()


class _Search:
    """The state of a search.

    Attributes:
        objects: What was reached, by identity.
        reach: The targets that each of them keeps, by its identity.
        nearer: What each of them refers to, one level nearer to a target, by its identity and the target.
        distance: How many references it is from there to the target.
        holders: What refers to each of them.
        found: By target: the level, the root, and the identity of the object that the root names.
        named: The best root of each object that has one, and the level at which it was found.
        tasks: Tasks and futures of asyncio, which ``gc.get_referrers`` may not see.
        first: By root without a name: whether its expression gives the object that was found.
        skip: Identities of the tool's own objects.
    """

    def __init__(self, targets: Sequence[object], groups: Sequence[int], ignored: Iterable[object]) -> None:
        self.targets, self.groups = list(targets), list(groups)
        self.objects: dict[int, Any] = {id(target): target for target in self.targets}
        self.reach: dict[int, set[int]] = {}
        for index, target in enumerate(self.targets):
            self.reach.setdefault(id(target), set()).add(index)
        self.nearer: dict[tuple[int, int], int] = {}
        self.distance: dict[tuple[int, int], int] = {}
        self.holders: dict[int, list[int]] = {}
        self.named: dict[int, tuple[int, Root]] = {}
        self.found: dict[int, tuple[int, Root, int]] = {}
        self.first: dict[Root, bool] = {}
        self.modules = {id(vars(m)): m for m in list(sys.modules.values()) if isinstance(m, types.ModuleType)}
        self.locals = running_locals()
        # Until Python 3.12 gc.get_referrers passes over them: their traversal ends too early.
        self.tasks = objects_of(lambda kind: kind.__module__ == "_asyncio") if sys.version_info < (3, 12) else []
        self.skip = {id(each) for each in ignored} | {id(x) for x in vars(self).values()} | {id(vars(self)), id(self)}
        self.skip.add(id(targets))

    def run(self, deadline: Deadline) -> None:
        """Go outwards, level by level, until every target has a good name."""
        frontier: list[Any] = list(self.objects.values())
        for level in range(_LEVELS):
            self.skip.add(id(frontier))
            for each in frontier:
                for root in self.locals.get(id(each), ()):
                    self._note_root(level, root, each)
            if self._is_settled(level) or deadline.is_over:
                return
            frontier = self._next_level(level, frontier)[:_FRONTIER]
            if not frontier:
                return

    def _next_level(self, level: int, frontier: list[Any]) -> list[Any]:
        """What refers to the objects of a level; global variables and classes are noted as roots."""
        following: list[Any] = []
        ids = {id(each) for each in frontier}
        # A class is held by every instance: where it has a name, that is the end.
        asked = [each for each in frontier if not issubclass(type(each), type) or not self._is_named(level, each)]
        self.skip |= {id(following), id(ids), id(asked)}
        referrers = referrers_of(asked) + [
            task for task in self.tasks if any(id(child) in ids for child in gc.get_referents(task))
        ]
        self.skip.add(id(referrers))
        for holder in referrers:
            key = id(holder)
            if key in self.skip or self._is_own(holder):
                continue
            module = self.modules.get(key)
            if module is not None:
                for name, value in list(holder.items()):
                    if id(value) in ids:
                        self._note_root(level, global_root(module, name), value)
            elif self._add(level, holder, ids):
                following.append(holder)
        return following

    def _add(self, level: int, holder: Any, ids: set[int]) -> bool:
        """Note a holder of some objects; whether it holds any, and was not known before."""
        children = [id(each) for each in gc.get_referents(holder) if id(each) in ids]
        if type(holder) is types.FrameType and not children:
            children = [id(each) for each in holder.f_locals.values() if id(each) in ids]
        if not children:
            return False
        is_new = id(holder) not in self.objects
        self.objects[id(holder)] = holder
        for child in children:
            self.holders.setdefault(child, []).append(id(holder))
            self._extend(level, id(holder), child)
        return is_new

    def _extend(self, level: int, holder: int, child: int) -> None:
        """Note that an object keeps what another one keeps, and so does all that is known to hold it.

        In a chain of records, each of which refers to the one before, the way from an older target ends where that from
        a newer one began.
        """
        changed = [(holder, child)]
        while changed:
            holder, child = changed.pop()
            reached = self.reach.setdefault(holder, set())
            new = self.reach[child] - reached
            if not new:
                continue
            reached |= new
            for target in new:
                self.nearer[holder, target] = child
                self.distance[holder, target] = self.distance.get((child, target), 0) + 1
            if holder in self.named:
                at, root = self.named[holder]
                self._note_targets(max(level, at), root, holder, new)
            changed += [(outer, holder) for outer in self.holders.get(holder, ())]

    def _is_own(self, holder: Any) -> bool:
        if type(holder) is types.FrameType:
            return is_own_file(holder.f_code.co_filename)
        return is_own_object(holder)

    def _is_named(self, level: int, kind: type) -> bool:
        root = class_root(kind)
        if root is not None:
            self._note_root(level, root, kind)
        return root is not None

    def _note_root(self, level: int, root: Root, named: Any) -> None:
        known_root = self.named.get(id(named))
        if known_root is None or root.rank < known_root[1].rank:
            self.named[id(named)] = (level, root)
        self._note_targets(level, root, id(named), self.reach[id(named)])

    def _note_targets(self, level: int, root: Root, named: int, targets: Iterable[int]) -> None:
        for target in targets:
            known = self.found.get(target)
            if known is None or (root.rank, level) < (known[1].rank, known[0]):
                self.found[target] = (level, root, named)

    def begin_with_instances(self) -> None:
        """For targets that no name reaches, begin with the nearest object of a class of the user's, or an iterator."""
        left = set(range(len(self.targets))) - self.found.keys()
        nearest: dict[int, tuple[int, Root, int]] = {}
        for key, reached in self.reach.items():
            if left.isdisjoint(reached):
                continue
            holder = self.objects[key]
            root = unnamed_root(holder) if is_user_class(type(holder)) else iterator_root(holder)
            if root is None:
                continue
            for target in left & reached:
                distance = self.distance.get((key, target), 0)
                if target not in nearest or distance < nearest[target][0]:
                    nearest[target] = (distance, root, key)
        self.found.update({target: (0, root, key) for target, (_, root, key) in nearest.items()})

    def _is_settled(self, level: int) -> bool:
        """Whether no better name is to be expected."""
        if len(self.found) < len(self.targets):
            return False
        more = {2: 2, 3: 5, 4: 5}  # levels in which the user's code may still have a name for what a library calls self
        return all(root.rank <= 1 or level >= at + more.get(root.rank, 2) for at, root, _ in self.found.values())

    def chain_to(self, target: int) -> ReferenceChain | None:
        """The chain from the best root to a target."""
        if target not in self.found:
            return None
        _, root, key = self.found[target]
        chain = [self.objects[key]]
        while id(self.targets[target]) != key:
            key = self.nearer[key, target]
            chain.append(self.objects[key])
        expressions = tuple(readable(each) for each in expressions_along(root.expression, chain))
        group = {index for index, each in enumerate(self.groups) if each == self.groups[target]}
        counts = [len(self.reach[id(each)] & group) for each in chain]
        shared = [
            index for index, each in enumerate(chain[:-1])
            if counts[index] > max(1, counts[index + 1]) and hasattr(type(each), "__len__")
        ]  # fmt: skip
        container = shared[-1] if shared else None
        path, at = expressions[-1], 0
        nearer = users_root(root, chain, expressions, container) if container is not None else None
        if nearer is not None:
            root, at = nearer
            words = tuple(readable(each) for each in expressions_along(root.expression, chain[at:]))
            expressions = (root.expression,) * at + words
        verified = self._evaluates(expressions[-1], root, chain[at], self.targets[target])
        return ReferenceChain(
            expressions[-1], root.scope, root.kind, tuple(chain), expressions, container, verified, path
        )

    def _evaluates(self, expression: str, root: Root, value: Any, target: object) -> bool:
        """Whether an expression gives the target; a root without a name is searched for in the heap once."""
        if root.kind != "unnamed":
            return _gives(expression, namespace_of(root, value), target)
        if root not in self.first:
            self.first[root] = first_unnamed(value) is value
        inner = expression.replace(root.expression, "unnamed", 1)
        return self.first[root] and _gives(inner, {"unnamed": value}, target)

    def clear(self) -> None:
        """Let go of every object."""
        for each in (
            self.objects,
            self.targets,
            self.nearer,
            self.holders,
            self.reach,
            self.found,
            self.locals,
            self.tasks,
        ):
            each.clear()


def _gives(expression: str, namespace: dict[str, Any], target: object) -> bool:
    try:
        return eval(expression, {"gc": gc, "inspect": inspect, **namespace}) is target
    except Exception:
        return False
