"""Repairs in the records of a file: one warning for each kind, however many records have it."""

from collections.abc import Iterable
from pathlib import Path


class Repairs:
    """The repairs in a file, counted by kind."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._counts: dict[str, int] = {}
        self._first: dict[str, str] = {}

    def add(self, record: str, repairs: Iterable[str]) -> None:
        """Count the repairs of one record."""
        for repair in repairs:
            self._counts[repair] = self._counts.get(repair, 0) + 1
            self._first.setdefault(repair, record)

    def warnings(self) -> tuple[str, ...]:
        """A line for each kind, with the first record that it was found in."""
        return tuple(
            f"{self._path}: {self._first[repair]}{f' and {count - 1} more' if count > 1 else ''}: {repair}"
            for repair, count in self._counts.items()
        )
