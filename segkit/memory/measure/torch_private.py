"""Every symbol of torch and torchvision that is not documented and that segkit.memory uses, one function for each.

Where a symbol is missing, the functions answer None or False: a part of the report is lost, and the profiled script
goes on. ``missing`` lists these parts. Without the symbols that are imported at the top nothing can be measured.
"""

import importlib
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils import _python_dispatch
from torch.utils._python_dispatch import TorchDispatchMode as TorchDispatchMode
from torch.utils._pytree import tree_leaves as tree_leaves
from torch.utils._pytree import tree_map as tree_map

SCALAR_OF_TENSOR = torch.ops.aten._local_scalar_dense.default
UNIQUE = torch.ops.aten._unique2.default
TO_COPY = torch.ops.aten._to_copy.default
MODULE_DICTS = ("_modules", "_buffers", "_parameters")
"""Attributes of a module that hold what is registered on it."""
TRACE_GRAPH = "_get_trace_graph"
"""What exporters of TorchScript call in ``torch.jit``."""
HOOK_DICTS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks")
"""Attributes of a module that hold its hooks."""

FOR_PROFILES = {
    "torch.utils.data.dataloader._BaseDataLoaderIter": "the phase load, and steps of scripts that only load",
    "torch.utils.data._utils.fetch._MapDatasetFetcher": "leaks in loader workers",
    "torch.utils.data._utils.fetch._IterableDatasetFetcher": "leaks in loader workers with an iterable dataset",
    "torch.cuda.memory._record_memory_history": "snapshot.pickle",
    "torch.cuda.memory._dump_snapshot": "snapshot.pickle",
    "torch.autograd._profiler_enabled": "whether a profiler that was left on is the leak",
    "torch._C._dynamo.eval_frame.set_code_exec_strategy": "compiled code beside the hooks of the profile",
}
"""What is lost in a profile without a symbol."""
FOR_REHEARSALS = {
    "torch._subclasses.fake_tensor.FakeTensorMode": "memprofile --fit",
    "torch._subclasses.fake_tensor.DataDependentOutputException": "sizes of operations that depend on values",
    "torch._subclasses.fake_tensor.DynamicOutputShapeException": "sizes of operations that depend on values",
    "torch.utils._mode_utils.no_dispatch": "memprofile --fit",
    "torchvision.ops.boxes._batched_nms_vanilla": "how torchvision suppresses boxes on CUDA",
    "torchvision.ops.boxes._batched_nms_coordinate_trick": "how torchvision suppresses boxes on CUDA",
}
"""What is lost in a rehearsal on fake tensors without a symbol."""


def missing(symbols: Mapping[str, str]) -> list[str]:
    """Those of some symbols that this torch does not have, each with what is lost without it."""
    return [f"this torch has no {symbol}; lost: {loss}" for symbol, loss in symbols.items() if _find(symbol) is None]


def _find(symbol: str) -> Any:
    module, _, name = symbol.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None


def operation_name(func: Any) -> str:
    """The name of an operator that a dispatch mode sees, such as ``aten::add``."""
    try:
        return str(func._schema.name)
    except AttributeError:
        return str(func)


def returns_new_tensors(func: Any) -> bool:
    """Whether an operator may return a tensor with memory of its own: no view, and nothing that it was given."""
    try:
        returns = func._schema.returns
    except AttributeError:
        return True
    return bool(returns) and not any(each.alias_info is not None for each in returns)


def return_types(func: Any) -> list[str]:
    """The types that an operator returns, such as ``Tensor`` or ``List[Tensor]``."""
    return [str(each.type) for each in func._schema.returns]


def storage_key(tensor: torch.Tensor) -> tuple[Any, int]:
    """A tensor's storage, and the address that distinguishes it from all other live ones.

    Sparse tensors and wrappers of functorch have none: then it is None, and the address 0.
    """
    try:
        storage = tensor.untyped_storage()
    except (RuntimeError, NotImplementedError):
        return None, 0
    return storage, storage._cdata


def storage_address(tensor: torch.Tensor) -> int:
    """The address of a tensor's storage; 0 where it has none."""
    return storage_key(tensor)[1]


def on_cuda() -> bool:
    """Whether this process uses CUDA; to check this does not initialise it."""
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def record_allocations(most: int = 50_000) -> bool:
    """Let the CUDA allocator remember who allocated what, for a snapshot; whether it does."""
    record = getattr(torch.cuda.memory, "_record_memory_history", None)
    if record is None:
        return False
    try:
        record(enabled="all", context="alloc", stacks="python", max_entries=most)
    except (TypeError, RuntimeError):
        return False
    return True


