"""What arrives in watched folders, as pictures with names; the first of several ranks looks for all of them."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from segkit.config.predict import PredictConfig
from segkit.inference.arrivals import Arrival, Arrivals
from segkit.inference.input_files import Picture, name_pictures, with_pages
from segkit.inference.notes import Notes
from segkit.inference.output_folder import Work
from segkit.progress import Progress
from segkit.units import counted

_WAIT_SECONDS = 0.5  # for the next picture, before it is looked whether this is the end
_BATCHES = 16  # that are taken at once: so long no picture that arrives later can be taken
_TABLES_SECONDS = 60.0  # between two times that the files of all pictures are written, when nothing waits
_FEW = 5


class Round(NamedTuple):
    """What all ranks hear from the first one.

    Attributes:
        pictures: To predict, in the order in which they came.
        ages: How long ago each of their files came, in seconds; files that were there before are not among them.
        waiting: How many more there are.
        tables: Whether the files of all pictures are to be written now.
    """

    pictures: list[Picture]
    ages: dict[Path, float]
    waiting: int
    tables: bool


class Scout:
    """Sees what arrives.

    Attributes:
        order: The names of all pictures, in the order in which they came.
    """

    def __init__(
        self, config: PredictConfig, found: Mapping[Path, str], work: Work, notes: Notes, progress: Progress
    ) -> None:
        todo = {picture.path for picture in work.todo}
        done = frozenset(path for path in found if path not in todo)
        self._config, self._work, self._notes, self._progress = config, work, notes, progress
        self._named, self.order = list(work.before), list(work.order)
        self._arrivals = Arrivals(config.source, config.out, done, config.settle)
        self._tables, self._is_new = time.monotonic(), False
        folders = counted(len(config.source), "folder", "folders")
        progress.note(f"watching {folders}; Ctrl-C ends after the pictures at hand, and a second one at once")

    def close(self) -> None:
        """Look no longer."""
        self._arrivals.close()

    def look(self, ranks: int) -> Round:
        """What has come; waits a moment for it."""
        taken = self._arrivals.take(_BATCHES * self._config.batch * ranks, _WAIT_SECONDS)
        now = time.monotonic()
        for said in self._arrivals.notes():
            self._progress.note(said)
        _note_incomplete(taken, self._notes, self._progress)
        pictures = _named([each for each in taken if each.why is None], self._named, self._config, self._work)
        self.order += [picture.name for picture in pictures]
        self._is_new = self._is_new or bool(pictures)
        tables = self._is_new and not taken and now - self._tables >= _TABLES_SECONDS
        if tables:
            self._tables, self._is_new = now, False
        ages = {each.path: now - each.at for each in taken if each.at is not None}
        return Round(pictures, ages, self._arrivals.waiting, tables)

    def warn(self) -> None:
        """Say which files were not complete."""
        if left := self._arrivals.unfinished():
            files = counted(len(left), "file was", "files were")
            self._progress.note(f"warning: {files} not complete yet: {_some(left)}")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_FEW]) + (f" and {len(names) - _FEW} more" if len(names) > _FEW else "")


def _note_incomplete(arrivals: Sequence[Arrival], notes: Notes, progress: Progress) -> None:
    """Say which files have not become complete pictures."""
    for each in arrivals:
        if each.why is not None:
            notes.failed.append(each.why)
            progress.note(f"error: {each.why}")


def _named(arrivals: Sequence[Arrival], named: list[Picture], config: PredictConfig, work: Work) -> list[Picture]:
    """The pictures to predict; they get names that no other has, and are added to those that have one."""
    pictures = name_pictures({each.path: each.name for each in arrivals}, named)
    if config.pages == "all":
        pictures = list(with_pages(pictures))
    named += pictures
    return [picture for picture in pictures if picture.name not in work.done]
