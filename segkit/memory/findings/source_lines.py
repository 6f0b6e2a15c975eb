"""The user's source code, searched for lines that store, join, bound or register under a name."""

import ast
import linecache
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

from segkit.memory.measure.user_code import Line

_STORES = {
    "add", "append", "appendleft", "extend", "frombytes", "fromlist", "insert", "put", "put_nowait", "register_buffer",
    "set", "setdefault", "update", "write", "writerow", "writestr",
}  # fmt: skip
_STORES_IN_ARGUMENT = {"heappush", "heappushpop", "insort", "insort_left", "insort_right", "save"}
_JOINS = {
    "append", "cat", "column_stack", "concat", "concatenate", "dstack", "hstack", "insert", "join", "pad", "row_stack",
    "union1d", "vstack",
}  # fmt: skip
REGISTERING = {
    "hook cycle": ("register_hook", "register_full_backward_hook", "register_post_accumulate_grad_hook"),
    "held by an extension": ("register", "finalize", "callback"),
}
"""Functions that make native code keep a function, by kind of leak."""


def stores_in_source(expression: str, files: Iterable[str]) -> list[Line]:
    """Lines of the user's files that store under the name that an expression ends in."""
    return list(_lines(files, last_name(expression), _stores))


def joins_in_source(expression: str, files: Iterable[str]) -> list[Line]:
    """Lines that assign a longer value to the same name: ``kept = np.append(kept, new)``, ``text += line``."""
    return list(_lines(files, last_name(expression), _lengthens))


def assigned_in_source(name: str | None, files: Iterable[str], attributes: bool = False) -> list[Line]:
    """Lines that assign to a variable or attribute of this name; or to attributes only."""

    def assigns(node: ast.AST, name: str) -> bool:
        flat = [each for target in targets_of(node) for each in getattr(target, "elts", [target])]
        return any(_names(each, name) and (not attributes or isinstance(each, ast.Attribute)) for each in flat)

    return list(_lines(files, name, assigns))


def registers_in_source(kind: str, files: Iterable[str]) -> Line | None:
    """The first line that calls one of the functions in ``REGISTERING`` for a kind of leak."""
    calls = (
        (file, node)
        for file in files
        if any(function in _text(file) for function in REGISTERING[kind])
        for node in ast.walk(parsed(file))
        if called(node) in REGISTERING[kind]
    )
    return next((Line(file, getattr(node, "lineno", 0), "") for file, node in calls), None)


def calls_in_source(function: str, files: Iterable[str]) -> list[tuple[Line, str]]:
    """Lines that call a function, each with the call as it is written."""
    out = []
    for file in mentioning(files, function):
        calls = [node for node in ast.walk(parsed(file)) if isinstance(node, ast.Call) and called(node) == function]
        out += [(Line(file, node.lineno, ""), ast.unparse(node)) for node in calls]
    return out


def within_one_function(one: Line, other: Line) -> bool:
    """Whether two lines are in the same innermost function."""
    return one.file == other.file and _function_around(one) == _function_around(other)


