"""What a script has given to ``atexit``: kept until the program ends, by no object that Python shows.

So while a session watches, ``atexit.register`` notes the identities of the function and of its arguments. They stay
alive, and so their identities stay theirs, until they are unregistered.
"""

import atexit
import contextlib
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from segkit.memory.measure.user_code import USER_CODE, Line

_MOST = 50_000  # objects


class Registered(NamedTuple):
    """A call of ``atexit.register``: the function's name and identity, and the line that registers it."""

    name: str
    function: int
    line: Line


class AtExit:
    """Notes what is registered.

    Attributes:
        objects: The call that has registered an object, by the object's identity.
    """

    def __init__(self) -> None:
        self.objects: dict[int, Registered] = {}
        self._originals: tuple[Callable[..., Any], Callable[..., Any]] | None = None

    def install(self) -> None:
        """Begin."""
        register, unregister = self._originals = atexit.register, atexit.unregister

        def noting_register(*args: Any, **kwargs: Any) -> Any:
            registered = register(*args, **kwargs)
            with contextlib.suppress(Exception):  # the script must not notice
                self._note(args, kwargs, USER_CODE.innermost(sys._getframe(1)))
            return registered

        def noting_unregister(*args: Any) -> Any:
            unregister(*args)
            gone = {id(each) for each in args}
            self.objects = {key: each for key, each in self.objects.items() if each.function not in gone}

        atexit.register, atexit.unregister = noting_register, noting_unregister

    def uninstall(self) -> None:
        """End."""
        if self._originals is not None:
            atexit.register, atexit.unregister = self._originals
        self._originals = None

    def _note(self, args: tuple[Any, ...], kwargs: dict[str, Any], line: Line) -> None:
        function = args[0]
        inner = getattr(function, "func", function)  # of a partial
        call = Registered(getattr(inner, "__name__", type(inner).__name__), id(function), line)
        if len(self.objects) < _MOST:
            self.objects.update(dict.fromkeys(map(id, (*args, *kwargs.values())), call))


AT_EXIT = AtExit()
"""That of this process."""
