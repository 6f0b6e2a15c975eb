"""A training that marks its steps itself: ``segkit.memory.watch()``."""

from typing import Any, Self

from segkit.memory.process.attach import attached
from segkit.memory.report.document import report_of
from segkit.memory.session import Session


class Watching:
    """A session whose steps the caller marks; see ``segkit.memory.watch``."""

    def __init__(self, limit: int | None, deep: bool) -> None:
        outer = attached()
        self._own = outer is None
        self._session = Session(deep=deep) if outer is None else outer.session
        self._limit = limit

    def __enter__(self) -> Self:
        if self._own:
            self._session.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._own:
            self._session.finish()

    def step(self) -> None:
        """End a step; from the first call on, nothing else ends one."""
        self._session.step()

    def report(self) -> dict[str, Any]:
        """What was found so far, as ``memory.json`` holds it."""
        with self._session.tensors.pause():
            return report_of(self._session, self._limit)
