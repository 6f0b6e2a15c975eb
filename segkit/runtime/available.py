"""How much memory is left, in bytes: of a GPU, or of the machine within the limits of this process's control groups."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    import torch

_CGROUPS = Path("/sys/fs/cgroup")
_NO_LIMIT = 1 << 60  # version 1 writes a number near 2^63


def available_memory(device: "torch.device") -> int:
    """Bytes that this process can still take.

    Of a GPU that is what is free and what its allocator keeps unused, within ``--vram``.
    """
    if device.type == "cuda":
        import torch  # noqa: PLC0415 -- files predict without PyTorch

        free, _ = torch.cuda.mem_get_info(device)
        allocated = torch.cuda.memory_allocated(device)
        whole = torch.cuda.get_device_properties(device).total_memory
        limit = whole * torch.cuda.get_per_process_memory_fraction(device)
        return int(min(free + torch.cuda.memory_reserved(device), limit) - allocated)
    return available_on_host()


def available_on_host() -> int:
    """Bytes of the machine's memory that this process can still take, within its control groups."""
    return min([int(psutil.virtual_memory().available), *left_in_groups(_CGROUPS, Path("/proc/self/cgroup"))])


def left_in_groups(root: Path, own: Path) -> Iterator[int]:
    """What is left in each control group with a limit that a process is in (Linux; versions 1 and 2).

    Args:
        root: Where control groups are mounted.
        own: The file that says which ones the process is in.
    """
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, place = line.split(":", 2)
        if number == "0":
            base, names = root, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            base, names = root / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        group = Path(os.path.normpath(f"{base}/{place}"))
        for folder in (group, *group.parents):  # in a container the group itself may be mounted as the root
            if folder.is_relative_to(base) and (left := _left(folder, *names)) is not None:
                yield left


def _left(folder: Path, limit: str, usage: str, cache: str) -> int | None:
    """The limit of a group without what it uses; files that are cached can go. None: there is no limit."""
    try:
        most = (folder / limit).read_text(encoding="ascii").strip()
        used = int((folder / usage).read_text(encoding="ascii"))
        cached = [int(line.split()[1]) for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines()
                  if line.split()[0] == cache]  # fmt: skip
    except (OSError, ValueError, IndexError):
        return None
    if not most.isdigit() or int(most) >= _NO_LIMIT:
        return None
    return max(0, int(most) - used + sum(cached))
