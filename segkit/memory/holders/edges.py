"""How one Python object holds another, as a piece of a Python expression."""

import collections
import functools
import gc
import re
import threading
import types
import weakref
from itertools import pairwise
from typing import Any

from segkit.memory.measure.torch_private import MODULE_DICTS

LRU_CACHE = type(functools.lru_cache(lambda: 0))
"""The type of a function with a cache, for which Python has no public name."""
_ATTRIBUTES = {
    types.CellType: ("cell_contents",),
    types.FunctionType: ("__closure__", "__defaults__", "__kwdefaults__", "__dict__", "__wrapped__"),
    types.MethodType: ("__self__", "__func__"),
    functools.partial: ("args", "keywords", "func"),
    types.TracebackType: ("tb_frame", "tb_next"),
    LRU_CACHE: ("__dict__", "__wrapped__"),
    weakref.ReferenceType: ("__callback__",),
}
_PLAIN_KEYS = (str, int, float, bool, bytes, type(None))


def edge(holder: Any, child: Any) -> str:
    """A template with ``{}`` for the holder that evaluates to the child.

    Examples: ``{}[3]``, ``{}.cache``, ``{}.__closure__[0]``, ``list({}.values())[3]``. What Python has no syntax for
    (the entries of a ``functools.lru_cache``) goes through ``gc.get_referents``.
    """
    try:
        found = _known(holder, child)
    except Exception:  # a property or container of the user's code may fail: it is named in another way
        found = None
    if found is not None:
        return found
    for index, each in enumerate(gc.get_referents(holder)):
        if each is child:
            return f"gc.get_referents({{}})[{index}]"
    return "{}"


def _known(holder: Any, child: Any) -> str | None:
    if isinstance(holder, dict):
        return _in_dict(holder, child)
    if isinstance(holder, list | tuple | collections.deque):
        for index, each in enumerate(holder):
            if each is child:
                return f"{{}}[{index}]"
    if isinstance(holder, set | frozenset):
        for index, each in enumerate(holder):
            if each is child:
                return f"list({{}})[{index}]"
    if isinstance(holder, types.FunctionType):
        for index, cell in enumerate(holder.__closure__ or ()):
            if cell is child:
                return f"{{}}.__closure__[{index}]"
    for kind, names in _ATTRIBUTES.items():
        if isinstance(holder, kind):
            return _by_name(holder, child, *names)
    for kind, frame in ((types.FrameType, ""), (types.GeneratorType, ".gi_frame"), (types.CoroutineType, ".cr_frame")):
        if isinstance(holder, kind):
            return _in_frame(holder, child, frame)
    if type(holder).__module__ == "_asyncio" and holder.done() and not holder.cancelled() and holder.result() is child:
        return "{}.result()"
    return _in_instance(holder, child)


def _in_dict(holder: dict[Any, Any], child: Any) -> str | None:
    for index, (key, value) in enumerate(holder.items()):
        if value is child:
            return f"{{}}[{key!r}]" if _is_plain(key) else f"list({{}}.values())[{index}]"
        if key is child:
            return f"list({{}})[{index}]"
    return None


def _is_plain(key: Any) -> bool:
    if type(key) is tuple:
        return all(_is_plain(each) for each in key)
    return type(key) in _PLAIN_KEYS and (type(key) is not float or key == key)


def _in_frame(holder: Any, child: Any, path: str) -> str | None:
    frame = holder if not path else getattr(holder, path[1:])
    if frame is None:
        return None
    for name, value in frame.f_locals.items():
        if value is child:
            return f"{{}}{path}.f_locals[{name!r}]"
    return None


def _in_instance(holder: Any, child: Any) -> str | None:
    if isinstance(holder, BaseException):
        found = _by_name(holder, child, "__traceback__", "__context__", "__cause__", "args")
        if found is not None:
            return found
    attributes = getattr(holder, "__dict__", None)
    if attributes is child or (
        isinstance(holder, type) and type(child) is dict and child.keys() == vars(holder).keys()
    ):
        return "{}.__dict__"
    if isinstance(attributes, dict | types.MappingProxyType):
        for name, value in attributes.items():
            if value is child:
                return f"{{}}.{name}" if str(name).isidentifier() else f"{{}}.__dict__[{name!r}]"
    for kind in type(holder).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            found = _by_name(holder, child, name)
            if found is not None:
                return found
    return None


def _by_name(holder: Any, child: Any, *names: str) -> str | None:
    return next((f"{{}}.{name}" for name in names if getattr(holder, name, None) is child), None)


_ATTRIBUTE = re.compile(r"\.__dict__\['([A-Za-z_]\w*)'\]")
_SUBMODULE = re.compile(rf"\.(?:{'|'.join(MODULE_DICTS)})\['([A-Za-z_]\w*)'\]")


def closure_variable(function: Any, cell: Any) -> str | None:
    """A template for a variable of a function's closure: ``inspect.getclosurevars(f).nonlocals['kept']``."""
    if not isinstance(function, types.FunctionType):
        return None
    for name, each in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        if each is cell:
            return f"inspect.getclosurevars({{}}).nonlocals[{name!r}]"
    return None


def default_argument(function: Any, value: Any) -> str | None:
    """A template for the default value of an argument: ``inspect.signature(f).parameters['kept'].default``."""
    if not isinstance(function, types.FunctionType):
        return None
    named = function.__code__.co_varnames[: function.__code__.co_argcount]
    defaults = function.__defaults__ or ()
    pairs = [*zip(named[len(named) - len(defaults) :], defaults, strict=True), *(function.__kwdefaults__ or {}).items()]
    of = "{}, follow_wrapped=False" if hasattr(function, "__wrapped__") else "{}"
    return next(
        (f"inspect.signature({of}).parameters[{name!r}].default" for name, each in pairs if each is value), None
    )


def readable(expression: str) -> str:
    """The same expression as a person would write it."""
    return _SUBMODULE.sub(r".\1", _ATTRIBUTE.sub(r".\1", expression))


def _in_thread_local(chain: list[Any], expressions: list[str], child: Any) -> str | None:
    """Python for the variables that a ``threading.local`` has in a thread; they are some objects away from it.

    In another thread than this one the expression does not give them; it is what the code of that thread calls them.
    """
    for each, expression in zip(chain, expressions, strict=True):
        if not isinstance(each, threading.local) or type(child) is not dict:
            continue
        is_first = each is not chain[-1] and not expressions[-1].startswith(f"{expression}.__dict__")
        if vars(each) is child or (is_first and child and all(type(key) is str for key in child)):
            return f"{expression}.__dict__"
    return None


def expressions_along(root: str, chain: list[Any]) -> list[str]:
    """Python for each object of a chain that begins with ``root``; what a closure holds is called by its name."""
    out = [root]
    for index, (holder, child) in enumerate(pairwise(chain)):
        named = _in_thread_local(chain[: index + 1], out, child)
        if isinstance(holder, types.CellType) and index > 0:
            at = index - 2 if isinstance(chain[index - 1], tuple) and index > 1 else index - 1
            template = closure_variable(chain[at], holder)
            named = template.format(out[at]) if template is not None else None
        if index > 0 and isinstance(chain[index - 1], types.FunctionType) and isinstance(holder, tuple | dict):
            function = chain[index - 1]
            if holder is function.__defaults__ or holder is function.__kwdefaults__:
                template = default_argument(function, child)
                named = template.format(out[index - 1]) if template is not None else None
        out.append(named or edge(holder, child).format(out[-1]))
    return out
