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
        loader: Any = spec.loader if spec is not None else None
        if loader is not None:

            def exec_module(module: ModuleType) -> None:
                del loader.exec_module  # this function, which hides the loader's own
                loader.exec_module(module)
                _begin()

            loader.exec_module = exec_module
        return spec


def _begin() -> None:
    home = os.environ["SEGKIT_MEMPROFILE_HOME"]
    try:
        if "segkit" not in sys.modules:  # this very segkit, also where another environment's Python runs the script
            init = os.path.join(home, "__init__.py")  # noqa: PTH118
            _execute(importlib.util.spec_from_file_location("segkit", init, submodule_search_locations=[home]))
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
    _execute(importlib.machinery.PathFinder.find_spec("sitecustomize", sys.path))


def _execute(spec: importlib.machinery.ModuleSpec | None) -> None:
    if spec is not None and spec.loader is not None:
        module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)


if "SEGKIT_MEMPROFILE" in os.environ:
    sys.meta_path.insert(0, _AfterTorch())
    _run_next()
