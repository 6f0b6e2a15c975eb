"""Whether a statement of the user's source can run: what is switched off, or is never called, keeps nothing short."""

import ast
from collections.abc import Collection, Iterator

from segkit.memory.findings.source_lines import mentioning
from segkit.memory.findings.source_objects import Held, Place, evaluate, walk


def may_run(node: ast.AST, place: Place, held: Held, files: Collection[str], running: Collection[ast.AST] = ()) -> bool:
    """Whether a statement can run, with what is in its body; True where that is not known.

    It cannot where a condition on the way to it is false now (``if debug:``, ``if TRIM and len(kept) > 50:``), or where
    it is in a function that nothing in the user's files calls; ``running`` are functions that are known to run.
    """
    around = [each for each, _ in walk([place.file]) if isinstance(each, ast.If) and _contains(each.body, node)]
    tests = [each.test for each in (*around, node) if isinstance(each, ast.If | ast.While)]
    off = any(_is_off(each, place, held) for test in tests for each in _needed(test))
    is_known = bool(place.functions) and any(place.functions[-1] is each for each in running)
    return not off and (is_known or _may_be_called(place, files))


def _contains(body: list[ast.stmt], node: ast.AST) -> bool:
    return any(each is node for statement in body for each in ast.walk(statement))


def _needed(test: ast.expr) -> Iterator[ast.expr]:
    """The conditions that all have to hold for a test to hold."""
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        for each in test.values:
            yield from _needed(each)
    else:
        yield test


def _is_off(condition: ast.expr, place: Place, held: Held) -> bool:
    """Whether a condition is the name of something that is false."""
    value = evaluate(condition, place, held)
    return type(value) in (bool, int) and not value


def _may_be_called(place: Place, files: Collection[str]) -> bool:
    """Whether a function may be called: a library calls those of its subclasses, and those that are registered."""
    function = place.functions[-1] if place.functions else None
    if function is None or function.decorator_list or function.name.startswith(("__", "on_")):
        return True
    if place.classes and (place.classes[-1].bases or place.classes[-1].decorator_list):
        return True
    return any(
        function.name == (each.id if isinstance(each, ast.Name) else getattr(each, "attr", None))
        for each, _ in walk(mentioning(files, function.name))
    )
