"""Who holds an object: from it, against the direction of references, to a name in the user's code.

A breadth-first search with ``gc.get_referrers``, for many objects at once (each level costs one pass over the heap).
It ends at module globals, at classes, and at the local variables of running functions, which the garbage collector does
not see (since Python 3.11): they are looked up in every frame of every thread.
"""

import contextvars
import gc
import inspect
import itertools
import sys
import time
import types
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from segkit.memory.holders.edges import closure_variable, edge, readable
from segkit.memory.holders.frames import Root, running_locals, running_variables
from segkit.memory.measure.user_code import USER_CODE

_LEVELS, _FRONTIER, _SECONDS = 24, 3000, 1.5


@dataclass(frozen=True, slots=True)
class Holding:
    """One object, and the chain that keeps it alive.

    Attributes:
        expression: Python for the object.
        scope: Where that expression is valid.
        kind: Of the root.
        chain: The objects from the root to the object, both included.
        expressions: Python for each of them.
        container: Index in the chain of what holds several of the objects: what grows. None: there is no such thing.
        verified: Whether the expression was evaluated and gave this very object.
    """

    expression: str
    scope: str
    kind: str
    chain: tuple[Any, ...]
    expressions: tuple[str, ...]
    container: int | None
    verified: bool


def find_holders(
    targets: Sequence[object], groups: Sequence[int], ignored: Iterable[object] = (), *, nameless: bool = False
) -> list[Holding | None]:
    """The best known holder of each object; None where no Python name reaches it.

    Args:
        targets: The objects.
        groups: A number for each: what holds several of one number is a container that grows.
        ignored: Objects of the tool's own that refer to them.
        nameless: Where no name reaches an object, begin with the nearest object of a class of the user's: what a
            ``for`` loop iterates over has no name.
    """
    search = _Search(targets, groups, ignored)
    try:
        search.run()
        if nameless:
            search.begin_with_instances()
        return [search.holding(index) for index in range(len(targets))]
    finally:
        search.clear()


class _Search:
    def __init__(self, targets: Sequence[object], groups: Sequence[int], ignored: Iterable[object]) -> None:
        self.targets, self.groups = list(targets), list(groups)
        self.objects: dict[int, Any] = {id(target): target for target in self.targets}
        self.reach: dict[int, set[int]] = {}
        for index, target in enumerate(self.targets):
            self.reach.setdefault(id(target), set()).add(index)
        self.kids: dict[int, list[int]] = {}
        self.found: dict[int, tuple[int, Root, int]] = {}  # target -> level, root, the object that the root names
        self.modules = {id(vars(m)): m for m in list(sys.modules.values()) if isinstance(m, types.ModuleType)}
        self.locals = running_locals()
        self.skip = {id(each) for each in ignored} | {id(x) for x in vars(self).values()} | {id(vars(self)), id(self)}
        self.skip.add(id(targets))

    def run(self) -> None:
        deadline = time.thread_time() + _SECONDS
        frontier: list[Any] = list(self.objects.values())
        for level in range(_LEVELS):
            self.skip.add(id(frontier))
            for each in frontier:
                for root in self.locals.get(id(each), ()):
                    self._reached(level, root, each)
            if self._settled(level) or time.thread_time() > deadline:
                return
            frontier = self._holders_of(level, frontier)[:_FRONTIER]
            if not frontier:
                return

    def _holders_of(self, level: int, frontier: list[Any]) -> list[Any]:
        """Go one level out; names of modules are noted as roots."""
        following: list[Any] = []
        ids = {id(each) for each in frontier}
        # A class is held by every instance: where it has a name, that is the end.
        asked = [each for each in frontier if not issubclass(type(each), type)]
        asked += [each for each in frontier if issubclass(type(each), type) and not self._class_named(level, each)]
        self.skip |= {id(following), id(ids), id(asked)}
        referrers = _referrers(asked)
        referrers += _untracked_referrers([each for each in asked if not gc.is_tracked(each)])
        self.skip.add(id(referrers))
        for holder in referrers:
            key = id(holder)
            if key in self.skip or self._is_ours(holder):
                continue
            module = self.modules.get(key)
            if module is not None:
                self._named_in(level, module, holder, ids)
                continue
            if key in self.objects:
                continue
            kids = [id(each) for each in gc.get_referents(holder) if id(each) in ids]
            if type(holder) is types.FrameType and not kids:
                kids = [id(each) for each in holder.f_locals.values() if id(each) in ids]
            if not kids:
                continue
            self.objects[key], self.kids[key] = holder, kids
            self.reach[key] = set().union(*(self.reach[kid] for kid in kids))
            following.append(holder)
        return following

    def _is_ours(self, holder: Any) -> bool:
        if type(holder) is types.FrameType:
            return "segkit/memory/" in holder.f_code.co_filename
        module = type(holder).__module__
        return isinstance(module, str) and module.startswith("segkit.memory")

    def _named_in(self, level: int, module: types.ModuleType, names: dict[str, Any], ids: set[int]) -> None:
        for name, value in list(names.items()):
            if id(value) in ids:
                self._reached(level, _global_root(module, name), value)

    def _class_named(self, level: int, kind: type) -> bool:
        module = sys.modules.get(kind.__module__)
        value: Any = module
        for part in kind.__qualname__.split("."):
            value = getattr(value, part, None) if part != "<locals>" else None
        if module is None or value is not kind:
            return False
        root = _global_root(module, kind.__qualname__)
        self._reached(level, root._replace(kind="class"), kind)
        return True

    def _reached(self, level: int, root: Root, named: Any) -> None:
        for target in self.reach[id(named)]:
            known = self.found.get(target)
            if known is None or (root.rank, level) < (known[1].rank, known[0]):
                self.found[target] = (level, root, id(named))

    def begin_with_instances(self) -> None:
        """Give what has no name the class of its holder for a name."""
        for target in range(len(self.targets)):
            if target in self.found:
                continue
            for key, reached in self.reach.items():  # in the order of distance
                holder = self.objects[key]
                if target in reached and is_users(type(holder)):
                    name = type(holder).__name__
                    expression = f"next(o for o in gc.get_objects() if type(o).__name__ == {name!r})"
                    self.found[target] = (0, Root(expression, f"a nameless {name}", "nameless", 2), key)
                    break

    def _settled(self, level: int) -> bool:
        """Whether no better name is to be expected."""
        if len(self.found) < len(self.targets):
            return False
        return all(root.rank <= 1 or level >= at + 2 for at, root, _ in self.found.values())

    def holding(self, target: int) -> Holding | None:
        """The chain from the best root to a target."""
        if target not in self.found:
            return None
        _, root, key = self.found[target]
        chain = [self.objects[key]]
        while key in self.kids and id(self.targets[target]) != key:
            key = next(kid for kid in self.kids[key] if target in self.reach[kid])
            chain.append(self.objects[key])
        expressions = _expressions(root.expression, chain)
        expressions = [readable(each) for each in expressions]
        group = {index for index, each in enumerate(self.groups) if each == self.groups[target]}
        counts = [len(self.reach[id(each)] & group) for each in chain]
        shared = [
            index for index, each in enumerate(chain[:-1])
            if counts[index] > max(1, counts[index + 1]) and hasattr(type(each), "__len__")
        ]  # fmt: skip
        container = shared[-1] if shared else None
        verified = _evaluates(expressions[-1], _namespace(root, chain[0]), self.targets[target])
        return Holding(expressions[-1], root.scope, root.kind, tuple(chain), tuple(expressions), container, verified)

    def clear(self) -> None:
        for each in (self.objects, self.targets, self.kids, self.reach, self.found, self.locals):
            each.clear()


