"""``predict --watch``: what arrives in folders is predicted, until the user asks to stop or a limit is reached.

The first of several ranks watches. In rounds it says to all what has come, each predicts its batches of that, and all
hear whether one of them is to end.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from itertools import chain
from pathlib import Path
from typing import Any

from segkit.config.predict import PredictConfig
from segkit.data.locks import one_at_a_time
from segkit.errors import ConfigError, SegkitError
from segkit.evaluation.predicted_images import JOURNAL
from segkit.inference.journal import take_in_ranks
from segkit.inference.load import Task
from segkit.inference.notes import Notes
from segkit.inference.output_folder import Work
from segkit.inference.outputs import Writer
from segkit.inference.phases import PHASES
from segkit.inference.pipeline import Pipeline, threads_of
from segkit.inference.predicting import Predicted
from segkit.inference.scout import Round, Scout
from segkit.memory.measure.host import resident
from segkit.progress import NotesOnly, Progress
from segkit.runtime.ranks import Ranks
from segkit.runtime.signals import StopRequest
from segkit.units import counted, format_bytes, format_duration

Report = Callable[[dict[str, Any]], None]


class Watch:
    """Reports each picture that is written, and knows when it is the end.

    Attributes:
        pictures: Number of pictures that were predicted.
        order: The names of all pictures, in the order in which they came; of the first rank.
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
        self._left = 0
        self._taken = 0
        self.pictures = 0
        self.order: list[str] = []
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

    def _begin(self, now: Round, pictures: int) -> None:
        """Begin a round.

        Args:
            now: What has come.
            pictures: How many of them are for this rank.
        """
        here = time.monotonic()  # clocks of other machines differ
        self._came = {path: here - age for path, age in now.ages.items()}
        self._left, self._taken = now.waiting, pictures

    def watch(
        self, scout: Scout | None, pipeline: Pipeline, writer: Writer, ranks: Ranks, notes: Notes
    ) -> None:  # fmt: skip
        """Predict in rounds, until one of the ranks is to end.

        Args:
            scout: Sees what arrives; of the first rank.
            pipeline: Predicts.
            writer: Writes the results.
            ranks: Share the pictures.
            notes: Receives what is to be said of this rank's pictures.
        """
        batch = self._config.batch
        while not any(ranks.gather(self.ends())):
            now = ranks.gather(None if scout is None else scout.look(ranks.world_size))[0]
            batches = [now.pictures[n : n + batch] for n in range(0, len(now.pictures), batch)]
            mine = batches[ranks.rank :: ranks.world_size]
            self._begin(now, sum(map(len, mine)))
            for _, more in pipeline.run(mine, self.ends):
                for message in more.failed:
                    self._progress.note(f"error: {message}")
                notes.add(more)
            if now.tables:
                _write_tables(self._config.out, scout, writer, ranks)
        self.pictures = sum(ranks.gather(self.pictures))
        self.limit = next((limit for limit in ranks.gather(self.limit) if limit is not None), None)

    def written(self, predicted: Predicted, record: dict[str, Any]) -> None:
        """A picture is written: say how long it took, and see whether a limit is exceeded."""
        self.pictures += 1
        self._taken = max(0, self._taken - 1)
        came = self._came.get(predicted.done.picture.path)
        latency = None if came is None else time.monotonic() - came
        rss, queue = resident(), self._left + self._taken
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


def one_by_one(report: Report, out: Path, ranks: Ranks) -> Report:
    """What several ranks say of their pictures, one after the other."""

    def said(record: dict[str, Any]) -> None:
        with one_at_a_time(out / JOURNAL):
            report(record)

    return said if ranks.world_size > 1 else report


def predict_arrivals(
    task: Task, found: Mapping[Path, str], work: Work, formats: Sequence[str], ranks: Ranks, stop: StopRequest,
    writer: Writer, progress: Progress, report: Report,
) -> tuple[Notes, Watch]:  # fmt: skip
    """Predict what is in folders and what arrives, until it is the end.

    Args:
        task: What pictures are predicted with.
        found: Pictures that were there when ``work`` was seen, with their names.
        work: What was done before.
        formats: What is written.
        ranks: Share the pictures.
        stop: Whether the user has asked to stop.
        writer: Writes the results.
        progress: Receives messages, on every rank.
        report: Called with the record of each picture.

    Returns:
        What is to be said of the pictures of all ranks, and how the watch went.

    Raises:
        ConfigError: What is named is no folder, or more memory is used already than there may be.
    """
    config, notes = task.config, Notes()
    failure: SegkitError | None = None
    with ExitStack() as stack:
        try:
            own = Watch(config, stop, one_by_one(report, config.out, ranks), progress)
            scout = stack.enter_context(closing(Scout(config, found, work, notes, progress))) if ranks.is_main else None
        except SegkitError as error:
            failure = error
        ranks.raise_together(failure)
        pipeline = Pipeline(task, writer, formats, own.written, NotesOnly(progress), threads_of(config))
        own.watch(scout, pipeline, writer, ranks, notes)
        if scout is not None:
            own.order = scout.order
            if not own.limit:
                scout.warn()
    every = pipeline.no_notes()
    for theirs in ranks.gather(notes):
        every.add(theirs)
    writer.kept = list(chain.from_iterable(ranks.gather(writer.kept)))
    return every, own


def _write_tables(out: Path, scout: Scout | None, writer: Writer, ranks: Ranks) -> None:
    """Write the files of all pictures; the journals of all ranks become one, and new ones are begun."""
    if ranks.world_size > 1:
        writer.close()
        ranks.barrier()
    if scout is not None:
        take_in_ranks(out, scout.order)
        writer.finish()
    if ranks.world_size > 1:
        ranks.barrier()
        writer.open()
