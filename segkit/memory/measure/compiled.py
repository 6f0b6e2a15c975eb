"""Code that ``torch.compile`` has made, measured at its border.

For the most part a dispatch mode does not see what it computes. So what a compiled graph returns, and what it saves for
its backward pass, is noted when it has run. What it makes and frees inside is in the counters of a device's allocator;
on a CPU nothing counts it.
"""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

from segkit.memory.measure import torch_private as private
from segkit.memory.measure.after_import import AfterImport
from segkit.memory.measure.tracker import LiveTensors

OPERATION = "compiled graph"
UNSEEN = (
    "compiled code (torch.compile): what it returns and saves for backward is counted, what it makes and frees inside "
    "is not"
)
_GRAPHS = "torch._dynamo.output_graph"


class CompiledCode:
    """Notes what compiled graphs return and save.

    Attributes:
        graphs: How many were compiled.
    """

    def __init__(self, tensors: LiveTensors, on_call: Callable[[], None]) -> None:
        """Prepare.

        Args:
            tensors: Gets the tensors.
            on_call: Called after a compiled graph has run.
        """
        self.tensors, self.graphs = tensors, 0
        self._on_call, self._watching = on_call, False
        self._undo: list[Callable[[], None]] = []

    def install(self) -> None:
        """Begin; the compiler is not loaded sooner than by the script."""
        self._watching = True
        finder = AfterImport({_GRAPHS: self._watch_graphs})
        finder.install()
        self._undo.append(finder.uninstall)

    def uninstall(self) -> None:
        """Restore what was replaced; graphs that are compiled already run as they are."""
        self._watching = False
        while self._undo:
            self._undo.pop()()

    def _watch_graphs(self, module: ModuleType) -> None:
        kind: Any = getattr(module, "OutputGraph", None)
        if kind is None or not hasattr(kind, "call_user_compiler"):
            return
        original = kind.call_user_compiler

        def call_user_compiler(graph: Any, *args: Any, **kwargs: Any) -> Any:
            compiled = original(graph, *args, **kwargs)
            self.graphs += 1
            return compiled if getattr(graph, "package", None) is not None else self._around(compiled)

        kind.call_user_compiler = call_user_compiler
        self._undo.append(lambda: setattr(kind, "call_user_compiler", original))

    def _around(self, compiled: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            out = compiled(*args, **kwargs)
            if self._watching and not self.tensors.is_aside:
                self._note(out)
                self._on_call()
            return out

        return run

    def _note(self, out: Any) -> None:
        """Note what a graph has returned, and what it has saved."""
        nodes = {}
        for each in private.tree_leaves(out):
            if isinstance(each, torch.Tensor):
                self.tensors.note_from_outside(each, OPERATION, sys._getframe(2))
                nodes[id(each.grad_fn)] = each.grad_fn
        for node in nodes.values():
            for each in private.saved_by_graph(node):
                self.tensors.note_from_outside(each, OPERATION, sys._getframe(2))
