"""Errors that tell of memory that ran out, with PyTorch and without."""

from collections.abc import Iterator
from contextlib import contextmanager

from segkit.errors import DeviceError, tells_of_memory
from segkit.runtime.loaded_torch import torch_if_loaded


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out: torch has a class for that, libraries below it only words."""
    torch = torch_if_loaded()
    return (torch is not None and isinstance(error, torch.OutOfMemoryError)) or tells_of_memory(error)


@contextmanager
def reraise_out_of_memory(hint: str) -> Iterator[None]:
    """Raise an out-of-memory error of the device as a ``DeviceError``.

    Args:
        hint: How to need less memory.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        first = str(error).partition(". GPU")[0].partition("\n")[0]
        raise DeviceError(f"out of memory: {first}", hint) from error
