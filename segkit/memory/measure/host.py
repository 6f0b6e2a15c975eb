"""What the host process holds, in bytes, as the C library and the kernel count it; read in microseconds."""

import contextlib
import ctypes
import os
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


class _Mallinfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
    )]  # fmt: skip


@lru_cache(maxsize=1)
def _mallinfo2() -> Any:
    """Glibc's ``mallinfo2`` (2.33 and later); None with other C libraries."""
    try:
        function = ctypes.CDLL(None).mallinfo2
    except (AttributeError, OSError, TypeError):
        return None
    function.restype = _Mallinfo2
    return function


def malloc_in_use() -> int | None:
    """Bytes that malloc has allocated and that were not freed; None with other C libraries.

    RSS does not show them: it includes what was freed and what glibc retains.
    """
    function = _mallinfo2()
    if function is None:
        return None
    info = function()
    return int(info.uordblks + info.hblkhd)


def malloc_retained() -> int | None:
    """Bytes that were freed and that malloc has not returned to the system; None with other C libraries."""
    function = _mallinfo2()
    return None if function is None else int(function().fordblks)


def resident() -> int:
    """The resident set of this process; 0 where the system does not report it."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0


class Mapped(NamedTuple):
    """A process's memory as the kernel counts it, in bytes: private and shared."""

    resident: int
    proportional: int
    private: int
    shared: int


def mapped(pid: int | str = "self") -> Mapped | None:
    """A process's private and shared memory (takes milliseconds); None where the system does not report it."""
    totals: dict[str, int] = {}
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]:
            name, _, rest = line.partition(":")
            totals[name] = int(rest.split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        return None
    private = totals.get("Private_Clean", 0) + totals.get("Private_Dirty", 0)
    shared = totals.get("Shared_Clean", 0) + totals.get("Shared_Dirty", 0)
    return Mapped(totals.get("Rss", 0), totals.get("Pss", 0), private, shared)


def host_limit() -> int | None:
    """Bytes that this process may use: the limit of the control group, or the memory of the machine."""
    limits = []
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(path).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdigit() and int(text) < 2**60:
            limits.append(int(text))
    with contextlib.suppress(ValueError, OSError, AttributeError):
        limits.append(os.sysconf("SC_PHYS_PAGES") * _PAGE)
    return min(limits, default=None)