def _referrers(objects: list[Any]) -> list[Any]:
    """What refers to any of them; ``gc.get_referrers`` compares every reference with every one of them."""
    if len(objects) < 300:
        return gc.get_referrers(*objects) if objects else []
    ids = {id(each) for each in objects}
    return [each for each in gc.get_objects() if any(id(kid) in ids for kid in gc.get_referents(each))]


def _untracked_referrers(objects: list[Any]) -> list[Any]:
    """Dicts and tuples that refer to any of them, and that the garbage collector, to which no part matters, leaves out.

    A dict of arrays is such a one, and so may be the attributes of an object.
    """
    if not objects:
        return []
    ids = {id(each) for each in objects}
    out: dict[int, Any] = {}
    variables = [value for _, _, value in running_variables()]  # which are no part of anything
    for parts in itertools.chain([variables], map(gc.get_referents, gc.get_objects())):
        for each in parts:
            if type(each) in (dict, tuple) and id(each) not in out and not gc.is_tracked(each):
                parts_of = each.values() if type(each) is dict else each
                if not ids.isdisjoint(map(id, parts_of)):
                    out[id(each)] = each
    return list(out.values())


def _expressions(root: str, chain: list[Any]) -> list[str]:
    """Python for each object of a chain; what a closure holds is called by its name."""
    out = [root]
    for index, (holder, child) in enumerate(pairwise(chain)):
        named = None
        if isinstance(holder, types.CellType) and index > 0:
            owner = chain[index - 2] if isinstance(chain[index - 1], tuple) and index > 1 else chain[index - 1]
            at = index - 2 if isinstance(chain[index - 1], tuple) and index > 1 else index - 1
            template = closure_variable(owner, holder)
            named = template.format(out[at]) if template is not None else None
        out.append(named or edge(holder, child).format(out[-1]))
    return out


def _evaluates(expression: str, namespace: dict[str, Any], target: object) -> bool:
    try:
        return eval(expression, {"gc": gc, "inspect": inspect, **namespace}) is target
    except Exception:
        return False


def _global_root(module: types.ModuleType, name: str) -> Root:
    file = getattr(module, "__file__", None) or ""
    users = module.__name__ == "__main__" or USER_CODE.owns(file)
    if module.__name__ == "__main__":
        return Root(name, "__main__", "global", 0)
    return Root(f"{module.__name__}.{name}", module.__name__, "global", 1 if users else 4)


def _namespace(root: Root, named: Any) -> dict[str, Any]:
    """What the root's expression needs to be evaluated."""
    if root.kind in ("local", "thread"):
        return {root.expression: named}
    if root.kind == "context":
        return {variable.name: variable for variable in contextvars.copy_context()}
    if root.scope == "__main__":
        return vars(sys.modules["__main__"])
    package = root.expression.partition(".")[0]
    return {package: sys.modules.get(package)}


def is_users(kind: type) -> bool:
    """Whether a class is one of the user's."""
    module = sys.modules.get(str(kind.__module__))
    file = getattr(module, "__file__", None)
    return kind.__module__ == "__main__" or (file is not None and USER_CODE.owns(file))
