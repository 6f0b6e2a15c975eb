"""Union-find: which things belong together, directly or through others."""

from collections import defaultdict


class UnionFind:
    """Disjoint sets of the numbers below ``count``, with path halving."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def _root(self, index: int) -> int:
        parent = self._parent
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    def join(self, a: int, b: int) -> None:
        """Put the sets of two numbers into one."""
        self._parent[self._root(a)] = self._root(b)

    def sets(self) -> list[list[int]]:
        """The sets, each sorted, in the order of their smallest numbers."""
        members: dict[int, list[int]] = defaultdict(list)
        for index in range(len(self._parent)):
            members[self._root(index)].append(index)
        return list(members.values())
