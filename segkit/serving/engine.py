"""The model of a server: one thread takes requests from a queue and predicts those that wait together as a batch."""

import contextlib
import queue
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from segkit.data.pictures import read_header
from segkit.data.records import Image, Result
from segkit.errors import InputError, SegkitError
from segkit.inference.input_files import Picture
from segkit.inference.load import Loaded, Task, load_picture
from segkit.models.tensors import ArrayPrediction, Prediction, prediction_to_results
from segkit.progress import Progress
from segkit.serving.metrics import ServerMetrics

_NAME = "the picture"


class BusyError(Exception):
    """As many requests wait as may."""


class TooLargeError(InputError):
    """A picture has more pixels than the server takes."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The instances of a picture, by falling score.

    Attributes:
        height: Of the picture, upright.
        width: Likewise.
        results: Its instances.
    """

    height: int
    width: int
    results: tuple[Result, ...]


@dataclass(frozen=True, slots=True)
class _Request:
    content: bytes
    scores: dict[int, float]
    answer: "Future[Answer]" = field(default_factory=Future)
    began: float = field(default_factory=time.monotonic)


class Engine:
    """Answers requests in one thread of its own; ``stop`` ends it when what waits is answered."""

    def __init__(self, task: Task, batch: int, waiting: int, max_pixels: int, progress: Progress) -> None:
        """Start the thread.

        Args:
            task: The model, and which instances are kept where a request does not say.
            batch: Pictures at once.
            waiting: Requests that wait at most.
            max_pixels: Of a picture.
            progress: Shows when memory allows smaller batches.
        """
        self.task, self.metrics = task, ServerMetrics()
        self._batch, self._max_pixels = batch, max_pixels
        self._predictor = task.model.in_batches(batch, progress, "predicting")
        self._queue: queue.Queue[_Request | None] = queue.Queue(waiting)
        self._thread = threading.Thread(target=self._run, name="segkit-serve", daemon=True)
        self._thread.start()

    def ask(self, content: bytes, scores: dict[int, float]) -> "Future[Answer]":
        """Ask for the instances of a picture.

        Args:
            content: The bytes of an image file.
            scores: The least score by category id; other categories are left out.

        Raises:
            BusyError: Too many requests wait.
        """
        request = _Request(content, scores)
        try:
            self._queue.put_nowait(request)
        except queue.Full:
            raise BusyError from None
        self.metrics.queue.set(self._queue.qsize())
        return request.answer

    def stop(self) -> None:
        """Answer what waits, and end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        with tempfile.TemporaryDirectory(prefix="segkit-serve-") as folder:
            ended = False
            while not ended:
                requests, ended = self._next()
                self.metrics.queue.set(self._queue.qsize())
                self._answer([each for each in requests if each.answer.set_running_or_notify_cancel()], Path(folder))

    def _next(self) -> tuple[list[_Request], bool]:
        """The requests that wait, as many as a batch has, and whether they are the last; waits for the first."""
        found = [self._queue.get()]
        with contextlib.suppress(queue.Empty):
            while found[-1] is not None and len(found) < self._batch:
                found.append(self._queue.get_nowait())
        return [each for each in found if each is not None], found[-1] is None

    def _answer(self, requests: Sequence[_Request], folder: Path) -> None:
        """Answer a batch; whatever goes wrong is an answer, too, and the thread goes on."""
        loaded: list[tuple[_Request, Loaded]] = []
        for number, request in enumerate(requests):
            self.metrics.seconds.labels("wait").observe(time.monotonic() - request.began)
            try:
                with self._timed("decode"):
                    loaded.append((request, self._load(request, folder / str(number))))
            except Exception as error:
                request.answer.set_exception(error)
        if not loaded:
            return
        try:
            with self._timed("predict"):
                images = [each.image for _, each in loaded if isinstance(each.image, np.ndarray)]
                predictions = self._predictor(images, [_NAME] * len(images))
            self.metrics.batches.inc()
            with self._timed("encode"):
                for (request, each), prediction in zip(loaded, predictions, strict=True):
                    request.answer.set_result(self._instances(request, each, prediction))
        except Exception as error:
            for request, _ in loaded:
                if not request.answer.done():
                    request.answer.set_exception(error)

    def _load(self, request: _Request, path: Path) -> Loaded:
        """A picture as the model gets it.

        Raises:
            InputError: It cannot be read, or is too large.
        """
        path.write_bytes(request.content)
        try:
            height, width = read_header(path).upright
            if height * width > self._max_pixels:
                raise TooLargeError(f"{height}x{width} pixels, more than the {self._max_pixels} that the server takes")
            found = load_picture(Picture(path, _NAME, "0"), self.task)
        except TooLargeError:
            raise
        except SegkitError as error:
            raise InputError(_without(path, error.message)) from None
        finally:
            path.unlink()
        if found.done is None:
            raise InputError(_without(path, found.notes.failed[0]))
        return found

    def _instances(self, request: _Request, loaded: Loaded, prediction: Prediction | ArrayPrediction) -> Answer:
        assert loaded.done is not None
        assert isinstance(loaded.image, np.ndarray)
        card, height, width = self.task.model.card, loaded.done.height, loaded.done.width
        model_height, model_width = loaded.image.shape[-2:]
        results = prediction_to_results(
            prediction,
            Image(0, _NAME, height, width),
            model_height,
            model_width,
            card.categories,
            aligned_masks=card.settings.aligned_masks,
        )
        kept = replace(self.task.choice, scores=request.scores).of(results, height, width, None)
        self.metrics.pictures.inc()
        self.metrics.instances.inc(len(kept))
        return Answer(height, width, kept)

    @contextlib.contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        with self.metrics.seconds.labels(phase).time():
            yield


def _without(path: Path, message: str) -> str:
    """A message on a file of the server, for those who do not know the file."""
    return message.removeprefix(f"{path}: ").replace(str(path), _NAME)
