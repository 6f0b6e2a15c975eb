"""tracemalloc's snapshots, by the line of the script."""

import tracemalloc
from pathlib import Path
from typing import Any

OWN = frozenset(str(Path(__file__).with_name(name)) for name in ("probes.py", "steps.py"))


def read_snapshots(folder: Path, script: Path, found: dict[str, Any]) -> dict[str, Any]:
    """``samples``: for each snapshot, bytes and blocks by line of the script.

    What the measuring itself has allocated is left out, although the script's lines call it.
    """
    return {"samples": [_by_line(path, str(script)) for path in sorted(folder.glob("*.snapshot"))]}


def _by_line(path: Path, script: str) -> dict[str, list[int]]:
    lines: dict[str, list[int]] = {}
    line_of: dict[Any, str | None] = {}
    # The raw tuples: the public functions make an object for each trace and frame, and take fifty times as long.
    for _, size, frames, *_ in tracemalloc.Snapshot.load(str(path)).traces._traces:
        if frames not in line_of:
            line_of[frames] = _innermost(frames, script)
        number = line_of[frames]
        if number is not None:
            held = lines.setdefault(number, [0, 0])
            held[0] += size
            held[1] += 1
    return lines


def _innermost(frames: tuple[tuple[str, int], ...], script: str) -> str | None:
    """The newest line of the script on a stack, which begins with its newest frame."""
    if any(file in OWN for file, _ in frames):
        return None
    return next((str(number) for file, number in frames if file == script), None)
