"""A model of CUDA's caching allocator: what it reserves for a series of allocations and releases.

Sizes and rules are those of c10/cuda/CUDACachingAllocator.cpp: blocks are multiples of 512 bytes; up to 1 MiB they are
cut from segments of 2 MiB, below 10 MiB from segments of 20 MiB, else they get their own segment, in multiples of
2 MiB; the best fit is taken, and split where enough is left; free neighbours are merged. With expandable segments there
is one segment for small and one for large blocks, which grow at their ends. Where memory is short, segments without a
used block are freed first. One stream; no garbage collection, no rounding to powers of two.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import NamedTuple

from segkit.memory.simulate.trace import Event

_MIB = 1 << 20
_UNIT, _SMALL, _SMALL_SEGMENT, _LARGE_SEGMENT, _OWN_SEGMENT, _ROUND = (
    512, _MIB, 2 * _MIB, 20 * _MIB, 10 * _MIB, 2 * _MIB,
)  # fmt: skip


class OutOfMemory(Exception):
    """The device has not enough memory."""


class ReplayPeaks(NamedTuple):
    """Peaks in bytes between some events: of blocks in use, and of what was reserved for them."""

    allocated: tuple[int, ...]
    reserved: tuple[int, ...]


class _Block:
    __slots__ = ("address", "after", "before", "free", "size", "small")

    def __init__(self, address: int, size: int, small: bool) -> None:
        self.address, self.size, self.small = address, size, small
        self.free = True
        self.before: _Block | None = None
        self.after: _Block | None = None


class CachingAllocator:
    """The state of the allocator.

    Attributes:
        allocated: Bytes in blocks that are in use.
        reserved: Bytes in segments.
    """

    def __init__(self, *, expandable: bool = False, limit: int | None = None) -> None:
        """Begin with no segment; ``limit``: the memory of the device."""
        self.allocated = self.reserved = 0
        self._expandable, self._limit = expandable, limit
        self._free: dict[bool, list[tuple[int, int, _Block]]] = {True: [], False: []}
        self._used: dict[int, _Block] = {}
        self._ends: dict[bool, _Block] = {}  # of expandable segments
        self._next_address = 0

    def allocate(self, number: int, size: int) -> None:
        """Allocate a block.

        Raises:
            OutOfMemory: It does not fit.
        """
        size = max(_UNIT, -(-size // _UNIT) * _UNIT)
        small = size <= _SMALL
        block = self._best_fit(size, small) or self._grow(size, small)
        left = block.size - size
        if left >= _UNIT if small or self._expandable else left > _SMALL:
            self._split(block, size)
        block.free = False
        self._used[number] = block
        self.allocated += block.size

    def release(self, number: int) -> None:
        """Free a block."""
        block = self._used.pop(number)
        self.allocated -= block.size
        block.free = True
        for neighbour in (block.before, block.after):
            if neighbour is not None and neighbour.free:
                self._remove(neighbour)
                block = self._merge(*sorted((neighbour, block), key=lambda each: each.address))
        insort(self._free[block.small], (block.size, block.address, block))

    def _best_fit(self, size: int, small: bool) -> _Block | None:
        free = self._free[small]
        place = bisect_left(free, (size, -1))  # a shorter tuple is the smaller one
        return free.pop(place)[2] if place < len(free) else None

    def _grow(self, size: int, small: bool) -> _Block:
        """A free block of a new segment."""
        if self._expandable:
            return self._extend(size, small)
        segment = _SMALL_SEGMENT if small else _LARGE_SEGMENT if size < _OWN_SEGMENT else -(-size // _ROUND) * _ROUND
        self._reserve(segment)
        block = _Block(self._next_address, segment, small)
        self._next_address += segment + 1  # a gap: segments are not merged
        return block

    def _extend(self, size: int, small: bool) -> _Block:
        page = _SMALL_SEGMENT if small else _LARGE_SEGMENT
        end = self._ends.get(small)
        there = end.size if end is not None and end.free else 0
        more = -(-(size - there) // page) * page
        self._reserve(more)
        if end is not None and end.free:
            self._remove(end)
            end.size += more
            return end
        block = _Block(end.address + end.size if end is not None else (1 << 60) * (1 + small), more, small)
        block.before = end
        if end is not None:
            end.after = block
        self._ends[small] = block
        return block

    def _reserve(self, size: int) -> None:
        if self._limit is not None and self.reserved + size > self._limit:
            self._free_segments()
            if self.reserved + size > self._limit:
                raise OutOfMemory
        self.reserved += size

    def _free_segments(self) -> None:
        """Free the segments without a used block."""
        if self._expandable:
            return  # they have no such segments, and grow only where nothing else fits
        for small, free in self._free.items():
            kept = [entry for entry in free if entry[2].before is not None or entry[2].after is not None]
            self.reserved -= sum(size for size, _, _ in free) - sum(size for size, _, _ in kept)
            self._free[small] = kept

    def _split(self, block: _Block, size: int) -> None:
        rest = _Block(block.address + size, block.size - size, block.small)
        rest.before, rest.after = block, block.after
        if block.after is not None:
            block.after.before = rest
        block.after, block.size = rest, size
        if self._ends.get(block.small) is block:
            self._ends[block.small] = rest
        insort(self._free[block.small], (rest.size, rest.address, rest))

    def _merge(self, low: _Block, high: _Block) -> _Block:
        low.size += high.size
        low.after = high.after
        if high.after is not None:
            high.after.before = low
        if self._ends.get(low.small) is high:
            self._ends[low.small] = low
        return low

    def _remove(self, block: _Block) -> None:
        free = self._free[block.small]
        del free[bisect_left(free, (block.size, block.address))]


def replay(
    events: Sequence[Event], ends: Sequence[int], *, expandable: bool = False, limit: int | None = None
) -> ReplayPeaks:
    """Replay a trace with an allocator.

    Args:
        events: What was allocated and freed, in order.
        ends: Where the parts of the trace end whose peaks are wanted; the first part begins with the first event.
        expandable: Whether segments grow at their ends.
        limit: The memory of the device; None: unlimited.

    Raises:
        OutOfMemory: The limit is too small.
    """
    allocator = CachingAllocator(expandable=expandable, limit=limit)
    allocated, reserved, begin = [], [], 0
    for end in ends:
        most = most_reserved = 0
        for number, size in events[begin:end]:
            if size:
                allocator.allocate(number, size)
                most, most_reserved = max(most, allocator.allocated), max(most_reserved, allocator.reserved)
            else:
                allocator.release(number)
        allocated.append(most)
        reserved.append(most_reserved)
        begin = end
    return ReplayPeaks(tuple(allocated), tuple(reserved))


def least_limit(events: Sequence[Event], end: int) -> int:
    """The smallest memory that is enough for the events before ``end``, to a hundredth."""
    whole = replay(events, (end,))
    enough, too_little = whole.reserved[0], whole.allocated[0] - 1
    while enough - too_little > enough // 100:
        tried = (enough + too_little) // 2
        try:
            replay(events, (end,), limit=tried)
            enough = tried
        except OutOfMemory:
            too_little = tried
    return enough
