"""The user's source code, searched for lines that store, join, bound or register under a name."""

import ast
import linecache
import re
from collections.abc import Collection, Iterable
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
    name = last_name(expression)
    if name is None:
        return []
    out = []
    for file in files:
        for node in ast.walk(_parsed(file)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and name.endswith("_hooks"):
                if node.func.attr.startswith("register_") and node.func.attr.endswith("_hook"):
                    out.append(Line(file, node.lineno, ""))
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _STORES:
                if _names(node.func.value, name):
                    out.append(Line(file, node.lineno, ""))
            elif isinstance(node, ast.Call) and _called(node) in _STORES_IN_ARGUMENT:
                out += [Line(file, node.lineno, "") for each in node.args[:2] if _names(each, name)]
            elif isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    stores = isinstance(target, ast.Subscript) and _names(target.value, name)
                    again = _names(target, name) and node.value is not None and _mentions(node.value, name)
                    if stores or again or (isinstance(node, ast.AugAssign) and _names(target, name)):
                        out.append(Line(file, node.lineno, ""))
    return out


def joins_in_source(expression: str, files: Iterable[str]) -> list[Line]:
    """Lines that assign a longer value to the same name: ``kept = np.append(kept, new)``, ``text += line``."""
    name = last_name(expression)
    if name is None:
        return []
    out = []
    for file in files:
        for node in ast.walk(_parsed(file)):
            if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add) and _names(node.target, name):
                out.append(Line(file, node.lineno, ""))
            elif isinstance(node, ast.Assign) and any(_names(target, name) for target in node.targets):
                out += [Line(file, node.lineno, "") for each in ast.walk(node.value) if _joins(each, name)][:1]
    return out


def bounds_in_source(expression: str, files: Iterable[str]) -> Line | None:
    """The line that keeps a container short: ``if len(kept) > 50: kept.pop(0)``, ``kept = kept[-50:]``."""
    name = last_name(expression)
    if name is None:
        return None
    for file in files:
        for node in ast.walk(_parsed(file)):
            if isinstance(node, ast.If | ast.While) and _measures(node.test, name) and _evicts(node.body, name):
                return Line(file, node.lineno, "")
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript):
                cut = node.value
                lower = cut.slice.lower if isinstance(cut.slice, ast.Slice) else None
                if isinstance(lower, ast.UnaryOp) and _names(cut.value, name) and _names(node.targets[0], name):
                    return Line(file, node.lineno, "")
    return None


def assigned_in_source(name: str, files: Iterable[str], attributes: bool = False) -> list[Line]:
    """Lines that assign to a variable or attribute of this name; or to attributes only."""
    out = []
    for file in files:
        for node in ast.walk(_parsed(file)):
            if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                flat = [each for target in targets for each in getattr(target, "elts", [target])]
                if any(_names(each, name) and (not attributes or isinstance(each, ast.Attribute)) for each in flat):
                    out.append(Line(file, node.lineno, ""))
    return out


def calls_in_source(names: Collection[str], files: Iterable[str]) -> list[Line]:
    """Lines that call a function or method of one of these names."""
    return [
        Line(file, node.lineno, "")
        for file in files
        for node in ast.walk(_parsed(file))
        if isinstance(node, ast.Call) and _called(node) in names
    ]


def within_one_function(one: Line, other: Line) -> bool:
    """Whether two lines are in the same innermost function."""
    return one.file == other.file and function_around(one) == function_around(other)


def function_around(line: Line) -> tuple[int, int] | None:
    """The first and last line of the innermost function that a line is in; None at a module's level."""
    spans = [
        (node.lineno, node.end_lineno or node.lineno)
        for node in ast.walk(_parsed(line.file))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    around = [span for span in spans if span[0] <= line.number <= span[1]]
    return max(around, default=None)


def last_name(expression: str) -> str | None:
    """The variable or attribute that a person would name for an expression: ``history['loss']`` -> ``history``."""
    expression = re.sub(r"inspect\.getclosurevars\(.*\)\.nonlocals\['(\w+)'\]", r" \1 ", expression)
    expression = re.sub(r"next\(o for .*? == '(\w+)'\)", r" \1 ", expression)
    bare = re.sub(r"\.get\(\)|\[[^\]]*\]|\.cell_contents|\.values\(\)|\.gi_frame|\.f_locals|[()]", " ", expression)
    names = [name for name in re.findall(r"[A-Za-z_]\w*", bare) if name not in ("list", "gc", "get_referents")]
    names = [name for name in names if not (name.startswith("__") and name.endswith("__"))]
    return names[-1] if names else None


def _parsed(file: str) -> ast.AST:
    known = _TREES.get(file)
    if known is None:
        try:
            known = ast.parse("".join(linecache.getlines(file)) or Path(file).read_text(encoding="utf-8"))
        except (OSError, SyntaxError, ValueError):
            known = ast.Module([], [])
        _TREES[file] = known
    return known


_TREES: dict[str, ast.AST] = {}


def _called(node: ast.Call) -> str:
    """The name of a function or method that is called."""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


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
        return _called(node) in _JOINS and _mentions(node, name)
    return isinstance(node, ast.Subscript) and getattr(node.value, "attr", "") in ("r_", "c_") and _mentions(node, name)


def _measures(test: ast.AST, name: str) -> bool:
    return any(
        isinstance(each, ast.Call)
        and isinstance(each.func, ast.Name)
        and each.func.id == "len"
        and bool(each.args)
        and _names(each.args[0], name)
        for each in ast.walk(test)
    )


def _evicts(body: list[ast.stmt], name: str) -> bool:
    for node in (each for statement in body for each in ast.walk(statement)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr in ("pop", "popleft", "clear", "popitem") and _names(node.func.value, name):
                return True
        elif (isinstance(node, ast.Delete) and any(_names(target, name) for target in node.targets)) or (
            isinstance(node, ast.Assign) and any(_names(target, name) for target in node.targets)
        ):
            return True
    return False
