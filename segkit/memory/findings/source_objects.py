"""Which object a name in the user's source code means: the container that is searched for, or another of that name."""

import ast
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from segkit.memory.findings.source_lines import parsed
from segkit.memory.holders.roots import Root, running_variables


@dataclass(frozen=True, slots=True)
class Held:
    """The container whose bound is searched for.

    Attributes:
        root: The name that the chain to it begins with.
        chain: The objects from there to the container, both included.
        expression: Python for it.
    """

    root: Root
    chain: Sequence[Any]
    expression: str

    @property
    def container(self) -> Any:
        """The container itself."""
        return self.chain[-1]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node of a source file is: the file, the classes and the functions around it, the innermost last."""

    file: str
    classes: tuple[ast.ClassDef, ...]
    functions: tuple[ast.FunctionDef | ast.AsyncFunctionDef, ...]


def walk(files: Iterable[str]) -> Iterator[tuple[ast.AST, Place]]:
    """All nodes of some source files, each with its place."""
    for file in files:
        yield from _nodes(file)


@cache
def _nodes(file: str) -> list[tuple[ast.AST, Place]]:
    """Those of one file: it is walked through once, and asked about each container that grows."""
    return list(_below(parsed(file), Place(file, (), ())))


def _below(node: ast.AST, place: Place) -> Iterator[tuple[ast.AST, Place]]:
    for child in ast.iter_child_nodes(node):
        yield child, place
        if isinstance(child, ast.ClassDef):
            inner = Place(place.file, (*place.classes, child), place.functions)
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            inner = Place(place.file, place.classes, (*place.functions, child))
        else:
            inner = place
        yield from _below(child, inner)


def is_container(node: ast.AST, place: Place, name: str, held: Held) -> bool:
    """Whether a name or an attribute in the source means the very container."""
    if isinstance(node, ast.Attribute) and node.attr == name:
        return _is_attribute(node.value, place, name, held)
    if isinstance(node, ast.Name) and node.id == name:
        return _is_variable(name, place, held)
    return False


def _is_attribute(base: ast.expr, place: Place, name: str, held: Held) -> bool:
    owner = next((each for each in reversed(held.chain[:-1]) if type(each) is not dict), None)
    own = getattr(owner, "__dict__", {}).get(name) if owner is not None else None
    if own is not held.container and getattr(owner, name, None) is not held.container:
        return False
    is_first = bool(place.functions) and bool(place.functions[-1].args.args)
    if isinstance(base, ast.Name) and is_first and place.classes and base.id == place.functions[-1].args.args[0].arg:
        kinds = owner.__mro__ if isinstance(owner, type) else type(owner).__mro__
        return any(_is_class(kind, place) for kind in kinds)
    found = evaluate(base, place, held)
    return found is owner


def _is_class(kind: type, place: Place) -> bool:
    module = sys.modules.get(kind.__module__)
    return kind.__name__ == place.classes[-1].name and getattr(module, "__file__", None) == place.file


def _is_variable(name: str, place: Place, held: Held) -> bool:
    """Whether a bare name means the container: by the function that it is a variable of, or as a global."""
    around = next((each for each in reversed(place.functions) if _binds(each, name)), None)
    if around is None:
        return _globals(place.file).get(name) is held.container
    if held.root.kind in ("local", "thread") and held.root.expression == name:
        file, _, number = held.root.scope.partition(" in thread ")[0].partition(" at ")[2].rpartition(":")
        return file == place.file and around.lineno <= int(number or 0) <= (around.end_lineno or 0)
    # of a closure, or the default value of an argument
    return f"nonlocals[{name!r}]" in held.expression or f"parameters[{name!r}].default" in held.expression


def _binds(function: ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> bool:
    arguments = function.args
    given = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    if any(each is not None and each.arg == name for each in given):
        return True
    nodes = list(ast.walk(function))
    if any(isinstance(node, ast.Global | ast.Nonlocal) and name in node.names for node in nodes):
        return False
    return any(isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store) for node in nodes)


def _globals(file: str) -> dict[str, Any]:
    module = next((each for each in list(sys.modules.values()) if getattr(each, "__file__", None) == file), None)
    return vars(module) if module is not None else {}


def evaluate(node: ast.expr, place: Place, held: Held) -> Any:
    """The value of a name or of an attribute of one, without running any code; None where it is not known."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Attribute):
        inner = evaluate(node.value, place, held)
        found = getattr(inner, "__dict__", {}).get(node.attr)
        return found if found is not None else getattr(type(inner), "__dict__", {}).get(node.attr)
    if not isinstance(node, ast.Name):
        return None
    first = place.functions[-1].args.args[0].arg if place.functions and place.functions[-1].args.args else None
    if place.classes and node.id == first:
        owners = [each for each in held.chain[:-1] if any(_is_class(kind, place) for kind in type(each).__mro__)]
        return owners[-1] if owners else None
    if place.functions and _binds(place.functions[-1], node.id):
        at = f"{place.file}:{place.functions[-1].lineno}"
        known = [value for where, name, value in running_variables() if name == node.id and where == at]
        defaults = _defaults(place.functions[-1]).get(node.id)
        return known[-1] if known else defaults
    return _globals(place.file).get(node.id)


def _defaults(function: ast.FunctionDef | ast.AsyncFunctionDef) -> dict[str, Any]:
    named = function.args.args[len(function.args.args) - len(function.args.defaults) :]
    return {each.arg: value.value for each, value in zip(named, function.args.defaults, strict=True)
            if isinstance(value, ast.Constant)}  # fmt: skip
