"""The names of variables in functions that are running, and in contexts: what the garbage collector does not see."""

import contextvars
import inspect
import sys
import threading
import types
from typing import Any, NamedTuple

from segkit.memory.measure.user_code import USER_CODE


class Root(NamedTuple):
    """A name that is in reach of the user's code.

    Attributes:
        expression: The name: ``losses``, ``model``, ``package.module.CACHE``.
        scope: Where the name means this: ``__main__``, ``train() at train.py:31``, with the thread if not the main one.
        kind: ``global``, ``local``, ``class`` or ``thread``.
        rank: The smaller, the better known to the user.
    """

    expression: str
    scope: str
    kind: str
    rank: int


def running_locals() -> dict[int, list[Root]]:
    """Local variables of all running functions, by the identity of their values."""
    out: dict[int, list[Root]] = {}
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    main = threading.main_thread().ident
    for ident, top in sys._current_frames().items():
        frame: types.FrameType | None = top
        while frame is not None:
            code = frame.f_code
            if code.co_flags & inspect.CO_OPTIMIZED and "segkit/memory/" not in code.co_filename:
                users = USER_CODE.owns(code.co_filename)
                scope = f"{code.co_name}() at {code.co_filename}:{frame.f_lineno}"
                if ident != main:
                    scope += f" in thread {names.get(ident, ident)}"
                values = frame.f_locals
                for name, value in values.items():
                    if not name.startswith("."):
                        rank = (2 if name == "self" else 1) if users else 3
                        kind = "local" if ident == main else "thread"
                        out.setdefault(id(value), []).append(Root(name, scope, kind, rank))
                if sys.version_info < (3, 13):
                    values.clear()  # else the frame itself would keep this copy of its variables
                del values
            frame = frame.f_back
    for variable, value in contextvars.copy_context().items():
        out.setdefault(id(value), []).append(Root(f"{variable.name}.get()", "context variable", "context", 1))
    del top  # it is this function's own frame, too, and would keep itself and all its callers' variables
    return out


def running_variables() -> list[tuple[str, str, Any]]:
    """The local variables of the user's running functions in this thread: function, name, value."""
    out: list[tuple[str, str, Any]] = []
    frame: types.FrameType | None = sys._getframe()
    while frame is not None:
        code = frame.f_code
        if code.co_flags & inspect.CO_OPTIMIZED and USER_CODE.owns(code.co_filename):
            values = frame.f_locals
            out += [(f"{code.co_filename}:{code.co_firstlineno}", name, value) for name, value in values.items()]
            if sys.version_info < (3, 13):
                values.clear()
        frame = frame.f_back
    return out