def dump_snapshot(path: Path) -> bool:
    """Write what ``record_allocations`` has seen, as PyTorch's own viewer reads it; whether there is such a file."""
    dump = getattr(torch.cuda.memory, "_dump_snapshot", None)
    if dump is None:
        return False
    dump(str(path))
    return path.exists()


@contextmanager
def without_mode(mode: TorchDispatchMode) -> Iterator[None]:
    """Take one dispatch mode off this thread's stack; the modes above it stay.

    Where it is not on the stack, or where a mode of torch's own (fake tensors, a tracer) is above it, nothing is done.
    """
    above = _take_off(mode)
    if above is None:
        yield
        return
    try:
        yield
    finally:
        _change_stack(len(above), [mode, *above])


def take_off(mode: TorchDispatchMode) -> bool:
    """Take one dispatch mode off this thread's stack until ``put_back``; whether that was possible."""
    return _take_off(mode) is not None


def put_back(mode: TorchDispatchMode) -> None:
    """Put a dispatch mode below all others of this thread, which end before it does."""
    stack = _stack()
    _change_stack(len(stack), [mode, *stack])


def _stack() -> list[TorchDispatchMode]:
    modes: Any = _python_dispatch  # which exports none of these
    return [modes._get_dispatch_stack_at(index) for index in range(torch._C._len_torch_dispatch_stack())]


def _take_off(mode: TorchDispatchMode) -> list[TorchDispatchMode] | None:
    """Take a mode off the stack; the modes that were above it, or None where it is left there."""
    stack = _stack()
    at = next((index for index, each in enumerate(stack) if each is mode), None)
    if at is None or any(getattr(each, "_mode_key", None) is not None for each in stack[at:]):
        return None
    _change_stack(len(stack) - at, stack[at + 1 :])
    return stack[at + 1 :]


def _change_stack(count: int, modes: list[TorchDispatchMode]) -> None:
    """Take ``count`` modes off this thread's stack, and put others on it."""
    stack: Any = _python_dispatch
    for _ in range(count):
        stack._pop_mode()
    for each in modes:
        stack._push_mode(each)


def same_for_script(original: Any, replacement: Any) -> None:
    """Let TorchScript take a function that stands for one of torch's own for that one."""
    builtins = _find("torch.jit._builtins._find_builtin"), _find("torch.jit._builtins._register_builtin")
    if None not in builtins and (name := builtins[0](original)) is not None:
        builtins[1](replacement, name)


def never_compile(function: Any, *, callees: bool) -> None:
    """Keep ``torch.compile`` from compiling a function when Python calls it; ``callees``: and what that calls.

    Where it is called in code that is compiled, it is inlined nevertheless.
    """
    strategy = _find("torch._C._dynamo.eval_frame.set_code_exec_strategy")
    if strategy is None:
        return
    kind = _find("torch._C._dynamo.eval_frame._FrameExecStrategy")
    action = _find("torch._C._dynamo.eval_frame._FrameAction")
    strategy(function.__code__, kind(action.SKIP, action.SKIP if callees else action.DEFAULT))


def saved_by_graph(node: Any) -> Iterable[torch.Tensor]:
    """The tensors that the autograd node of a compiled graph has saved; none of any other node.

    Where the script has hooks on saved tensors, they are not asked for: that would run the hooks.
    """
    top = _find("torch._C._autograd._top_saved_tensors_default_hooks")
    if type(node).__name__ != "CompiledFunctionBackward" or top is None or top(False) is not None:
        return ()
    try:
        return [each for each in node.saved_tensors if isinstance(each, torch.Tensor)]
    except RuntimeError:  # freed, or changed in place
        return ()


def hide_global_hooks(own: Collection[Any]) -> Callable[[], None]:
    """Let ``torch.compile`` not warn of global hooks on modules that are the tool's own; returns what restores it.

    Args:
        own: Their handles.
    """
    module: Any = nn.modules.module
    original = getattr(module, "_has_any_global_hook", None)
    dicts = [value for name, value in vars(module).items() if name.startswith("_global_") and isinstance(value, dict)]
    known = {handle.id for handle in own}

    def has_any_global_hook() -> bool:
        return any(key not in known for hooks in dicts for key in hooks)

    module._has_any_global_hook = has_any_global_hook
    return lambda: setattr(module, "_has_any_global_hook", original)


def has_step_hooks(optimizer: Any) -> bool:
    """Whether hooks run around an optimiser's step beside the tool's own: one before, and one after."""
    module = sys.modules[torch.optim.Optimizer.__module__]
    places = ((optimizer, "_optimizer_step_{}_hooks", 0), (module, "_global_optimizer_{}_hooks", 1))
    found = [(getattr(where, name.format(when), None), own) for where, name, own in places for when in ("pre", "post")]
    return any(hooks is None or len(hooks) > own for hooks, own in found)


