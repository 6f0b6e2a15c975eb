"""What the host process holds, in bytes."""

import ctypes
from functools import lru_cache
from typing import Any


class _Mallinfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
    )]  # fmt: skip


@lru_cache(maxsize=1)
def _mallinfo2() -> Any:
    """Glibc's own account (2.33 and later); None with other C libraries."""
    try:
        function = ctypes.CDLL(None).mallinfo2
    except (AttributeError, OSError, TypeError):
        return None
    function.restype = _Mallinfo2
    return function


def malloc_in_use() -> int | None:
    """Bytes that malloc has handed out and not got back, which RSS, with what glibc retains, cannot tell; or None."""
    function = _mallinfo2()
    if function is None:
        return None
    info = function()
    return int(info.uordblks + info.hblkhd)
