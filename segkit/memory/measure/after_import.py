"""Call functions right after modules are imported, without importing them sooner than the script does."""

import importlib.abc
import importlib.util
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any


class AfterImport(importlib.abc.MetaPathFinder):
    """Lets Python import some modules as usual, and then calls a function with each."""

    def __init__(self, actions: Mapping[str, Callable[[ModuleType], None]]) -> None:
        """Prepare.

        Args:
            actions: What to call, by the name of a module.
        """
        self._actions = dict(actions)

    def install(self) -> None:
        """Begin; modules that are there already are passed at once."""
        for name in [name for name in self._actions if name in sys.modules]:
            self._actions.pop(name)(sys.modules[name])
        sys.meta_path.insert(0, self)

    def uninstall(self) -> None:
        """End."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> Any:
        """See ``importlib.abc.MetaPathFinder``."""
        action = self._actions.pop(name, None)  # so that the search below does not come here again
        if action is None:
            return None
        spec = importlib.util.find_spec(name)
        loader: Any = spec.loader if spec is not None else None
        if loader is None or not hasattr(loader, "exec_module"):
            return spec

        def exec_module(module: ModuleType) -> None:
            del loader.exec_module  # this function, which hides the loader's own
            loader.exec_module(module)
            action(module)

        loader.exec_module = exec_module
        return spec
