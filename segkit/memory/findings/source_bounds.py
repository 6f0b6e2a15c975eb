"""Bounds and ends of a container that the user's source shows, for the very container and no other of the same name.

Three ways are known: entries are removed when there are too many (``if len(kept) > 50: kept.pop(0)``), the container is
cut (``kept = kept[-50:]``), or it gets longer only while it is short (``if len(data) < capacity: data.append(None)``, a
ring buffer). The limit is evaluated: what is longer already, or would not fit, has no bound.
"""

import ast
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from segkit.memory.findings.source_conditions import may_run
from segkit.memory.findings.source_lines import called, last_name, mentioning, parsed, targets_of
from segkit.memory.findings.source_objects import Held, Place, evaluate, is_container, walk
from segkit.memory.measure.user_code import Line

_GROWS = ("append", "appendleft", "extend", "insert", "add", "put")
_SHORTENS = ("pop", "popleft", "clear", "popitem", "remove")
_PASSED = 1.1  # a container that is longer than its limit by more than this share has none


@dataclass(frozen=True, slots=True)
class SourceBound:
    """The line that keeps a container short, and the limit; None where it has no value that is known."""

    line: Line
    entries: int | None


def bound_in_source(held: Held, files: Collection[str]) -> SourceBound | None:
    """The bound of a container in the user's files; None where none is seen."""
    name = last_name(held.expression)
    if name is None:
        return None
    nodes = list(walk(mentioning(files, name)))
    running = [its.functions[-1] for node, its in nodes if its.functions and _grows(node, its, name, held)]
    guarded: list[SourceBound] = []  # by limits below which the container gets longer
    for node, place in nodes:
        limit = _limit_of(node, place, name, held)
        if limit is None:
            continue
        entries = _value(limit, place, held)
        if entries is not None and len(held.container) > _PASSED * max(entries, 10):
            continue
        if not may_run(node, place, held, files, running):
            continue
        bound = SourceBound(Line(place.file, getattr(node, "lineno", 0), ""), entries)
        if _is_shortening(node, place, name, held):
            return bound
        guarded.append(bound)
    return guarded[0] if guarded and _all_guarded(nodes, name, held) else None


def emptied_in_source(held: Held, files: Collection[str]) -> Line | None:
    """The line that empties a container, or replaces it by a new one, again and again: at the end of an epoch.

    A variable that is bound once, before all loops, is not emptied: neither by a module nor by a function that no loop
    calls, nor by ``__init__``.
    """
    name = last_name(held.expression)
    for node, place in walk(mentioning(files, name)) if name is not None else ():
        if _empties(node, place, str(name), held) and _runs_again(node, place, files):
            return Line(place.file, getattr(node, "lineno", 0), "")
    return None


def _empties(node: ast.AST, place: Place, name: str, held: Held) -> bool:
    if isinstance(node, ast.Call) and called(node) == "clear" and isinstance(node.func, ast.Attribute):
        return is_container(node.func.value, place, name, held)
    if not isinstance(node, ast.Assign | ast.AnnAssign):
        return False
    flat = [each for target in targets_of(node) for each in getattr(target, "elts", [target])]
    uses = node.value is not None and any(is_container(each, place, name, held) for each in ast.walk(node.value))
    return not uses and any(is_container(each, place, name, held) for each in flat)


def _runs_again(node: ast.AST, place: Place, files: Collection[str]) -> bool:
    """Whether a statement is in a loop, or in a function that a loop or another function's loop calls."""
    if _is_in_loop(node, [each for each, _ in walk([place.file])]):
        return True
    function = place.functions[-1].name if place.functions else "__init__"
    if function == "__init__":
        return False
    nodes = list(walk(mentioning(files, function)))
    calls = [(each, where) for each, where in nodes if called(each) == function]
    if place.classes:  # a method that is called from outside, or by other methods: reset, on_epoch_start
        return any((where.functions and where.functions[-1].name != "__init__") or not where.functions
                   for _, where in calls) or not calls  # fmt: skip
    return any(_is_in_loop(each, [other for other, its in nodes if its.file == where.file]) for each, where in calls)


def _is_in_loop(node: ast.AST, nodes: list[ast.AST]) -> bool:
    loops = [each for each in nodes if isinstance(each, ast.For | ast.While | ast.AsyncFor)]
    return any(node is each for loop in loops for each in _below(loop.body))


def _limit_of(node: ast.AST, place: Place, name: str, held: Held) -> ast.expr | None:
    """The expression of the limit that a statement keeps the container to; None where it does no such thing."""
    if isinstance(node, ast.If | ast.While):
        for compared in [each for each in ast.walk(node.test) if isinstance(each, ast.Compare)]:
            limit = _limit_of_comparison(compared, node, place, name, held)
            if limit is not None:
                return limit
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript):
        lower = getattr(node.value.slice, "lower", None)
        same = is_container(node.value.value, place, name, held) and is_container(node.targets[0], place, name, held)
        if isinstance(lower, ast.UnaryOp) and same:
            return lower.operand
    if isinstance(node, ast.Assign | ast.AugAssign) and isinstance(held.container, dict):
        for target in targets_of(node):
            if isinstance(target, ast.Subscript) and is_container(target.value, place, name, held):
                return _modulus(target.slice, place)
    return None


