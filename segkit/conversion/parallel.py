"""Map a function over items in several processes, in order, with a bounded number of results in memory."""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import chain, islice
from typing import Any, TypeVar

from segkit.runtime.processes import may_start_processes, worker_context
from segkit.runtime.signals import signals_held

Item = TypeVar("Item")
Out = TypeVar("Out")

MAX_WORKERS = 8  # with more, disks are the limit, and every process needs its own memory
_BATCH = 8  # items that are sent to a process together
_AHEAD = 2  # batches that are submitted for each process: results cannot pile up in memory


def map_in_order(
    function: Callable[[Item], Out],
    items: Iterable[Item],
    *,
    workers: int,
    lost: Callable[[Item], Out] | None = None,
    warn: Callable[[str], None] = lambda message: None,
) -> Generator[Out]:
    """Apply ``function`` to every item; results come in the order of the items.

    When a process dies, fewer of them go on where it was, at last one, item by item. An item at which that one dies,
    too, may have killed it: it is given up.

    Args:
        function: Picklable, as are items and results, when there are several workers.
        items: Consumed as the work proceeds.
        workers: Processes; 0 and 1 mean this one.
        lost: Gives the result of an item that is given up; None: raise.
        warn: Called with a message when a process dies.
    """
    if workers <= 1 or not may_start_processes():
        yield from map(function, items)
        return
    source = iter(items)
    while True:
        waiting: deque[list[Item]] = deque()
        at_once = _BATCH if workers > 1 else 1
        try:
            yield from _in_pool(function, source, waiting, max(workers, 1), at_once)
            return
        except BrokenProcessPool:
            unfinished = list(chain.from_iterable(waiting))
            if workers == 1 and lost is not None:
                yield lost(unfinished[0])
                del unfinished[0]
            elif workers == 1:
                raise
            else:
                workers //= 2
                warn(f"warning: a process died, perhaps for want of memory; going on with {workers} (--workers)")
            source = chain(unfinished, source)


def _in_pool(
    function: Callable[[Item], Out], source: Iterator[Item], waiting: deque[list[Item]], workers: int, at_once: int
) -> Iterator[Out]:
    """Results from a pool of processes; ``waiting`` holds the items that have no result yet."""
    pool = ProcessPoolExecutor(workers, _context())
    futures: deque[Future[list[Out]]] = deque()
    try:
        while True:
            while len(futures) <= _AHEAD * workers and (some := list(islice(source, at_once))):
                waiting.append(some)
                with signals_held():  # an interrupt between two starts would leave processes that nobody ends
                    futures.append(pool.submit(partial(_apply, function), some))
            if not futures:
                return
            done = futures.popleft().result()
            waiting.popleft()
            yield from done
    finally:
        pool.shutdown(cancel_futures=True)


def _apply(function: Callable[[Any], Out], items: Sequence[Any]) -> list[Out]:
    return [function(item) for item in items]


def _context() -> Any:
    """Fork where there is one thread, which saves half a second of imports for each process; else spawn."""
    return worker_context(fork=threading.active_count() == 1)
