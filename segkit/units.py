"""Bytes, durations, scores, counts, sizes and the date as text."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime


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


def format_score(value: float | None) -> str:
    """Format a score with three decimals; None and COCO's -1, nothing to average over, as a dash."""
    return "-" if value is None or value == -1 else f"{value:.3f}"


def counted(number: int, one: str, many: str) -> str:
    """A number with what it counts: ``1 image``, ``2 images``."""
    return f"{number} {one if number == 1 else many}"


def any_of(names: Sequence[str]) -> str:
    """Names of which one is meant: ``a``, ``a or b``, ``a, b or c``."""
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def format_size(height: int, width: int) -> str:
    """The size of an image, with the order of its numbers."""
    return f"{height}x{width} pixels (height x width)"


def format_interval(interval: Sequence[float] | None, form: str = ".3f") -> str:
    """Format a confidence interval as ``0.123 to 0.456``, both ends by ``form``; None as nothing."""
    return "" if interval is None else f"{interval[0]:{form}} to {interval[1]:{form}}"


def today() -> str:
    """The date in UTC; that of SOURCE_DATE_EPOCH, where outputs must be repeatable."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    now = datetime.fromtimestamp(int(epoch), UTC) if epoch.isdecimal() else datetime.now(UTC)
    return now.date().isoformat()
