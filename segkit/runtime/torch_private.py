"""Undocumented symbols of torch that segkit uses outside ``segkit.memory``, each behind a probe."""

import importlib
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
