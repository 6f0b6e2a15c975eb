"""Reading ahead, predicting, writing behind: three things that happen at once, in the order of the pictures."""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import islice
from typing import Any

from segkit.config.predict import PredictConfig
from segkit.inference.input_files import Picture
from segkit.inference.load import Task, load_picture
from segkit.inference.notes import Notes
from segkit.inference.number_maps import MOST_IDS
from segkit.inference.outputs import Writer
from segkit.inference.predicting import PicturePredictor, Predicted
from segkit.progress import Progress
from segkit.runtime.ahead import Behind, in_order
from segkit.runtime.cores import cores_of_a_process

_MOST_THREADS = 4
_SPEED_SECONDS = 30.0
_ROOM = 1 << 29  # bytes of pictures that wait to be predicted, and as many that wait to be written


class Pipeline:
    """Predicts batches of pictures and writes their results."""

    def __init__(
        self,
        task: Task,
        writer: Writer,
        formats: Sequence[str],
        on_written: Callable[[Predicted, dict[str, Any]], None],
        progress: Progress,
        threads: int,
    ) -> None:
        """Nothing is predicted yet.

        Args:
            task: What pictures are predicted with.
            writer: Writes the results.
            formats: What is written.
            on_written: Called with the record of each picture as soon as it is written, in the order of the pictures.
            progress: Shows how many pictures are done, and how fast.
            threads: That read, and as many that write; 0: one thing after another.
        """
        card = task.model.card
        limit = card.settings.detections if card.framing.kind == "instances" else None
        self._limits = (limit, MOST_IDS if "idmask" in formats else None)
        self._task, self._writer, self._on_written, self._progress = task, writer, on_written, progress
        self._threads = threads
        self._predictor = PicturePredictor(task, progress)
        self._speed = _Speed()

    def no_notes(self) -> Notes:
        """Notes in which nothing is said yet."""
        return Notes(*self._limits)

    def run(
        self, batches: Sequence[Sequence[Picture]], ends: Callable[[], bool] = lambda: False
    ) -> Iterator[tuple[int, Notes]]:
        """Predict batches; what was predicted when the iterator is closed is written.

        Args:
            batches: Of pictures.
            ends: Asked before each batch: whether it is the end.

        Yields:
            The number of each batch that was predicted, and what is to be said of it.
        """
        threads, ahead = self._threads, 2 * self._task.config.batch + self._threads
        loaded = in_order(
            (picture for part in batches for picture in part), partial(load_picture, task=self._task),
            threads=threads, ahead=ahead, weight=lambda each: each.size, most=_ROOM,
        )  # fmt: skip
        behind = Behind[Predicted, dict[str, Any]](
            self._write, self._written, threads=threads, ahead=ahead, weight=lambda each: each.size, most=_ROOM
        )
        with closing(loaded), closing(behind):
            for number, part in enumerate(batches):
                if ends():
                    return
                notes = self.no_notes()
                for predicted in self._predictor.batch(list(islice(loaded, len(part))), notes):
                    behind.put(predicted)
                self._progress.advance(len(part), pictures_per_s=self._speed.after(len(part)))
                yield number, notes

    def _write(self, predicted: Predicted) -> dict[str, Any]:
        with predicted.phases.timed("write"):
            return self._writer.write_files(predicted.done)

    def _written(self, predicted: Predicted, record: dict[str, Any]) -> None:
        with predicted.phases.timed("write"):
            self._writer.enter(record)
        self._on_written(predicted, record)


def threads_of(config: PredictConfig) -> int:
    """Threads that read pictures, and as many that write: ranks of one machine share its cores."""
    if config.workers is not None:
        return config.workers
    return min(_MOST_THREADS, cores_of_a_process(int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


class _Speed:
    """Pictures per second, of about the last half minute."""

    def __init__(self) -> None:
        self._count = 0
        self._before: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])

    def after(self, count: int) -> str:
        """The speed when so many more are done."""
        self._count += count
        now = time.monotonic()
        self._before.append((now, self._count))
        while len(self._before) > 2 and now - self._before[1][0] > _SPEED_SECONDS:
            self._before.popleft()
        began, before = self._before[0]
        return f"{(self._count - before) / max(now - began, 1e-6):.3g}"
