"""Where one step ends and the next begins, and what a step is doing: noticed by hooks, in any script.

A step ends when an optimiser has stepped. With several optimisers, the one that steps most often counts (a GAN's
discriminator). Without any, every backward pass counts; without those, every ``autograd.grad``; without those, every
forward pass of an outermost module with parameters; without those, every run of a compiled graph; and where there is
none of these, every batch of a loader.

PyTorch has hooks for optimisers and modules. It has none for ``backward``, ``autograd.grad``, ``torch.save`` and
loaders: these are replaced by wrappers while a session watches, as the user's script must not have to change.
"""

import contextlib
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from segkit.memory.measure import torch_private as private
from segkit.memory.measure.at_exit import AT_EXIT
from segkit.memory.measure.compiled import CompiledCode
from segkit.memory.measure.epochs import Epochs
from segkit.memory.measure.graph_token import attach_token, deepest
from segkit.memory.measure.optimizer_steps import OptimizerSteps
from segkit.memory.measure.phases import PhaseClock
from segkit.memory.measure.sampling import Sampling
from segkit.memory.measure.step_input import NOTHING, input_of
from segkit.memory.measure.tracers import Tracers
from segkit.memory.measure.tracker import LiveTensors
from segkit.memory.measure.user_code import USER_CODE, Line, describe

_PRIORITIES = {"watch": 6, "optimizer": 5, "backward": 4, "grad": 3, "forward": 2, "compiled": 1, "batch": 0}
_TRIES = 3  # a hook that has failed so often rests


