"""Where one step ends and the next begins, and what a step is doing: read from hooks, in any script.

A step ends when an optimiser has stepped. With several optimisers, the one that steps most often counts (a GAN's
discriminator). Without any, every backward pass counts; without those, every ``autograd.grad``; without those, every
forward pass of an outermost module with parameters; and where there is none of it either, every batch of a loader.
"""

import sys
import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from segkit.memory.measure import torch_private as private
from segkit.memory.measure.graph_token import deepest, give_token
from segkit.memory.measure.phases import PhaseClock
from segkit.memory.measure.tracker import LiveTensors
from segkit.memory.measure.user_code import USER_CODE, Line

_RANKS = {"watch": 5, "optimizer": 4, "backward": 3, "grad": 2, "forward": 1, "batch": 0}


class Given(NamedTuple):
    """What a step was given: values in tensors, instances in targets, and the pictures' names where they have some."""

    elements: int = 0
    instances: int = 0
    names: tuple[str, ...] = ()

    def plus(self, other: "Given") -> "Given":
        """Both together."""
        names = (*self.names, *other.names)[:16]
        return Given(self.elements + other.elements, self.instances + other.instances, names)


NOTHING = Given()


class Marks:
    """Hooks on optimisers, modules, backward passes, loaders and ``torch.save``.

    Attributes:
        kind: What ends a step.
        optimizers: Every optimiser that has stepped.
        modules: Every outermost module that has run.
        shapes: Sizes of tensors that outermost modules were given, for telling a cache of sizes from a leak.
        epochs: Times that a loader was begun again.
    """

    def __init__(
        self,
        tensors: LiveTensors,
        clock: PhaseClock,
        on_step: Callable[[], None],
        on_better: Callable[[], None],
        every: int = 1,
    ) -> None:
        self.tensors, self.clock, self._every = tensors, clock, every
        self._on_step, self._on_better = on_step, on_better
        self.kind: str | None = None
        self.optimizers: weakref.WeakSet[Any] = weakref.WeakSet()
        self.modules: weakref.WeakSet[nn.Module] = weakref.WeakSet()
        self.called: list[str] = []  # classes of outermost modules, which may be gone when the report is written
        self.sizes: set[int] = set()
        self.input = self._last_input = NOTHING  # of the step that goes on, and of the one before
        self.epochs = 0
        self.datasets: set[int] = set()  # lengths of what loaders read
        self.double_backward: Line | None = None
        self.before_optimizer: Callable[[Any], None] = lambda optimizer: None
        self.failure: BaseException | None = None
        self._names: dict[int, str] = {}
        self._thread = threading.get_ident()
        self._entered = {self._thread}
        self._depth, self._pending = 0, 0
        self._marker: weakref.ref[Any] | None = None
        self._others: dict[int, int] = {}
        self._modules: list[str | None] = []
        self._undo: list[Callable[[], Any]] = []

    def install(self, phases: bool = True) -> None:
        """Begin to listen; ``phases`` False leaves steps and phases to the caller."""
        _wrap(self._undo, torch.autograd, "backward", partial(self._around_backward, "backward"))
        _wrap(self._undo, torch.autograd, "grad", partial(self._around_backward, "grad"))
        if not phases:
            self.kind = "watch"
        hooks = private.global_optimizer_hooks()
        if hooks is not None:
            self._undo.append(hooks[0](self._guarded(self._before_step)).remove)
            self._undo.append(hooks[1](self._guarded(self._after_step)).remove)
        self._undo.append(register_module_forward_pre_hook(self._guarded(self._before_forward)).remove)
        self._undo.append(register_module_forward_hook(self._guarded(self._after_forward), always_call=True).remove)
        if phases:
            _wrap(self._undo, torch, "save", self._around_save)
        loader = private.loader_iterator()
        if loader is not None:
            _wrap(self._undo, loader, "__next__", self._around_batch)

    def uninstall(self) -> None:
        """Listen no more."""
        while self._undo:
            self._undo.pop()()

    def mark(self, kind: str) -> None:
        """Something that may end a step has happened."""
        if self.kind is None or _RANKS[kind] > _RANKS[self.kind]:
            if self.kind is not None:
                self._on_better()  # what was counted until now were no steps
                self.input = self._last_input.plus(self.input)  # what ended the last one was in the midst of this
            self.kind, self._pending = kind, 0
        if kind != self.kind:
            return
        self._pending += 1
        if self._pending >= self._every:
            self._pending = 0
            self._on_step()
            self._last_input, self.input = self.input, NOTHING

    def _guarded(self, hook: Callable[..., None]) -> Callable[..., None]:
        def guarded(*args: Any) -> None:
            if self.failure is None:
                try:
                    hook(*args)
                except Exception as error:
                    self.failure = error

        return guarded

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        ident = threading.get_ident()
        if ident not in self._entered:  # modes belong to threads
            self._entered.add(ident)
            self.tensors.__enter__()
        self.optimizers.add(optimizer)
        self.before_optimizer(optimizer)
        self._enter("step")

    def _after_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        marker = self._marker() if self._marker is not None else None
        if marker is None or self.kind not in ("optimizer", "watch"):
            self._marker, marker = weakref.ref(optimizer), optimizer
        if marker is optimizer:
            self._others.clear()
            self.mark("optimizer")
        else:  # one that steps twice while the marker does not is the better marker
            count = self._others[id(optimizer)] = self._others.get(id(optimizer), 0) + 1
            if count >= 2:
                self._marker = weakref.ref(optimizer)
                self._others.clear()
                self.mark("optimizer")
        self._enter("load")

    def _before_forward(self, module: nn.Module, args: Any) -> None:
        if threading.get_ident() != self._thread:
            return
        self._depth += 1
        if self._depth == 1:
            if module not in self.modules:
                self.modules.add(module)
                if type(module).__name__ not in self.called:
                    self.called.append(type(module).__name__)
                self._names.update({id(each): name for name, each in module.named_modules()})
            self.input = self.input.plus(_measure(args, self.sizes))
            self._enter("loss" if private.is_loss(module) else "forward" if torch.is_grad_enabled() else "eval")
        self._modules.append(self.tensors.module)
        name = self._names.get(id(module))
        self.tensors.module = f"{name} ({type(module).__name__})" if name else type(module).__name__

    def _after_forward(self, module: nn.Module, args: Any, out: Any) -> None:
        if threading.get_ident() != self._thread or self._depth == 0:
            return
        self._depth -= 1
        if self._modules:
            self.tensors.module = self._modules.pop()
        if self._depth == 0:
            self._enter("loss" if torch.is_grad_enabled() else "eval")
            if next(module.parameters(), None) is not None:  # a loss is no step of its own
                self.mark("forward")

    def _around_backward(self, kind: str, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        after = "step" if kind == "backward" else self.tensors.phase
        if self.failure is None:
            try:
                self._give_tokens(kind, args, kwargs)
                self._enter("backward")
            except Exception as error:
                self.failure = error
        try:
            return original(*args, **kwargs)
        finally:
            if self.failure is None:
                self._enter(after)
                self._guarded(self.mark)(kind)

    def _give_tokens(self, kind: str, args: Any, kwargs: Any) -> None:
        roots = args[0] if args else kwargs.get("tensors" if kind == "backward" else "outputs", ())
        line = USER_CODE.innermost(sys._getframe(2))
        position = 3 if kind == "backward" else 4
        create = args[position] if len(args) > position else kwargs.get("create_graph", False)
        if kind == "backward" and create and self.double_backward is None:
            self.double_backward = line
        for root in roots if isinstance(roots, tuple | list) else (roots,):
            node = getattr(root, "grad_fn", None)
            if node is not None:
                token = give_token(deepest(node))
                if token is not None:
                    self.tensors.note_graph(token, line)

    def _around_batch(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        before = self.tensors.phase
        if self.failure is None:
            self._enter("load")
            self._guarded(self._note_dataset)(args[0] if args else None)
        try:
            batch = original(*args, **kwargs)
        except StopIteration:
            self.epochs += 1
            raise
        finally:
            if self.failure is None:
                self._enter(before if before == "eval" else "load")
        self._guarded(self.mark)("batch")
        return batch

    def _note_dataset(self, iterator: Any) -> None:
        dataset = private.dataset_of_loader(iterator)
        if dataset is not None and hasattr(type(dataset), "__len__"):
            self.datasets.add(len(dataset))

    def _around_save(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        before = self.tensors.phase
        self._enter("save")
        try:
            return original(*args, **kwargs)
        finally:
            self._enter(before)

    def _enter(self, phase: str) -> None:
        if self.kind != "watch" or not self.clock.explicit:
            self.clock.enter(phase)


def _wrap(undo: list[Callable[[], Any]], owner: Any, name: str, around: Callable[..., Any]) -> None:
    """Let ``around(original, ...)`` stand for ``owner.name``, until undone."""
    original = getattr(owner, name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return around(original, *args, **kwargs)

    wrapped.__name__, wrapped.__doc__ = name, original.__doc__
    wrapped.__wrapped__ = original  # type: ignore[attr-defined]
    wrapped.__module__ = original.__module__
    setattr(owner, name, wrapped)
    undo.append(lambda: setattr(owner, name, original))


def _measure(value: Any, sizes: set[int], depth: int = 0) -> Given:
    """What is in the arguments of a module; the sizes of tensors are noted."""
    if isinstance(value, torch.Tensor):
        if len(sizes) < 10_000:
            sizes.update(value.shape)
        return Given(value.numel())
    if depth > 2:
        return NOTHING
    if isinstance(value, dict):  # a detector's target
        boxes = value.get("boxes")
        return Given(0, len(boxes) if isinstance(boxes, torch.Tensor) else 0, _name(value.get("image_id")))
    given = NOTHING
    if isinstance(value, tuple | list):
        for each in value[:64]:
            given = given.plus(_measure(each, sizes, depth + 1))
    return given


def _name(image_id: Any) -> tuple[str, ...]:
    if isinstance(image_id, torch.Tensor):
        if image_id.numel() != 1 or image_id.device.type != "cpu":  # asking another device would wait for it
            return ()
        image_id = image_id.item()
    return (f"image_id {image_id}",) if isinstance(image_id, int | str) else ()
