"""The line that stores into a container: seen while it happens, else looked for in the source.

For a few steps a trace function runs in the user's functions (not in libraries') and looks, at every line, whether the
container has grown. That names the line whatever the container is called there. Where nothing is stored any more, the
source is searched for statements that store under the container's name.
"""

import ast
import inspect
import linecache
import re
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any

from segkit.memory.lines import USER_CODE, Line

_STORES = {
    "append",
    "appendleft",
    "extend",
    "add",
    "insert",
    "update",
    "setdefault",
    "put",
    "put_nowait",
    "register_buffer",
}
_JOINS = {
    "append", "cat", "column_stack", "concat", "concatenate", "dstack", "hstack", "insert", "join", "pad", "row_stack",
    "union1d", "vstack",
}  # fmt: skip
_SECONDS = 20.0  # after which a watch that has seen nothing ends


class StoreWatch:
    """Watches containers for the line that makes them longer.

    Attributes:
        found: The line, by the name that the container was given.
        made: The line that made what was stored, where tracemalloc knows it.
    """

    def __init__(self) -> None:
        self.found: dict[str, Line] = {}
        self.made: dict[str, Line] = {}
        self._watched: dict[str, Any] = {}
        self._lengths: dict[str, int] = {}
        self._newest: dict[str, Callable[[], Any]] = {}
        self._last: Line | None = None
        self._until = 0.0
        self._owns_tracemalloc = False
        self.active = False

    def watch(self, name: str, container: Any, newest: Callable[[], Any] | None = None) -> None:
        """Watch a container from now on; ``newest`` gives what was stored last, to ask where it was made."""
        if name in self.found or name in self._watched:
            return
        self._watched[name], self._lengths[name] = container, len(container)
        if newest is not None:
            self._newest[name] = newest
        self._start()

    def _start(self) -> None:
        self._until = time.monotonic() + _SECONDS
        if self.active or sys.gettrace() is not None:  # a debugger or a coverage tool is at work
            return
        self.active = True
        if self._newest and not tracemalloc.is_tracing():
            tracemalloc.start(12)
            self._owns_tracemalloc = True
        frame: FrameType | None = sys._getframe()
        while frame is not None:
            if USER_CODE.owns(frame.f_code.co_filename) and frame.f_trace is None:
                frame.f_trace = self._in_frame
            frame = frame.f_back
        self._last = None
        sys.settrace(self._on_call)

    def tidy(self) -> None:
        """Between steps: end a watch that has seen what it was for, or waited long enough."""
        if self.active and self._watched and time.monotonic() < self._until:
            return
        self.stop()

    def stop(self) -> None:
        """Watch no more. Not to be called from a trace function, after which Python writes local variables back."""
        if sys.gettrace() == self._on_call:
            sys.settrace(None)
        if self.active:
            frame: FrameType | None = sys._getframe()
            while frame is not None:
                if frame.f_trace == self._in_frame:
                    frame.f_trace = None
                    if sys.version_info < (3, 13) and frame.f_code.co_flags & inspect.CO_OPTIMIZED:
                        frame.f_locals.clear()  # else the copy that tracing made would keep the step's tensors
                frame = frame.f_back
        self.active = False
        if self._owns_tracemalloc:
            tracemalloc.stop()
            self._owns_tracemalloc = False
        self._watched.clear()
        self._newest.clear()

    def _on_call(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not self.active or not USER_CODE.owns(frame.f_code.co_filename):
            return None
        self._look()
        self._last = Line(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
        return self._in_frame

    def _in_frame(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not self.active:
            return None
        self._look()
        if event == "return":
            caller = frame.f_back
            while caller is not None and not USER_CODE.owns(caller.f_code.co_filename):
                caller = caller.f_back
            if caller is not None:
                self._last = Line(caller.f_code.co_filename, caller.f_lineno, caller.f_code.co_name)
        else:
            self._last = Line(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
        return self._in_frame

    def _look(self) -> None:
        """Whether a container has grown since the last line."""
        for name, container in list(self._watched.items()):
            try:
                length = len(container)
            except Exception:
                length = -1
            if length > self._lengths[name] and self._last is not None:
                self.found[name] = self._last
                newest = self._newest.pop(name, None)
                if newest is not None:
                    made = _made_at(newest())
                    if made is not None:
                        self.made[name] = made
                del self._watched[name]
            else:
                self._lengths[name] = length
        if not self._watched:
            sys.settrace(None)  # the rest is done between steps


def _made_at(item: Any) -> Line | None:
    """The user's line that made an object, from tracemalloc."""
    trace = tracemalloc.get_object_traceback(item)
    for frame in reversed(trace or ()):
        if USER_CODE.owns(frame.filename):
            return Line(frame.filename, frame.lineno, "")
    return None


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
            elif isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    stores = isinstance(target, ast.Subscript) and _names(target.value, name)
                    again = _names(target, name) and node.value is not None and _mentions(node.value, name)
                    if stores or again or (isinstance(node, ast.AugAssign) and _names(target, name)):
                        out.append(Line(file, node.lineno, ""))
    return out


def joins_in_source(expression: str, files: Iterable[str]) -> list[Line]:
    """Lines that give a name what it held and more: ``kept = np.append(kept, new)``, ``text += line``."""
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


def assigned_in_source(name: str, files: Iterable[str]) -> list[Line]:
    """Lines that assign to a variable or attribute of this name."""
    out = []
    for file in files:
        for node in ast.walk(_parsed(file)):
            if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                flat = [each for target in targets for each in getattr(target, "elts", [target])]
                if any(_names(target, name) for target in flat):
                    out.append(Line(file, node.lineno, ""))
    return out


def last_name(expression: str) -> str | None:
    """The name that a person would give what an expression means: ``history['loss']`` -> ``history``."""
    expression = re.sub(r"inspect\.getclosurevars\(.*\)\.nonlocals\['(\w+)'\]", r" \1 ", expression)
    expression = re.sub(r"next\(o for .*? == '(\w+)'\)", r" \1 ", expression)
    bare = re.sub(r"\[[^\]]*\]|\.cell_contents|\.values\(\)|\.gi_frame|\.f_locals|[()]", " ", expression)
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
        function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        return function in _JOINS and _mentions(node, name)
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
