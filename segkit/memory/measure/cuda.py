"""What a CUDA device holds, by the caching allocator and by the driver; and pinned host memory."""

import weakref
from typing import NamedTuple

import torch

from segkit.memory.measure import torch_private as private


class DeviceFigures(NamedTuple):
    """Bytes of the caching allocator.

    Attributes:
        allocated: In tensors and workspaces now.
        peak: The highest ``allocated`` since the last reading.
        reserved: The most that was taken from the device since then.
        fragmented: The most that was free in segments in use since then.
    """

    allocated: int
    peak: int
    reserved: int
    fragmented: int


class Reader:
    """Reads peaks since its own last reading; the allocator has one set of peaks, but there may be several readers."""

    def __init__(self, device: torch.device | None = None) -> None:
        self._device = device
        self._unread = DeviceFigures(0, 0, 0, 0)
        _readers.add(self)

    def read(self) -> DeviceFigures | None:
        """The figures now; None where no CUDA device is in use."""
        if not private.on_cuda():
            return None
        stats = torch.cuda.memory_stats_as_nested_dict(self._device)  # flat keys would cost ten times as much
        torch.cuda.reset_peak_memory_stats(self._device)
        allocated, reserved, split = (
            stats[name]["all"] for name in ("allocated_bytes", "reserved_bytes", "inactive_split_bytes")
        )
        now = DeviceFigures(allocated["current"], allocated["peak"], reserved["peak"], split["peak"])
        for reader in _readers:
            reader._unread = DeviceFigures(now.allocated, *map(max, reader._unread[1:], now[1:]))
        figures, self._unread = self._unread, DeviceFigures(0, 0, 0, 0)
        return figures


_readers: "weakref.WeakSet[Reader]" = weakref.WeakSet()


def driver_used() -> int | None:
    """Bytes in use on the device as the driver counts them, with contexts, libraries and other processes."""
    if not private.on_cuda():
        return None
    free, total = torch.cuda.mem_get_info()
    return int(total - free)


def pinned() -> int | None:
    """Bytes of pinned host memory that PyTorch holds; None without CUDA, or where it does not report them."""
    stats = torch.cuda.host_memory_stats() if private.on_cuda() else {}
    return stats.get("reserved_bytes.current", stats.get("allocated_bytes.current"))


def rounded(size: int) -> int:
    """The least that the allocator gives for a request of ``size`` bytes: whole blocks of 512 bytes."""
    return -(-size // 512) * 512
