"""memray's captures, by the line of the script that is innermost on the stack."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

RANGE = (1 / 4, 7 / 8)  # of the steps
FEWEST = 8

Groups = tuple[Counter[str], Counter[str]]


def read_captures(folder: Path, script: Path, found: dict[str, Any]) -> dict[str, Any]:
    """What was not freed: a list of (place, bytes, allocations), largest first, for each of two views.

    ``whole`` is what ``--leaks`` shows: not freed by the end. ``range`` is what ``--temporal --leaks`` shows for the
    time from a quarter to seven eighths of the steps: allocated and not freed in that time, which ends before a
    function returns that owns what is kept. The last two steps are left out. A place is a line number in the script, or
    ``file:line`` elsewhere. The captures of loader workers are added.
    """
    import memray

    whole: Groups = Counter(), Counter()
    between: Groups = Counter(), Counter()
    marks = [1000 * mark for mark in found["marks"]]
    begin, end = (int(share * len(marks)) for share in RANGE)
    # What the unfinished steps at the end have allocated is no leak, and users know it.
    bounds = (marks[begin], marks[end - 2], marks[end]) if len(marks) >= FEWEST else ()
    files = sorted(folder.glob("capture.bin*"))
    for path in files:
        reader = memray.FileReader(path)
        for record in reader.get_leaked_allocation_records(merge_threads=True):
            _add(whole, place(record.stack_trace(), script), record.size, record.n_allocations)
        if not bounds:
            continue
        times = [snapshot.time for snapshot in reader.get_memory_snapshots()]
        first, late, last = (_index(times, mark) for mark in bounds)
        for record in reader.get_temporal_allocation_records(merge_threads=True):
            for interval in record.intervals:
                freed = interval.deallocated_before_snapshot
                if first < interval.allocated_before_snapshot < late and (freed is None or freed > last):
                    _add(between, place(record.stack_trace(), script), interval.n_bytes, interval.n_allocations)
    return {"whole": _largest(whole), "range": _largest(between), "captures": len(files)}


def place(stack: list[tuple[str, str, int]], script: Path) -> str:
    """The script's own line, if it is on the stack."""
    mine = next((str(number) for _, file, number in stack if file == str(script)), None)
    return mine or (f"{stack[0][1]}:{stack[0][2]}" if stack else "?")


def _add(groups: Groups, where: str, size: int, count: int) -> None:
    groups[0][where] += size
    groups[1][where] += count


def _largest(groups: Groups, number: int = 30) -> list[list[Any]]:
    return [[where, size, groups[1][where]] for where, size in groups[0].most_common(number)]


def _index(times: Iterable[float], moment: float) -> int:
    return sum(time < moment for time in times)
