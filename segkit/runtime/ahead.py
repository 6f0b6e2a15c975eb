"""Work that threads do ahead of who needs it, in order and within bounds.

It imports nothing but the standard library.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


class _Room:
    """Lets work begin while what is held is less than a bound, and always that which is waited for."""

    def __init__(self, most: int) -> None:
        self._most, self._held, self._wanted, self._closed = most, 0, 0, False
        self._changed = threading.Condition()

    def enter(self, number: int) -> bool:
        """Wait for room; returns False when nobody wants the outcome any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or number <= self._wanted or self._held < self._most)
            return not self._closed

    def add(self, weight: int) -> None:
        with self._changed:
            self._held += weight
            self._changed.notify_all()

    def want(self, number: int) -> None:
        with self._changed:
            self._wanted = number
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def in_order(
    items: Iterable[Item],
    work: Callable[[Item], Outcome],
    *,
    threads: int,
    ahead: int,
    weight: Callable[[Outcome], int],
    most: int,
) -> Generator[Outcome, None, None]:
    """``map(work, items)``, in threads that work ahead; the outcomes keep the order of the items.

    Closing the iterator waits for what has begun, and nothing more begins.

    Args:
        items: Taken by the thread that iterates.
        work: Called in the threads.
        threads: How many; 0: everything happens in the thread that iterates.
        ahead: Items at most that are begun and not yet taken.
        weight: Of an outcome, for example its bytes.
        most: Weight from which on nothing is begun before it is needed.
    """
    if not threads:
        yield from map(work, items)
        return
    room = _Room(most)

    def begin(number: int, item: Item) -> tuple[Outcome, int] | None:
        if not room.enter(number):
            return None
        outcome = work(item)
        weighs = weight(outcome)
        room.add(weighs)
        return outcome, weighs

    pool = ThreadPoolExecutor(threads, "ahead")
    pending: deque[Future[tuple[Outcome, int] | None]] = deque()
    numbered = enumerate(items)
    taken = 0
    try:
        while True:
            while len(pending) < ahead and (each := next(numbered, None)) is not None:
                pending.append(pool.submit(begin, *each))
            if not pending:
                return
            room.want(taken)
            found = pending.popleft().result()
            assert found is not None  # it is closed below only
            taken += 1
            room.add(-found[1])
            yield found[0]
    finally:
        room.close()
        pool.shutdown(wait=True, cancel_futures=True)


class Behind(Generic[Item, Outcome]):
    """Work that threads do afterwards; what follows it happens in the calling thread, in the order of the items."""

    def __init__(
        self,
        work: Callable[[Item], Outcome],
        then: Callable[[Item, Outcome], None],
        *,
        threads: int,
        ahead: int,
        weight: Callable[[Item], int],
        most: int,
    ) -> None:
        """Nothing is waited for yet.

        Args:
            work: Called in the threads.
            then: Called with an item and its outcome.
            threads: How many; 0: everything happens in the calling thread.
            ahead: Items at most whose ``then`` is still to come.
            weight: Of an item, for example its bytes.
            most: Weight of such items from which on the first of them is waited for.
        """
        self._work, self._then, self._weight = work, then, weight
        self._ahead, self._most, self._held = ahead, most, 0
        self._pool = ThreadPoolExecutor(threads, "behind") if threads else None
        self._pending: deque[tuple[Item, Future[Outcome]]] = deque()

    def put(self, item: Item) -> None:
        """Begin the work of an item, and end that of earlier ones which are ready, or too many."""
        if self._pool is None:
            self._then(item, self._work(item))
            return
        self._pending.append((item, self._pool.submit(self._work, item)))
        self._held += self._weight(item)
        while self._pending and (
            self._pending[0][1].done() or len(self._pending) > self._ahead or self._held > self._most
        ):
            self._end_first()

    def drain(self) -> None:
        """Wait for all that was begun."""
        while self._pending:
            self._end_first()

    def close(self) -> None:
        """Wait for all that was begun, also after an error, so that nothing that was done is lost."""
        try:
            self.drain()
        finally:
            if self._pool is not None:
                self._pool.shutdown(wait=True, cancel_futures=True)

    def _end_first(self) -> None:
        item, future = self._pending.popleft()
        self._held -= self._weight(item)
        self._then(item, future.result())
