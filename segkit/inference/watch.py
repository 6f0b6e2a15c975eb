"""``predict --watch``: what arrives in folders is predicted, until the user asks to stop or a limit is reached."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from segkit.config.predict import PredictConfig
from segkit.errors import ConfigError
from segkit.inference.arrivals import Arrival, Arrivals
from segkit.inference.input_files import Picture, name_pictures, with_pages
from segkit.inference.notes import Notes
from segkit.inference.output_folder import Work
from segkit.inference.phases import PHASES
from segkit.inference.pipeline import Pipeline
from segkit.inference.predicting import Predicted
from segkit.memory.measure.host import resident
from segkit.progress import Progress
from segkit.runtime.signals import StopRequest
from segkit.units import counted, format_bytes, format_duration

_WAIT_SECONDS = 0.5  # for the next picture, before it is looked whether this is the end
_BATCHES = 16  # that are taken at once: so long no picture that arrives later can be taken
_TABLES_SECONDS = 60.0  # between two times that the files of all pictures are written, when nothing waits

_FEW = 5

Report = Callable[[dict[str, Any]], None]


class Watch:
    """Reports each picture that is written, and knows when it is the end.

    Attributes:
        pictures: Number of pictures that were predicted.
        limit: Which limit was exceeded, in words.
    """

    def __init__(self, config: PredictConfig, stop: StopRequest, report: Report, progress: Progress) -> None:
        """Begin now.

        Args:
            config: The limits.
            stop: Whether the user has asked to stop.
            report: Called with the record of each picture, and how long it took.
            progress: Receives a line for each picture.

        Raises:
            ConfigError: More memory is used already than there may be.
        """
        self._config, self._stop, self._report, self._progress = config, stop, report, progress
        self._began = time.monotonic()
        self._came: dict[Path, float] = {}
        self._left: Callable[[], int] = lambda: 0
        self._taken = 0
        self.pictures = 0
        self.limit: str | None = None
        if config.max_rss is not None and (now := resident()) > config.max_rss:
            raise ConfigError(
                f"--max-rss {format_bytes(config.max_rss)}: {format_bytes(now)} are used before the first picture",
                "name more: it would be started again and again",
            )

    def ends(self) -> bool:
        """Whether it is the end."""
        until = self._config.until
        return self._stop.asked or self.limit is not None or (until is not None and self.seconds >= until)

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._began

    def take(self, arrivals: Arrivals, most: int) -> list[Arrival]:
        """The next pictures, remembered with the times when they came."""
        taken = arrivals.take(most, _WAIT_SECONDS)
        self._came = {each.path: each.at for each in taken if each.at is not None}
        self._left = lambda: arrivals.waiting
        self._taken = len(taken)
        return taken

    def written(self, predicted: Predicted, record: dict[str, Any]) -> None:
        """A picture is written: say how long it took, and see whether a limit is exceeded."""
        self.pictures += 1
        self._taken = max(0, self._taken - 1)
        came = self._came.get(predicted.done.picture.path)
        latency = None if came is None else time.monotonic() - came
        rss, queue = resident(), self._left() + self._taken
        seconds = {name: round(value, 4) for name, value in predicted.phases.seconds.items()}
        self._report(
            record | {"seconds": seconds, "latency": latency and round(latency, 3), "queue": queue, "rss": rss}
        )
        phases = " ".join(f"{name} {predicted.phases.seconds[name]:.3f}" for name in PHASES)
        after = "" if latency is None else f", {latency:.1f} s after it came"
        self._progress.note(
            f"{record['file']}: {counted(len(record['instances']), 'instance', 'instances')}; {phases} s{after}; "
            f"queue {queue}; resident {format_bytes(rss)}"
        )
        self._look_at_limits(record["file"], latency, rss)

    def _look_at_limits(self, name: str, latency: float | None, rss: int) -> None:
        most_memory, most_seconds = self._config.max_rss, self._config.max_latency
        if self.limit is not None:
            return
        if most_memory is not None and rss > most_memory:
            self.limit = f"{format_bytes(rss)} of memory are used, more than --max-rss {format_bytes(most_memory)}"
        elif most_seconds is not None and latency is not None and latency > most_seconds:
            self.limit = (
                f"{name}: was done {latency:.1f} s after it came, more than --max-latency "
                f"{format_duration(most_seconds)}"
            )


def watch(
    config: PredictConfig,
    found: Mapping[Path, str],
    work: Work,
    pipeline: Pipeline,
    own: Watch,
    finish: Callable[[], object],
    progress: Progress,
) -> Notes:
    """Predict what is in folders and what arrives, until it is the end.

    Args:
        config: The folders.
        found: Pictures that were there when ``work`` was seen, with their names.
        work: What was done before.
        pipeline: Predicts.
        own: Knows when it is the end.
        finish: Writes the files of all pictures.
        progress: Receives messages.

    Returns:
        What is to be said of the pictures.

    Raises:
        ConfigError: What is named is no folder.
    """
    todo = {picture.path for picture in work.todo}
    done = frozenset(path for path in found if path not in todo)
    notes, named, batch = pipeline.no_notes(), list(work.before), config.batch
    with closing(Arrivals(config.source, config.out, done, config.settle)) as arrivals:
        folders = counted(len(config.source), "folder", "folders")
        progress.note(f"watching {folders}; Ctrl-C ends after the pictures at hand, and a second one at once")
        tables, is_new = time.monotonic(), False
        while not own.ends():
            taken = own.take(arrivals, _BATCHES * batch)
            for said in arrivals.notes():
                progress.note(said)
            _note_incomplete(taken, notes, progress)
            pictures = _named([each for each in taken if each.why is None], named, config, work)
            for _, more in pipeline.run([pictures[n : n + batch] for n in range(0, len(pictures), batch)], own.ends):
                for message in more.failed:
                    progress.note(f"error: {message}")
                notes.add(more)
            is_new = is_new or bool(pictures)
            if is_new and not taken and time.monotonic() - tables >= _TABLES_SECONDS:
                finish()
                tables, is_new = time.monotonic(), False
        if (left := arrivals.unfinished()) and not own.limit:
            progress.note(f"warning: {counted(len(left), 'file was', 'files were')} not complete yet: {_some(left)}")
    return notes


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