class StepHooks:
    """Hooks on optimisers, modules, backward passes, loaders and ``torch.save``.

    Attributes:
        kind: What ends a step.
        optimizers: Every optimiser that has stepped.
        modules: Every outermost module that has run.
        teachers: Those of them that ran in the phase ``teacher``.
        module_classes: The names of their classes; the modules may be gone when the report is written.
        sizes: Sizes of tensors that outermost modules were given: a cache by size is no leak.
        datasets: Lengths of the datasets that loaders read: a cache by index is no leak.
        input: What the current step was given.
        double_backward: The line of a backward pass that keeps its own graph (``create_graph=True``).
        before_optimizer: Called with an optimiser before it steps.
        epochs: Count the batches that loaders give.
        compiled: Notices what compiled code makes.
        optimizer_steps: Decides which steps of optimisers are followed operation by operation.
        failures: Errors in hooks that are not reported yet; a hook that has failed three times rests, the others go on.
    """

    def __init__(
        self,
        tensors: LiveTensors,
        clock: PhaseClock,
        sampling: Sampling,
        on_step: Callable[[], None],
        on_restart: Callable[[], None],
        every: int = 1,
    ) -> None:
        """Prepare.

        Args:
            tensors: Gets phases, modules and graphs.
            clock: Gets phases.
            sampling: Is asked where a model runs.
            on_step: Called at the end of a step.
            on_restart: Called when something with a higher priority turns out to end a step: what was counted until
                then were no steps.
            every: Optimiser steps to a step.
        """
        self.tensors, self.clock, self.sampling, self._every = tensors, clock, sampling, every
        self._on_step, self._on_restart = on_step, on_restart
        self.kind: str | None = None
        self.optimizers: weakref.WeakSet[Any] = weakref.WeakSet()
        self.modules: weakref.WeakSet[nn.Module] = weakref.WeakSet()
        self.teachers: weakref.WeakSet[nn.Module] = weakref.WeakSet()
        self.module_classes: list[str] = []
        self.sizes: set[int] = set()
        self.datasets: set[int] = set()
        self.input = self._last_input = NOTHING
        self.double_backward: Line | None = None
        self.before_optimizer: Callable[[Any], None] = lambda optimizer: None
        self.epochs = Epochs()
        self.compiled = CompiledCode(tensors, lambda: self._note_guarded("compiled"))
        self.failures: list[str] = []
        self.optimizer_steps = OptimizerSteps(tensors)
        self._tracers = Tracers(tensors)
        self._names: dict[int, str] = {}
        self._thread = threading.get_ident()
        self._entered = {self._thread}
        self._pending = 0
        self._counting: weakref.ref[Any] | None = None  # the optimiser whose steps count
        self._others: Counter[int] = Counter()  # steps of the others since its last one, by identity
        self._outer: list[str | None] = []  # the modules around the running one
        self._undo: list[Callable[[], Any]] = []
        self._attach_guarded, self._enter_guarded = self._guarded(self._attach_tokens), self._guarded(self._enter)
        self._note_guarded, self._note_dataset_guarded = self._guarded(self.note), self._guarded(self._note_dataset)

    @property
    def is_in_one_thread(self) -> bool:
        """Whether all that was seen ran in one thread, so that it can be followed or not from one step to the next."""
        return self._entered == {threading.get_ident()} and not self.compiled.graphs

    def install(self, phases: bool = True) -> None:
        """Install all hooks; ``phases`` False leaves steps and phases to the caller."""
        _wrap(self._undo, torch.autograd, "backward", partial(self._around_backward, "backward"))
        _wrap(self._undo, torch.autograd, "grad", partial(self._around_backward, "grad"))
        if not phases:
            self.kind = "watch"
        on_modules = (
            register_module_forward_pre_hook(self._guarded(self._before_forward)),
            register_module_forward_hook(self._guarded(self._after_forward), always_call=True),
        )
        on_optimizers = (
            register_optimizer_step_pre_hook(self._guarded(self._before_step)),
            register_optimizer_step_post_hook(self._guarded(self._after_step)),
        )
        self._undo += [handle.remove for handle in (*on_modules, *on_optimizers)]
        self._undo.append(private.hide_global_hooks(on_modules))
        for part in (self._tracers, self.compiled, AT_EXIT):
            part.install()
            self._undo.append(part.uninstall)
        if phases:
            _wrap(self._undo, torch, "save", self._around_save)
        loader = private.loader_iterator()
        if loader is not None:
            _wrap(self._undo, loader, "__next__", self._around_batch)

    def uninstall(self) -> None:
        """Remove all hooks."""
        self.optimizer_steps.follow()
        while self._undo:
            self._undo.pop()()

    def note(self, kind: str) -> None:
        """Note something that may end a step: a key of ``_PRIORITIES``."""
        if self.kind is None or _PRIORITIES[kind] > _PRIORITIES[self.kind]:
            if self.kind is not None:
                self._on_restart()  # what was counted until now were no steps
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
        """A hook whose errors do not reach the script, and that does nothing while something traces or compiles."""
        failed = [0]

        def guarded(*args: Any) -> None:
            if torch.compiler.is_compiling():  # the compiler reads this line, and leaves the hook out
                return
            if self.tensors.is_aside or private.is_traced() or failed[0] >= _TRIES:
                return
            try:
                hook(*args)
            except Exception as error:
                failed[0] += 1
                if failed[0] == 1:
                    self.failures.append(describe(error))

        private.never_compile(guarded, callees=True)
        return guarded

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        ident = threading.get_ident()
        if ident not in self._entered:  # modes belong to threads
            self._entered.add(ident)
            self.tensors.__enter__()  # type: ignore[no-untyped-call]
        self.optimizers.add(optimizer)
        self.before_optimizer(optimizer)
        self._enter("step")
        self.optimizer_steps.begin(optimizer, args, kwargs)

    def _after_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self.optimizer_steps.end(optimizer)
        counting = self._counting() if self._counting is not None else None
        self._others[id(optimizer)] += 1  # one that steps twice in the meantime steps more often
        is_first = counting is None or self.kind not in ("optimizer", "watch")
        if is_first or counting is optimizer or self._others[id(optimizer)] >= 2:
            self._counting = weakref.ref(optimizer)
            self._others.clear()
            self.note("optimizer")
        self._enter("load")

    def _before_forward(self, module: nn.Module, args: Any) -> None:
        if threading.get_ident() != self._thread:
            return
        if not self._outer:
            if module not in self.modules:
                self.modules.add(module)
                if self.tensors.phase == "teacher":
                    self.teachers.add(module)
                kind = type(private.uncompiled(module)).__name__
                if kind not in self.module_classes:
                    self.module_classes.append(kind)
                self._names.update({id(each): name for name, each in module.named_modules()})
            given = input_of(args, self.sizes)
            self.input = self.input.plus(given)
            self.sampling.before_forward(is_evaluation=not torch.is_grad_enabled(), elements=given.elements)
            self._enter("loss" if private.is_loss(module) else "forward" if torch.is_grad_enabled() else "eval")
        self._outer.append(self.tensors.module)
        if self.tensors.resting:
            return
        name = self._names.get(id(module))
        self.tensors.module = f"{name} ({type(module).__name__})" if name else type(module).__name__

    def _after_forward(self, module: nn.Module, args: Any, out: Any) -> None:
        if threading.get_ident() != self._thread or not self._outer:
            return
        self.tensors.module = self._outer.pop()
        if not self._outer:
            self._enter("loss" if torch.is_grad_enabled() else "eval")
            if next(module.parameters(), None) is not None:  # a loss is no step of its own
                self.note("forward")

    def _around_backward(self, kind: str, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        after = "step" if kind == "backward" else self.tensors.phase
        self._attach_guarded(kind, args, kwargs)
        self._enter_guarded("backward")
        try:
            return original(*args, **kwargs)
        finally:
            self._enter_guarded(after)
            self._note_guarded(kind)

    def _attach_tokens(self, kind: str, args: Any, kwargs: Any) -> None:
        roots = args[0] if args else kwargs.get("tensors" if kind == "backward" else "outputs", ())
        line = USER_CODE.innermost(sys._getframe(2))
        position = 3 if kind == "backward" else 4
        create = args[position] if len(args) > position else kwargs.get("create_graph", False)
        if kind == "backward" and create and self.double_backward is None:
            self.double_backward = line
        if self.tensors.resting:
            return
        for root in roots if isinstance(roots, tuple | list) else (roots,):
            node = getattr(root, "grad_fn", None)
            token = attach_token(deepest(node)) if node is not None else None
            if token is not None:
                self.tensors.note_graph(token, line)

    def _around_batch(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        before = self.tensors.phase
        self._enter_guarded("load")
        self._note_dataset_guarded(args[0])
        try:
            batch = original(*args, **kwargs)
        except StopIteration:
            self.epochs.end_epoch(args[0], self.tensors.steps)
            raise
        finally:
            self._enter_guarded(before if before == "eval" else "load")
        self._note_guarded("batch")
        return batch

    def _note_dataset(self, iterator: Any) -> None:
        self.epochs.begin_batch(iterator, self.tensors.steps)
        dataset = private.dataset_of_loader(iterator)
        if dataset is not None and hasattr(type(dataset), "__len__"):
            with contextlib.suppress(Exception):  # the user's own: a stream may have no length
                self.datasets.add(len(dataset))

    def _around_save(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        before = self.tensors.phase
        self._enter_guarded("save")
        try:
            return original(*args, **kwargs)
        finally:
            self._enter_guarded(before)

    def _enter(self, phase: str) -> None:
        self.optimizer_steps.follow()  # should the step of an optimiser have failed
        if self.kind != "watch" or not self.clock.explicit:
            self.clock.enter(phase)


def _wrap(undo: list[Callable[[], Any]], owner: Any, name: str, around: Callable[..., Any]) -> None:
    """Replace ``owner.name`` by a function that calls ``around(original, ...)``; ``undo`` gets what restores it."""
    original = getattr(owner, name)

    @wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return around(original, *args, **kwargs)

    private.never_compile(wrapped, callees=False)
    private.same_for_script(original, wrapped)
    setattr(owner, name, wrapped)
    undo.append(lambda: setattr(owner, name, original))
