"""What a CUDA device holds: the caching allocator's own figures, the driver's, and those of pinned host memory."""

from typing import Any, NamedTuple

import torch

from segkit.memory import private


class DeviceFigures(NamedTuple):
    """Bytes of the caching allocator, at most since the last reading.

    Attributes:
        peak: In tensors and workspaces.
        reserved: Taken from the device.
        fragmented: Free parts of segments that are in use.
    """

    peak: int
    reserved: int
    fragmented: int


def read() -> DeviceFigures | None:
    """The allocator's figures, whose peaks begin anew; None where no CUDA device is in use."""
    if not private.on_cuda():
        return None
    stats = torch.cuda.memory_stats_as_nested_dict()  # flat keys would cost ten times as much
    torch.cuda.reset_peak_memory_stats()
    return DeviceFigures(
        int(stats["allocated_bytes"]["all"]["peak"]), int(stats["reserved_bytes"]["all"]["peak"]),
        int(stats.get("inactive_split_bytes", {}).get("all", {}).get("peak", 0)),
    )  # fmt: skip


def allocated() -> int:
    """Bytes of the caching allocator that are in use now."""
    return int(torch.cuda.memory_allocated())


def driver_used() -> int | None:
    """Bytes in use on the device, by the driver's account: contexts, libraries and other processes included."""
    if not private.on_cuda():
        return None
    free, total = torch.cuda.mem_get_info()
    return int(total - free)


def pinned() -> int | None:
    """Bytes of pinned host memory that PyTorch has taken and keeps; None where it does not say."""
    stats = private.host_memory_stats()
    return None if stats is None else _first(stats, "reserved_bytes.current", "allocated_bytes.current")


def _first(stats: dict[str, Any], *names: str) -> int | None:
    return next((int(stats[name]) for name in names if name in stats), None)


def rounded(size: int) -> int:
    """What the allocator gives for a request of ``size`` bytes, at least: whole blocks of 512 bytes."""
    return -(-size // 512) * 512
