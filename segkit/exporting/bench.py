"""How fast a model or an exported file is on this machine, and how much memory it takes."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor

from segkit.config.export import ExportConfig
from segkit.errors import SegkitError
from segkit.exporting.pictures import dataset_for, images_for
from segkit.models.card import ModelCard
from segkit.progress import SILENT, Progress
from segkit.runs.checkpoint import load_model
from segkit.runs.find import find_checkpoint
from segkit.runtime.cores import usable_cores
from segkit.runtime.processes import describe_end, worker_context
from segkit.runtimes.files import format_of, open_exported

_BATCHES = (1, 2, 4)
_LEAST, _MOST, _SECONDS = 5, 100, 3.0  # repetitions of a measurement, and how long it goes on beyond the least


@dataclass(frozen=True, slots=True)
class Timing:
    """What was measured with one number of threads and one batch size.

    Attributes:
        threads: Of the CPU.
        batch: Images at once.
        repetitions: How often it was measured.
        p50: Milliseconds of a batch, the median.
        p95: Likewise, the 95th percentile.
        images_per_second: By the median.
    """

    threads: int
    batch: int
    repetitions: int
    p50: float
    p95: float
    images_per_second: float


@dataclass(frozen=True, slots=True)
class BenchSummary:
    """What was measured of a model.

    Attributes:
        model: Its file.
        size: Of the file in bytes.
        image: Height and width of the image as the model gets it.
        instances: What it finds in it.
        picture: What the image shows.
        load_seconds: From the start of opening the file.
        resident: Resident memory in bytes of a process that predicts one image at a time, with what it imports.
        timings: By threads and batch.
    """

    model: Path
    size: int
    image: tuple[int, int]
    instances: int
    picture: str
    load_seconds: float
    resident: int
    timings: tuple[Timing, ...]

    def to_json(self) -> dict[str, Any]:
        """What ``export --bench --json`` prints."""
        return {
            "model": str(self.model),
            "bytes": self.size,
            "image": {"height": self.image[0], "width": self.image[1], "shows": self.picture},
            "instances": self.instances,
            "load_seconds": self.load_seconds,
            "resident_bytes": self.resident,
            "timings": [asdict(each) for each in self.timings],
        }


def bench(config: ExportConfig, progress: Progress = SILENT) -> BenchSummary:
    """Measure a run, a checkpoint or an exported file, each number of threads in a process of its own.

    Raises:
        InputError: There is no such model.
        SegkitError: A process failed.
    """
    path = find_checkpoint(config.model)
    card = _card_of(path, trust=config.trust)
    images, _ = images_for(dataset_for(path, config.data), card)
    name, image = images[0]
    threads = sorted({1, usable_cores()})
    progress.start(f"measuring {path.name}", len(threads))
    found: list[dict[str, Any]] = []
    for number in threads:
        found.append(_in_a_process(path, image, number, trust=config.trust))
        progress.advance()
    progress.done()
    size = path.stat().st_size
    if format_of(path) == "openvino":
        size += path.with_suffix(".bin").stat().st_size
    return BenchSummary(
        path,
        size,
        (image.shape[-2], image.shape[-1]),
        found[0]["instances"],
        name,
        found[0]["load"],
        found[0]["resident"],
        tuple(timing for each in found for timing in each["timings"]),
    )


def _card_of(path: Path, *, trust: bool) -> ModelCard:
    if format_of(path) is not None:
        return open_exported(path, trust=trust).card
    return load_model(path, torch.device("cpu"))[1]


def _in_a_process(path: Path, image: Tensor, threads: int, *, trust: bool) -> dict[str, Any]:
    """What ``_measure`` finds in a new process.

    Raises:
        SegkitError: It failed.
    """
    context = worker_context(fork=False)
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(there, str(path), image.numpy(), threads, trust))
    process.start()
    there.close()
    try:
        found = here.recv()
    except EOFError:
        process.join()
        raise SegkitError(f"{path}: the process that measures it {describe_end(process.exitcode)}") from None
    process.join()
    if isinstance(found, SegkitError):
        raise found
    assert isinstance(found, dict)
    return found


def _measure(answer: Connection, path: str, pixels: Any, threads: int, trust: bool) -> None:
    """Load a model, predict again and again, and send what it took."""
    try:
        torch.set_num_threads(threads)
        image, began = torch.from_numpy(pixels), time.perf_counter()
        predict, batches = _predictor(Path(path), threads, trust=trust)
        loaded = time.perf_counter() - began
        instances = len(predict([image])[0].get("boxes", ()))
        for _ in range(2):
            predict([image])
        resident = psutil.Process().memory_info().rss
        timings = [_timed(predict, image, batch, threads) for batch in _BATCHES if batch == 1 or batches]
        answer.send({"load": loaded, "instances": instances, "resident": resident, "timings": timings})
    except SegkitError as error:
        answer.send(error)


def _predictor(path: Path, threads: int, *, trust: bool) -> tuple[Callable[[Sequence[Tensor]], list[Any]], bool]:
    """What predicts images, and whether it takes several at once."""
    if format_of(path) is not None:
        exported = open_exported(path, threads=threads, trust=trust)
        return exported, exported.takes_batches
    model, _ = load_model(path, torch.device("cpu"))

    def predict(images: Sequence[Tensor]) -> list[Any]:
        with torch.inference_mode():
            found: list[Any] = model(list(images))
            return found

    return predict, True


def _timed(predict: Callable[[Sequence[Tensor]], list[Any]], image: Tensor, batch: int, threads: int) -> Timing:
    images, spent = [image] * batch, list[float]()
    predict(images)
    while len(spent) < _LEAST or (sum(spent) < _SECONDS and len(spent) < _MOST):
        began = time.perf_counter()
        predict(images)
        spent.append(time.perf_counter() - began)
    median = statistics.median(spent)
    return Timing(threads, batch, len(spent), 1000 * median, 1000 * float(np.percentile(spent, 95)), batch / median)
