"""The names from which the user's code reaches objects: globals, classes, variables of running functions, contexts.

The garbage collector does not see the local variables of running functions (since Python 3.11): they are looked up in
every frame of every thread.
"""

import contextvars
import inspect
import itertools
import sys
import threading
import traceback
import types
from typing import Any, NamedTuple

from segkit.memory.measure.at_exit import AT_EXIT
from segkit.memory.measure.heap import objects_of
from segkit.memory.measure.user_code import USER_CODE, is_own_file

ITERATORS: tuple[type, ...] = (itertools.cycle, type(itertools.tee(())[0]))
"""Iterators of Python's that keep what they have given."""
UNNAMED = "an unnamed"  # begins the scope of an object without a name
LIBRARYS = 3  # rank of a name from which on it is a library's


class Root(NamedTuple):
    """A name that the user's code can use.

    Attributes:
        expression: The name: ``losses``, ``model``, ``package.module.CACHE``.
        scope: Where the name means this: ``__main__``, ``train() at train.py:31``, with the thread if not the main one.
        kind: ``global``, ``local``, ``class``, ``thread``, ``context``, ``atexit`` or ``unnamed``; ``instance`` or
            ``closure`` for what is ``self``, or a variable, inside the user's methods and functions.
        rank: The smaller, the better known to the user.
    """

    expression: str
    scope: str
    kind: str
    rank: int


def global_root(module: types.ModuleType, name: str) -> Root:
    """The root of a module's global variable."""
    if module.__name__ == "__main__":
        return Root(name, "__main__", "global", 0)
    is_users = USER_CODE.owns(getattr(module, "__file__", None) or "")
    return Root(f"{module.__name__}.{name}", module.__name__, "global", 1 if is_users else 4)


def class_root(kind: type) -> Root | None:
    """The root of a class that can be reached by its name; None where it cannot."""
    module = sys.modules.get(kind.__module__)
    value: Any = module
    for part in kind.__qualname__.split("."):
        value = getattr(value, part, None) if part != "<locals>" else None
    if module is None or value is not kind:
        return None
    return global_root(module, kind.__qualname__)._replace(kind="class")


def unnamed_root(instance: object) -> Root:
    """The root of an object that has no name, by its class."""
    name = type(instance).__name__
    expression = f"next(o for o in gc.get_objects() if type(o).__name__ == {name!r})"
    return Root(expression, f"{UNNAMED} {name}", "unnamed", 2)


def iterator_root(holder: object) -> Root | None:
    """The root of what a ``for`` loop iterates over and no variable holds: a generator, ``itertools.cycle``."""
    if isinstance(holder, types.GeneratorType):
        code = holder.gi_code
        if not USER_CODE.owns(code.co_filename):
            return None
        name, at = holder.__name__, f"{code.co_filename}:{code.co_firstlineno}"
        expression = f"next(o for o in gc.get_objects() if type(o).__name__ == 'generator' and o.__name__ == {name!r})"
        return Root(expression, f"{UNNAMED} generator {name}() at {at}", "unnamed", 2)
    return unnamed_root(holder) if type(holder) in ITERATORS else None


def first_unnamed(value: object) -> object:
    """What the expression of an object without a name gives: the first object like it, without asking all others."""
    kind, name = type(value), getattr(value, "__name__", None)
    alike = objects_of(lambda each: each.__name__ == kind.__name__)
    return next((each for each in alike if kind is not types.GeneratorType or each.__name__ == name), None)


def namespace_of(root: Root, value: Any) -> dict[str, Any]:
    """The variables that are needed to evaluate a root's expression; ``value`` is what it names."""
    if root.kind in ("local", "thread", "instance", "closure"):
        return {root.expression: value}
    if root.kind == "context":
        return {variable.name: variable for variable in contextvars.copy_context()}
    if root.scope == "__main__":
        return vars(sys.modules["__main__"])
    package = root.expression.partition(".")[0]
    return {package: sys.modules.get(package)}


def with_scope(expression: str, scope: str | None) -> str:
    """What distinguishes a holder: ``self.kept`` may be in several classes, and the scope of others changes."""
    return (
        f"{expression} in {scope}"
        if scope is not None and scope.startswith(("the methods", "the closure"))
        else expression
    )


def is_user_class(kind: type) -> bool:
    """Whether a class is defined in the user's code."""
    module = sys.modules.get(str(kind.__module__))
    file = getattr(module, "__file__", None)
    return kind.__module__ == "__main__" or (file is not None and USER_CODE.owns(file))


def is_librarys(scope: str | None) -> bool:
    """Whether a scope is a module that is not the user's: what is global there is the library's own."""
    module = sys.modules.get(scope or "")
    return module is not None and scope != "__main__" and not USER_CODE.owns(getattr(module, "__file__", None) or "<")


def user_modules() -> set[str]:
    """The names of the modules that are the user's code."""
    files = [(name, getattr(module, "__file__", None)) for name, module in list(sys.modules.items())]
    return {name for name, file in files if name == "__main__" or (file is not None and USER_CODE.owns(file))}


def running_locals() -> dict[int, list[Root]]:
    """Local variables of all running functions, by the identity of their values."""
    out: dict[int, list[Root]] = {}
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    main = threading.main_thread().ident
    for ident, top in sys._current_frames().items():
        for frame, number in traceback.walk_stack(top):
            code = frame.f_code
            if code.co_flags & inspect.CO_OPTIMIZED and not is_own_file(code.co_filename):
                users = USER_CODE.owns(code.co_filename)
                scope = f"{code.co_name}() at {code.co_filename}:{number}"
                if ident != main:
                    scope += f" in thread {names.get(ident, ident)}"
                values = frame.f_locals
                for name, value in values.items():
                    if not name.startswith("."):
                        rank = (2 if name == "self" else 1) if users else LIBRARYS
                        kind = "local" if ident == main else "thread"
                        out.setdefault(id(value), []).append(Root(name, scope, kind, rank))
                if sys.version_info < (3, 13):
                    values.clear()  # else the frame itself would keep this copy of its variables
                del values
    for variable, value in contextvars.copy_context().items():
        out.setdefault(id(value), []).append(Root(f"{variable.name}.get()", "context variable", "context", 1))
    for key, call in AT_EXIT.objects.items():
        out.setdefault(key, []).append(Root(f"atexit callback {call.name}", f"registered at {call.line}", "atexit", 2))
    del top, frame  # one is this function's own frame, which would keep itself and all its callers' variables
    return out


def running_variables() -> list[tuple[str, str, Any]]:
    """The local variables of the user's running functions in this thread: function, name, value."""
    out: list[tuple[str, str, Any]] = []
    for frame, _ in traceback.walk_stack(sys._getframe()):
        code = frame.f_code
        if code.co_flags & inspect.CO_OPTIMIZED and USER_CODE.owns(code.co_filename):
            values = frame.f_locals
            out += [(f"{code.co_filename}:{code.co_firstlineno}", name, value) for name, value in values.items()]
            if sys.version_info < (3, 13):
                values.clear()
    return out