def _function_around(line: Line) -> tuple[int, int] | None:
    """The first and last line of the innermost function that a line is in; None at a module's level."""
    spans = [
        (node.lineno, node.end_lineno or node.lineno)
        for node in ast.walk(parsed(line.file))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    around = [span for span in spans if span[0] <= line.number <= span[1]]
    return max(around, default=None)


def last_name(expression: str) -> str | None:
    """The variable or attribute that a person would name for an expression: ``history['loss']`` -> ``history``."""
    expression = re.sub(r"inspect\.getclosurevars\(.*\)\.nonlocals\['(\w+)'\]", r" \1 ", expression)
    expression = re.sub(r"inspect\.signature\(.*\)\.parameters\['(\w+)'\]\.default", r" \1 ", expression)
    expression = re.sub(r"next\(o for .*? == '(\w+)'\)", r" \1 ", expression)
    bare = re.sub(r"\.get\(\)|\[[^\]]*\]|\.cell_contents|\.values\(\)|\.gi_frame|\.f_locals|[()]", " ", expression)
    names = [name for name in re.findall(r"[A-Za-z_]\w*", bare) if name not in ("list", "gc", "get_referents")]
    names = [name for name in names if not (name.startswith("__") and name.endswith("__"))]
    return names[-1] if names else None


def _lines(files: Iterable[str], name: str | None, passes: Callable[[ast.AST, str], bool]) -> Iterator[Line]:
    """Lines of some files with a node that passes a test for a name; none where there is no name."""
    for file in mentioning(files, name) if name is not None else ():
        for node in _nodes(file):
            if passes(node, str(name)):
                yield Line(file, getattr(node, "lineno", 0), "")


def mentioning(files: Iterable[str], name: str) -> list[str]:
    """The files whose text has a name; to walk through the others would take long, and find nothing.

    Lines that register hooks do not name the dict that keeps them.
    """
    return [file for file in files if name.endswith("_hooks") or name in _text(file)]


@cache
def _text(file: str) -> str:
    """The text of a source file; empty where it cannot be read."""
    try:
        return "".join(linecache.getlines(file)) or Path(file).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


@cache
def parsed(file: str) -> ast.AST:
    """The syntax tree of a source file; an empty module where it cannot be read."""
    try:
        return ast.parse(_text(file))
    except (SyntaxError, ValueError):
        return ast.Module([], [])


@cache
def _nodes(file: str) -> list[ast.AST]:
    """All nodes of a source file: it is walked through once, and asked about every value that grows."""
    return list(ast.walk(parsed(file)))


def _stores(node: ast.AST, name: str) -> bool:
    if isinstance(node, ast.Call):
        function, method = called(node), node.func if isinstance(node.func, ast.Attribute) else None
        if method is not None and name.endswith("_hooks"):
            return function.startswith("register_") and function.endswith("_hook")
        if method is not None and function in _STORES:
            return _names(method.value, name)
        return function in _STORES_IN_ARGUMENT and any(_names(each, name) for each in node.args[:2])
    if not isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
        return False
    targets = [each for each in targets_of(node) if _names(each, name)]
    if isinstance(node, ast.AugAssign) or any(isinstance(each, ast.Subscript) for each in targets):
        return bool(targets)
    return bool(targets) and node.value is not None and _mentions(node.value, name)


def may_store(line: Line) -> bool:
    """Whether a line stores in anything, as far as its text shows it; True where it has no text."""
    nodes = [node for node in _nodes(line.file) if getattr(node, "lineno", 0) == line.number]
    return not nodes or any(_may_store(node) for node in nodes)


def _may_store(node: ast.AST) -> bool:
    if isinstance(node, ast.AugAssign):
        return True
    if isinstance(node, ast.Call):
        function = called(node)
        return function in _STORES | _STORES_IN_ARGUMENT or function.startswith("register_")
    return any(isinstance(each, ast.Subscript | ast.Attribute) for each in targets_of(node))


def _lengthens(node: ast.AST, name: str) -> bool:
    if isinstance(node, ast.AugAssign):
        return isinstance(node.op, ast.Add) and _names(node.target, name)
    if isinstance(node, ast.Assign) and any(_names(target, name) for target in node.targets):
        return any(_joins(each, name) for each in ast.walk(node.value))
    return False


def targets_of(node: ast.AST) -> list[ast.expr]:
    """What a statement assigns to; nothing where it is no assignment."""
    if isinstance(node, ast.Assign):
        return node.targets
    return [node.target] if isinstance(node, ast.AugAssign | ast.AnnAssign) else []


def called(node: ast.AST) -> str:
    """The name of a function or method that is called; empty where nothing is."""
    function = node.func if isinstance(node, ast.Call) else None
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _names(node: ast.AST, name: str) -> bool:
    while isinstance(node, ast.Subscript):
        node = node.value
    if isinstance(node, ast.Call):
        return _names(node.func.value, name) if isinstance(node.func, ast.Attribute) else False
    return (isinstance(node, ast.Name) and node.id == name) or (isinstance(node, ast.Attribute) and node.attr == name)


def _mentions(node: ast.AST, name: str) -> bool:
    return any(_names(each, name) for each in ast.walk(node))


def _joins(node: ast.AST, name: str) -> bool:
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.Add) and (_names(node.left, name) or _names(node.right, name))
    if isinstance(node, ast.Call):
        return called(node) in _JOINS and _mentions(node, name)
    return isinstance(node, ast.Subscript) and getattr(node.value, "attr", "") in ("r_", "c_") and _mentions(node, name)