def direct(func: Any) -> Any:
    """What calls the same operator as a dispatch mode is given, without a Python function in between."""
    is_plain = type(func).__name__ == "OpOverload" and getattr(func, "_pyobj_dispatcher", None) is None
    return getattr(func, "_op", func) if is_plain else func


def is_traced() -> bool:
    """Whether TorchScript's tracer records in this thread."""
    return torch._C._get_tracing_state() is not None


def profiler_is_on() -> bool:
    """Whether PyTorch's own profiler is recording."""
    return bool(getattr(torch.autograd, "_profiler_enabled", bool)())  # bool() is False


def is_fake(tensor: torch.Tensor) -> bool:
    """Whether a tensor has a shape and no memory."""
    if type(tensor) is torch.Tensor or type(tensor) is nn.Parameter:  # most are: without further questions
        return tensor.is_meta
    return tensor.is_meta or type(tensor).__name__ in ("FakeTensor", "FunctionalTensor")


def loader_iterator() -> Any:
    """The class of the iterators of data loaders; None where there is none."""
    return _find("torch.utils.data.dataloader._BaseDataLoaderIter")


def dataset_of_loader(iterator: Any) -> Any:
    """The dataset that a loader's iterator reads."""
    return getattr(iterator, "_dataset", None)


def batches_of_loader(iterator: Any) -> int | None:
    """How many batches a loader's iterator gives in an epoch; None where that is not known."""
    try:
        return len(iterator)
    except Exception:  # a stream, or a length that is the user's own
        return None


def loader_fetchers() -> list[Any]:
    """The classes whose ``fetch`` loads a batch in a loader worker."""
    names = ("_MapDatasetFetcher", "_IterableDatasetFetcher")
    return list(filter(None, (_find(f"torch.utils.data._utils.fetch.{name}") for name in names)))


def uncompiled(module: nn.Module) -> nn.Module:
    """The module that ``torch.compile`` was given, where this is what it has made of it."""
    inner = getattr(module, "_orig_mod", None)
    return inner if isinstance(inner, nn.Module) else module


def is_loss(module: nn.Module) -> bool:
    """Whether a module is one of torch's losses, or is named like one."""
    return isinstance(module, nn.modules.loss._Loss) or type(module).__name__.endswith("Loss")


def saved_attributes(node_class: type) -> tuple[str, ...]:
    """The attributes under which an autograd node gives the tensors that it has saved for backward."""
    return tuple(name for name in dir(node_class) if name.startswith("_saved_") or name == "saved_tensors")


def fake_mode() -> AbstractContextManager[Any] | None:
    """A mode in which tensors have shapes and no memory; None where this torch has none."""
    kind = _find("torch._subclasses.fake_tensor.FakeTensorMode")
    mode: AbstractContextManager[Any] | None = None if kind is None else kind(allow_non_fake_inputs=True)
    return mode


@lru_cache(maxsize=1)
def unanswerable() -> tuple[type[BaseException], ...]:
    """What fake tensors raise where a size or a number depends on values."""
    names = ("DataDependentOutputException", "DynamicOutputShapeException")
    return tuple(filter(None, (_find(f"torch._subclasses.fake_tensor.{name}") for name in names)))


def constant_of(tensor: torch.Tensor) -> torch.Tensor | None:
    """The value of a fake tensor that was made from a number, or of a real one."""
    if type(tensor) is torch.Tensor:
        return tensor
    constant: torch.Tensor | None = getattr(tensor, "constant", None)
    return constant


def without_modes() -> AbstractContextManager[Any]:
    """Compute with real tensors inside modes that would take them for fake ones."""
    inside: AbstractContextManager[Any] = _find("torch.utils._mode_utils.no_dispatch")()
    return inside


@contextmanager
def batched_nms_with_limit(most: int) -> Iterator[None]:
    """Let torchvision suppress the boxes of all classes at once, up to ``most`` coordinates.

    torchvision has no setting for it, so its function is replaced within the context.
    """
    from torchvision.ops import boxes  # noqa: PLC0415 -- a profiled script may have no torchvision

    vanilla, together = boxes._batched_nms_vanilla, boxes._batched_nms_coordinate_trick

    def chosen(all_boxes: torch.Tensor, *others: Any) -> Any:
        return (vanilla if all_boxes.numel() > most else together)(all_boxes, *others)

    boxes._batched_nms_vanilla = chosen
    try:
        yield
    finally:
        boxes._batched_nms_vanilla = vanilla
