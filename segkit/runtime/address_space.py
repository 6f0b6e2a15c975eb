"""The limit on the addresses of this process (``ulimit -v``), which PyTorch's libraries use up in gigabytes."""

from segkit.progress import Progress
from segkit.units import format_bytes

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_ENOUGH = 16 << 30  # bytes: CUDA's libraries are 4 GiB, and a GPU's memory gets addresses too


def limit_on_addresses() -> str | None:
    """A warning where a process may end in PyTorch without a word; None where its addresses are not that limited.

    C++ code that finds no memory in a thread of its own, or while an error is on its way, ends the process at once.
    """
    if resource is None:
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY or limit >= _ENOUGH:
        return None
    return (
        f"ulimit -v leaves this process {format_bytes(limit)} of addresses, of which PyTorch takes several GiB: if "
        "it ends without a message, raise that limit"
    )


def warn_of_limit(progress: Progress) -> None:
    """Warn, before PyTorch is loaded, of what may end the process in it without a message."""
    if (warning := limit_on_addresses()) is not None:
        progress.note(f"warning: {warning}")