def _limit_of_comparison(
    compared: ast.Compare, node: ast.If | ast.While, place: Place, name: str, held: Held
) -> ast.expr | None:
    """The limit in ``len(kept) > limit`` with a removal below, or in ``len(kept) < limit`` with a store below."""
    if len(compared.comparators) != 1:
        return None
    left, right, operator = compared.left, compared.comparators[0], compared.ops[0]
    upwards = isinstance(operator, ast.Gt | ast.GtE | ast.Eq)
    if _measures(right, place, name, held):
        left, right, upwards = right, left, isinstance(operator, ast.Lt | ast.LtE | ast.Eq)
    if _measures(left, place, name, held):
        if upwards and any(_removes(each, place, name, held) for each in _below(node.body)):
            return right
        stores = any(_grows(each, place, name, held) for each in _below(node.body))
        otherwise = any(_removes(each, place, name, held) for each in _below(node.orelse))
        return right if not upwards and (stores or otherwise) else None
    counts = any(isinstance(each, ast.AugAssign) and ast.dump(each.target) == ast.dump(_stored(left))
                 for each in _below(node.body))  # fmt: skip
    stores = any(_grows(each, place, name, held) for each in _below(node.body))
    return right if isinstance(operator, ast.Lt | ast.LtE) and counts and stores else None


def _stored(node: ast.expr) -> ast.expr:
    """The same name or attribute as a target of an assignment."""
    if isinstance(node, ast.Name):
        return ast.Name(node.id, ast.Store())
    return ast.Attribute(node.value, node.attr, ast.Store()) if isinstance(node, ast.Attribute) else node


def _below(body: list[ast.stmt]) -> Iterator[ast.AST]:
    for statement in body:
        yield from ast.walk(statement)


def _measures(node: ast.AST, place: Place, name: str, held: Held) -> bool:
    return called(node) == "len" and bool(node.args) and is_container(node.args[0], place, name, held)  # type: ignore[attr-defined]


def _removes(node: ast.AST, place: Place, name: str, held: Held) -> bool:
    if isinstance(node, ast.Call) and called(node) in _SHORTENS and isinstance(node.func, ast.Attribute):
        return is_container(node.func.value, place, name, held)
    if isinstance(node, ast.Delete):
        return any(
            isinstance(each, ast.Subscript) and is_container(each.value, place, name, held) for each in node.targets
        )
    if isinstance(node, ast.Assign):  # a new container, or a slice of it; to replace one entry removes nothing
        whole = [each.value if isinstance(each, ast.Subscript) and isinstance(each.slice, ast.Slice) else each
                 for each in node.targets]  # fmt: skip
        return any(is_container(each, place, name, held) for each in whole)
    return False


def _grows(node: ast.AST, place: Place, name: str, held: Held) -> bool:
    """Whether a node makes the container longer."""
    if isinstance(node, ast.Call) and called(node) in _GROWS and isinstance(node.func, ast.Attribute):
        return is_container(node.func.value, place, name, held)
    if isinstance(node, ast.AugAssign):
        return is_container(node.target, place, name, held)
    is_dict = isinstance(held.container, dict)
    return is_dict and isinstance(node, ast.Assign) and any(
        isinstance(each, ast.Subscript) and is_container(each.value, place, name, held) for each in node.targets
    )  # fmt: skip


def _is_shortening(node: ast.AST, place: Place, name: str, held: Held) -> bool:
    """Whether a statement that has a limit removes entries; otherwise it only guards a store."""
    if isinstance(node, ast.If | ast.While):
        return any(_removes(each, place, name, held) for each in _below([*node.body, *node.orelse]))
    return isinstance(getattr(node, "value", None), ast.Subscript)


def _all_guarded(nodes: list[tuple[ast.AST, Place]], name: str, held: Held) -> bool:
    """Whether everything that makes the container longer is below a comparison with a limit."""
    safe: set[int] = set()
    for node, place in nodes:
        if isinstance(node, ast.If) and _limit_of(node, place, name, held) is not None:
            safe |= {id(each) for each in _below(node.body) if _grows(each, place, name, held)}
        if isinstance(node, ast.Assign | ast.AugAssign) and _limit_of(node, place, name, held) is not None:
            safe.add(id(node))
    return all(id(node) in safe for node, place in nodes if _grows(node, place, name, held))


def _modulus(key: ast.expr, place: Place) -> ast.expr | None:
    """The modulus of a key such as ``step % 50``, or of the assignment to a key such as ``self.position``."""
    if isinstance(key, ast.BinOp) and isinstance(key.op, ast.Mod):
        return key.right
    around = place.classes[-1:] or place.functions[-1:] or (parsed(place.file),)
    for node in ast.walk(around[0]):
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.BinOp):
            continue
        assigned = any(ast.dump(each) == ast.dump(_stored(key)) for each in node.targets)
        if assigned and isinstance(node.value.op, ast.Mod):
            return node.value.right
    return None


def _value(limit: ast.expr, place: Place, held: Held) -> int | None:
    value = evaluate(limit, place, held)
    return int(value) if type(value) in (int, float) and 0 < value < sys.maxsize else None
