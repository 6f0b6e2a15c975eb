"""Undocumented symbols of torch that segkit uses outside ``segkit.memory``, each behind a probe."""

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch


def cpu_has_bf16() -> bool:
    """Whether this CPU computes in bfloat16; False where torch cannot be asked, which costs speed only."""
    ask = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # torch.cpu.get_capabilities is public, from 2.12 on
    return bool(ask is not None and ask())


def is_compile_error(error: BaseException) -> bool:
    """Whether ``torch.compile`` raised an error; there is no public class for that."""
    return type(error).__module__.startswith(("torch._dynamo", "torch._inductor"))


def export_with_sides_of_one() -> AbstractContextManager[object]:
    """A context in which ``torch.export`` makes programs that also take dimensions of 1 where they are free.

    Without it, which is where the setting is missing, a program asserts that they are 2 or more.
    """
    try:
        settings = importlib.import_module("torch.fx.experimental._config")
        patched: AbstractContextManager[object] = settings.patch(backed_size_oblivious=True)
    except (ImportError, AttributeError):
        return nullcontext()
    return patched


def short_convolution() -> Callable[..., torch.Tensor] | None:
    """The convolutions of NNPACK, which torch has on some CPUs: 3x3 in fewer products (Lavin and Gray 2015).

    Returns:
        A function of (images, weight, bias, padding, stride), all contiguous and float32; None where there is none.
        It raises ``RuntimeError`` for what it cannot compute.
    """
    ask, run = (getattr(torch, name, None) for name in ("_nnpack_available", "_nnpack_spatial_convolution"))
    return run if ask is not None and run is not None and ask() else None  # asking makes it ready, too
