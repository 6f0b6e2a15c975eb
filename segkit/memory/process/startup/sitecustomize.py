"""Imported by Python at its start in ``segkit memprofile -- SCRIPT``: watches from the import of torch on.

Python itself runs the script, as always. torch is not imported before the script imports it, since the script may set
environment variables first. The user's own ``sitecustomize`` is run as well.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from types import ModuleType
from typing import Any

_HERE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 -- pathlib would slow every start


class _AfterTorch(importlib.abc.MetaPathFinder):
    """Imports torch as usual, and then begins to watch."""

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> Any:
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(importlib.abc.Loader):
    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: Any) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        _begin()


def _begin() -> None:
    home = os.environ["SEGKIT_MEMPROFILE_HOME"]
    try:
        if "segkit" not in sys.modules:  # this very segkit, also where another environment's Python runs the script
            spec = importlib.util.spec_from_file_location(
                "segkit", os.path.join(home, "__init__.py"), submodule_search_locations=[home]  # noqa: PTH118
            )  # fmt: skip
            if spec is not None and spec.loader is not None:
                package = importlib.util.module_from_spec(spec)
                sys.modules["segkit"] = package
                spec.loader.exec_module(package)
        from segkit.memory.process.attach import attach

        attach()
    except Exception as error:  # the script must run in any case
        folder = os.environ.get("SEGKIT_MEMPROFILE")
        if folder:
            with open(os.path.join(folder, f"failure-{os.getpid()}.txt"), "w", encoding="utf-8") as file:  # noqa: PTH118, PTH123
                file.write(f"{type(error).__name__}: {error}\n")


def _run_next() -> None:
    """Run the ``sitecustomize`` that this one hides."""
    sys.path[:] = [path for path in sys.path if os.path.abspath(path or ".") != _HERE]  # noqa: PTH100
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", sys.path)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


if "SEGKIT_MEMPROFILE" in os.environ:
    sys.meta_path.insert(0, _AfterTorch())
    _run_next()
