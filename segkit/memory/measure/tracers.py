"""Code that records what a model computes: nothing is counted while it runs, or it would record that as well.

A tracer (``torch.jit.trace``, the exporters, the capture of a CUDA graph) records the operations that it sees. Under a
dispatch mode it sees other tensors than the model's, and writes a model that ignores its input. So the mode steps
aside, and the hooks do nothing, as long as one of the functions below runs.
"""

import sys
from collections.abc import Callable
from functools import partial, wraps
from types import ModuleType
from typing import Any

from segkit.memory.measure import torch_private as private
from segkit.memory.measure.after_import import AfterImport
from segkit.memory.measure.tracker import LiveTensors

TRACERS = {
    "torch.jit": (
        "trace", "trace_module", private.TRACE_GRAPH, "script", "freeze", "optimize_for_inference",
    ),
    "torch.export": ("export", "draft_export", "export_for_training", "export_for_inference"),
    "torch.onnx": ("export", "dynamo_export"),
    "torch.onnx.utils": ("export",),
    "torch.utils.mobile_optimizer": ("optimize_for_mobile",),
}  # fmt: skip
"""The functions, by their module; one that this torch does not have is left out."""
CAPTURES = {"torch.cuda": ("CUDAGraph",), "torch.xpu": ("XPUGraph",)}
"""Classes whose ``capture_begin`` and ``capture_end`` enclose what is recorded."""


class Tracers:
    """Keeps the measuring out of what is traced, exported or captured."""

    def __init__(self, tensors: LiveTensors) -> None:
        self.tensors = tensors
        self._undo: list[Callable[[], None]] = []

    def install(self) -> None:
        """Begin to notice tracers."""
        actions = dict.fromkeys((*TRACERS, *CAPTURES), self._watch_module)
        finder = AfterImport(actions)
        finder.install()
        self._undo.append(finder.uninstall)

    def uninstall(self) -> None:
        """Restore what was replaced."""
        while self._undo:
            self._undo.pop()()

    def _watch_module(self, module: ModuleType) -> None:
        for name in TRACERS.get(module.__name__, ()):
            original = getattr(module, name, None)
            if callable(original):
                self._undo += replace_everywhere(original, self._aside(original))
        for name in CAPTURES.get(module.__name__, ()):
            kind = getattr(module, name, None)
            if kind is not None and hasattr(kind, "capture_begin"):
                self._watch_captures(kind)

    def _aside(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        def traced(*args: Any, **kwargs: Any) -> Any:
            with self.tensors.aside():
                return original(*args, **kwargs)

        return traced

    def _watch_captures(self, kind: Any) -> None:
        """Step aside from ``capture_begin`` to ``capture_end``."""
        begin, end = kind.capture_begin, kind.capture_end
        inside: list[Any] = []

        @wraps(begin)
        def capture_begin(*args: Any, **kwargs: Any) -> Any:
            stepped_aside = self.tensors.aside()
            stepped_aside.__enter__()
            inside.append(stepped_aside)
            return begin(*args, **kwargs)

        @wraps(end)
        def capture_end(*args: Any, **kwargs: Any) -> Any:
            try:
                return end(*args, **kwargs)
            finally:
                if inside:
                    inside.pop().__exit__(None, None, None)

        kind.capture_begin, kind.capture_end = capture_begin, capture_end
        self._undo.append(lambda: _restore(kind, begin, end))


def _restore(kind: Any, begin: Any, end: Any) -> None:
    kind.capture_begin, kind.capture_end = begin, end


def replace_everywhere(original: Any, replacement: Any) -> list[Callable[[], None]]:
    """Replace a function in all modules of torch that have it; returns what restores it.

    TorchScript knows some functions by their identity: it is told that the new one is the same.
    """
    private.same_for_script(original, replacement)
    undo: list[Callable[[], None]] = []
    for module in [module for name, module in list(sys.modules.items()) if name.partition(".")[0] == "torch"]:
        for name in [name for name, value in list(vars(module).items()) if value is original]:
            setattr(module, name, replacement)
            undo.append(partial(setattr, module, name, original))
    return undo
