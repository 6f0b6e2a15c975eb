"""The smallest part of a batch that still fails."""

from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")
MOST_TRIES = 200


def shrink(items: Sequence[Item], fails: Callable[[Sequence[Item]], bool]) -> tuple[list[Item], bool]:
    """A part that fails, and of which no single item can be left out.

    Delta debugging (Zeller and Hildebrandt 2002): halves are tried, then their complements, then smaller parts.

    Args:
        items: What fails as a whole.
        fails: Whether a part fails; it is called with fewer items than that.

    Returns:
        The part in its order, and whether the search came to its end; it ends after 200 tries, too.
    """
    left, parts, tries = list(items), 2, 0
    while len(left) > 1:
        parts = min(parts, len(left))
        size = -(-len(left) // parts)
        chunks = [left[start : start + size] for start in range(0, len(left), size)]
        others = [[item for other in chunks if other is not chunk for item in other] for chunk in chunks]
        for place, some in enumerate([*chunks, *(others if len(chunks) > 2 else [])]):
            if tries == MOST_TRIES:
                return left, False
            tries += 1
            if fails(some):
                left, parts = some, 2 if place < len(chunks) else max(2, len(chunks) - 1)
                break
        else:
            if len(chunks) == len(left):
                break
            parts = 2 * len(chunks)
    return left, True
