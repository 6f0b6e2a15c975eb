"""Bytes and durations as text."""


def format_bytes(count: float | None) -> str:
    """Format bytes as ``512 B``, ``1.5 KiB``, ``20.0 MiB`` or ``3.25 GiB``; None as a dash."""
    if count is None:
        return "-"
    if abs(count) < 2**20 / 10:
        return f"{count:.0f} B" if abs(count) < 1024 else f"{count / 1024:.1f} KiB"
    return f"{count / 2**30:.2f} GiB" if abs(count) >= 2**30 / 10 else f"{count / 2**20:.1f} MiB"


def format_duration(seconds: float) -> str:
    """Format seconds as ``1h02m``, ``3m20s`` or ``12s``."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 60}m{whole % 60:02d}s" if whole >= 60 else f"{whole}s"
