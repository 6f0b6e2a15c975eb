"""Every symbol of torch that is not documented, behind a probe: a missing one costs a column and not the run."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch


def _no_task() -> int:
    return -1


current_graph_task: Callable[[], int] = getattr(torch._C, "_current_graph_task_id", _no_task)
"""The number of the backward pass that this thread is in, or -1."""


def storage_key(tensor: torch.Tensor) -> tuple[Any, int]:
    """A tensor's storage, and the address that tells it from all other live ones.

    Raises:
        RuntimeError, NotImplementedError: The tensor has none (sparse, meta, wrappers of functorch).
    """
    storage = tensor.untyped_storage()
    return storage, storage._cdata


def attach_to_node(node: Any, name: str, value: object) -> bool:
    """Let an autograd node own an object: it lives exactly as long as the node."""
    try:
        node.metadata[name] = value
    except (AttributeError, TypeError):
        return False
    return True


def attached_to_node(node: Any, name: str) -> object | None:
    """What ``attach_to_node`` left."""
    try:
        found: object | None = node.metadata.get(name)
    except (AttributeError, TypeError):
        return None
    return found


def global_optimizer_hooks() -> tuple[Callable[..., Any], Callable[..., Any]] | None:
    """The functions that register a hook before and after every optimiser's step."""
    try:
        from torch.optim import optimizer  # noqa: PLC0415 -- probed

        return optimizer.register_optimizer_step_pre_hook, optimizer.register_optimizer_step_post_hook
    except (ImportError, AttributeError):
        return None


def on_cuda() -> bool:
    """Whether this process uses CUDA; asking does not begin to."""
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def host_memory_stats() -> dict[str, Any] | None:
    """PyTorch's figures of pinned memory; None where it has none."""
    ask = getattr(torch.cuda, "host_memory_stats", None)
    if ask is None or not on_cuda():
        return None
    try:
        return dict(ask())
    except RuntimeError:
        return None


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


def profiler_is_on() -> bool:
    """Whether PyTorch's own profiler is recording."""
    ask = getattr(torch.autograd, "_profiler_enabled", None)
    return bool(ask()) if ask is not None else False


def is_fake(tensor: torch.Tensor) -> bool:
    """Whether a tensor has a shape and no memory."""
    return tensor.device.type == "meta" or type(tensor).__name__ in ("FakeTensor", "FunctionalTensor")


def loader_classes() -> tuple[Any, Any] | None:
    """The iterator of data loaders, and the module of what fetches a batch."""
    try:
        from torch.utils.data import dataloader  # noqa: PLC0415 -- probed
        from torch.utils.data._utils import fetch  # noqa: PLC0415 -- probed

        return dataloader._BaseDataLoaderIter, fetch
    except (ImportError, AttributeError):
        return None


def fake_mode() -> AbstractContextManager[Any] | None:
    """A mode in which tensors have shapes and no memory; None where this torch has none."""
    try:
        from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: PLC0415 -- probed
    except ImportError:
        return None
    mode: AbstractContextManager[Any] = FakeTensorMode(allow_non_fake_inputs=True)
    return mode


@lru_cache(maxsize=1)
def unanswerable() -> tuple[type[BaseException], ...]:
    """What fake tensors raise where a size or a number depends on values."""
    try:
        from torch._subclasses import fake_tensor  # noqa: PLC0415 -- probed
    except ImportError:
        return ()
    names = ("DataDependentOutputException", "DynamicOutputShapeException")
    return tuple(getattr(fake_tensor, name) for name in names if hasattr(fake_tensor, name))


def constant_of(tensor: torch.Tensor) -> torch.Tensor | None:
    """The value of a fake tensor that was made from a number, or of a real one."""
    if type(tensor) is torch.Tensor:
        return tensor
    constant: torch.Tensor | None = getattr(tensor, "constant", None)
    return constant


def without_modes() -> AbstractContextManager[Any]:
    """Compute with real tensors inside modes that would take them for fake ones."""
    from torch.utils._mode_utils import no_dispatch  # noqa: PLC0415 -- probed

    inside: AbstractContextManager[Any] = no_dispatch()
    return inside
