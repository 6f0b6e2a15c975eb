"""Tools inside the script's process: each measures once a step and gives plain data."""

import os
import time
import tracemalloc
import weakref
from pathlib import Path
from typing import Any, Protocol

import psutil
import torch
from torch.utils._python_dispatch import TorchDispatchMode

PAGE = os.sysconf("SC_PAGE_SIZE")


class Probe(Protocol):
    """Starts before the script, measures once a step, and gives results that fit into JSON."""

    def start(self, script: Path, folder: Path) -> None: ...
    def sample(self) -> None: ...
    def restart(self) -> None: ...
    def finish(self) -> dict[str, Any]: ...


class Series:
    """A probe whose samples are one list."""

    samples: list[Any]

    def start(self, script: Path, folder: Path) -> None:
        self.script, self.samples = script, []

    def restart(self) -> None:
        self.samples.clear()

    def finish(self) -> dict[str, Any]:
        return {"samples": self.samples}


class Rss(Series):
    """Resident memory of the process and its children, summed, as a monitor shows it."""

    def start(self, script: Path, folder: Path) -> None:
        super().start(script, folder)
        self.process = psutil.Process()

    def sample(self) -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        children = 0
        for child in self.process.children():
            try:
                children += child.memory_info().rss
            except psutil.Error:
                continue
        self.samples.append([pages * PAGE, children, time.time()])


class Tracemalloc:
    """A snapshot at every step, written to disk as its documentation shows, and read after the script has ended.

    25 frames are stored, as in the documentation's example, so that blocks that a library allocates are counted for the
    line of the script that calls it; with the default of one frame, only the library's line would be known.
    """

    FRAMES = 25

    def start(self, script: Path, folder: Path) -> None:
        self.folder, self.number = folder, 0
        tracemalloc.start(self.FRAMES)

    def sample(self) -> None:
        tracemalloc.take_snapshot().dump(str(self.folder / f"{self.number:04d}.snapshot"))
        self.number += 1

    def restart(self) -> None:
        for path in self.folder.glob("*.snapshot"):
            path.unlink()
        self.number = 0

    def finish(self) -> dict[str, Any]:
        tracemalloc.stop()
        return {}


class Memlab(Series):
    """``pytorch_memlab.MemReporter`` after each step: the bytes and number of the tensors that it lists.

    Its line profiler reads CUDA's counters and shows nothing on a CPU.
    """

    def sample(self) -> None:
        from pytorch_memlab import MemReporter

        reporter = MemReporter()
        reporter.collect_tensor()
        reporter.get_stats()
        listed = reporter.device_tensor_stat.get(torch.device("cpu"), [])
        self.samples.append([sum(stat[3] for stat in listed), len(listed)])


class Peaks(Series):
    """The most bytes of tensors alive in each step: ``torch.cuda.max_memory_allocated`` for a machine without a GPU."""

    def start(self, script: Path, folder: Path) -> None:
        super().start(script, folder)
        self.counted = LiveBytes()
        self.counted.__enter__()

    def sample(self) -> None:
        self.samples.append(self.counted.peak)
        self.counted.peak = self.counted.live

    def finish(self) -> dict[str, Any]:
        self.counted.__exit__(None, None, None)
        return super().finish()


class LiveBytes(TorchDispatchMode):
    """Sums the storages that operators return, until they are freed."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (list, tuple)) else (out,):
            if isinstance(tensor, torch.Tensor) and tensor.layout is torch.strided:
                self._count(tensor.untyped_storage())
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self.known:
            self.known.add(key)
            self.live += size
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._end, key, size)

    def _end(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.live -= size


class Memray:
    """A capture for ``memray ... --leaks``: Python's allocators traced, as its documentation advises, and forks.

    The capture ends while the script's globals are alive; that of ``memray run`` ends later.
    """

    def start(self, script: Path, folder: Path) -> None:
        import memray

        self.marks: list[float] = []
        self.tracker = memray.Tracker(folder / "capture.bin", trace_python_allocators=True, follow_fork=True)
        self.tracker.__enter__()

    def sample(self) -> None:
        self.marks.append(time.time())

    def restart(self) -> None:
        self.marks.clear()

    def finish(self) -> dict[str, Any]:
        self.tracker.__exit__(None, None, None)
        return {"marks": self.marks}


PROBES: dict[str, type[Probe] | None] = {
    "bare": None, "rss": Rss, "tracemalloc": Tracemalloc, "memlab": Memlab, "peaks": Peaks, "memray": Memray,
}  # fmt: skip
