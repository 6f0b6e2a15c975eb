"""Map a function over items in several processes, in order, with a bounded number of results in memory."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from segkit.runtime.processes import worker_context

Item = TypeVar("Item")
Out = TypeVar("Out")

MAX_WORKERS = 8  # with more, disks are the limit, and every process needs its own memory
_BATCH = 8  # items that are sent to a process together
_AHEAD = 2  # batches that are submitted for each process: results cannot pile up in memory


def usable_cores() -> int:
    """Cores that this process may use; containers and schedulers limit them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_in_order(function: Callable[[Item], Out], items: Iterable[Item], *, workers: int) -> Iterator[Out]:
    """Apply ``function`` to every item; results come in the order of the items.

    Args:
        function: Picklable, as are items and results, when there are several workers.
        items: Consumed as the work proceeds.
        workers: Processes; 0 and 1 mean this one.
    """
    if workers <= 1:
        yield from map(function, items)
        return
    pool = ProcessPoolExecutor(workers, _context())
    try:
        waiting: deque[Future[list[Out]]] = deque()
        source = iter(items)
        while some := list(islice(source, _BATCH)):
            waiting.append(pool.submit(partial(_apply, function), some))
            if len(waiting) > _AHEAD * workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _apply(function: Callable[[Any], Out], items: Sequence[Any]) -> list[Out]:
    return [function(item) for item in items]


def _context() -> Any:
    """Fork where there is one thread, which saves half a second of imports for each process; else spawn."""
    return worker_context(fork=threading.active_count() == 1)
