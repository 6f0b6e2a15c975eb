"""Processes that load batches, in order.

Each has a socket of its own, and batches travel through it as bytes: a process that dies is noticed at once, by the
end of its stream, and neither shared memory (/dev/shm is small in containers) nor file descriptors are used up.
PyTorch's ``DataLoader`` waits for ever for a message that a killed worker had half written.
"""

import atexit
import io
import pickle
import queue
import signal
import socket
import struct
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import cv2

from segkit.errors import SegkitError, tells_of_memory
from segkit.loading.sampler import Key
from segkit.loading.whole import Loads, Sample
from segkit.runtime.loaded_torch import torch_if_loaded
from segkit.runtime.processes import describe_end, worker_context

Batch = list[Sample | SegkitError]

_WAIT_SECONDS = 1.0  # between two words on a batch that is not there yet
_AHEAD = 2  # batches that each process may be ahead
_CRASHES = tuple(
    -getattr(signal, name) for name in ("SIGSEGV", "SIGABRT", "SIGFPE", "SIGILL", "SIGBUS") if hasattr(signal, name)
)
_SIZE = struct.Struct("!Q")


class WorkerLost(Exception):
    """A process that loads is gone, or has too little memory.

    Attributes:
        keys: Of the batches that were not loaded; the first one was being loaded.
        left: How many processes may be tried next.
        crashed: Whether loading the first batch may crash any process, as a fault in a decoder does.
    """

    def __init__(self, why: str, keys: list[list[Key]], left: int, crashed: bool = False) -> None:
        super().__init__(why)
        self.keys, self.left, self.crashed = keys, left, crashed


def load_in_processes(
    pictures: Loads,
    batches: Iterator[list[Key]],
    workers: int,
    finish: Callable[[Batch], Batch],
    alive: Callable[[str], None] = lambda doing: None,
) -> Iterator[Batch]:
    """Load batches in several processes; they end with the iterator.

    Args:
        pictures: What to load.
        batches: The keys of every batch; a few more are taken than are loaded.
        workers: How many processes.
        finish: Applied to every batch, in a thread.
        alive: Called again and again while a batch is waited for, with what is done.

    Raises:
        WorkerLost: A process died, or could not start; its ``keys`` are those that were taken and not loaded.
    """
    waiting: deque[list[Key]] = deque()
    pool = _Pool(finish)
    try:
        try:
            pool.start(pictures, workers)
        except OSError as error:
            # Half of what could be started: this process needs files and memory, too.
            raise WorkerLost(f"cannot be started: {error.strerror}", [], pool.started // 2) from None
        source = iter(batches)
        while True:
            while len(waiting) < _AHEAD * workers and (keys := next(source, None)) is not None:
                waiting.append(keys)
                pool.submit(keys)
            if not waiting:
                return
            batch = pool.next(lambda: alive(f"waiting for a batch of {len(waiting[0])} images"))
            if isinstance(batch, _End):
                left = workers // 2 if batch.code is None else workers - 1
                raise WorkerLost(batch.why, list(waiting), left, crashed=batch.code in _CRASHES)
            waiting.popleft()
            yield batch
    finally:
        pool.close()


class _End(NamedTuple):
    """Why a batch is lost, and the exit code of its process; None: it lives."""

    why: str
    code: int | None = None


class _Pool:
    """The processes, and a thread that takes their batches as they come."""

    def __init__(self, finish: Callable[[Batch], Batch]) -> None:
        self._finish = finish
        self._processes: list[tuple[Any, socket.socket]] = []
        self._expected: queue.SimpleQueue[int | None] = queue.SimpleQueue()  # which process loads the next batch
        self._loaded: queue.SimpleQueue[Batch | _End | BaseException] = queue.SimpleQueue()
        self._submitted = self.started = 0

    def start(self, pictures: Loads, workers: int) -> None:
        """Start the processes.

        Raises:
            OSError: There are too few files, processes or memory.
        """
        context = worker_context(fork=True)
        atexit.register(self.close)  # before multiprocessing would wait for them
        for _ in range(workers):
            ours, theirs = socket.socketpair()
            with theirs:
                process = context.Process(target=_work, args=(pictures, theirs), daemon=True)
                self._processes.append((process, ours))
                process.start()
                self.started += 1
        threading.Thread(target=self._receive, args=(_cuda_device(),), daemon=True).start()

    def submit(self, keys: list[Key]) -> None:
        """Have a batch loaded by the process whose turn it is."""
        number = self._submitted % len(self._processes)
        self._submitted += 1
        with suppress(OSError):  # it is dead: the thread will notice
            _send(self._processes[number][1], keys)
        self._expected.put(number)

    def next(self, waits: Callable[[], None]) -> Batch | _End:
        """The next batch in the order of ``submit``, or why it is lost; ``waits`` is called while there is none."""
        while True:
            try:
                outcome = self._loaded.get(timeout=_WAIT_SECONDS)
                break
            except queue.Empty:
                waits()
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def _receive(self, device: int | None) -> None:
        if device is not None and (torch := torch_if_loaded()) is not None:
            torch.cuda.set_device(device)  # where ``finish`` pins memory
        processes = self._processes
        while (number := self._expected.get()) is not None:
            process, connection = processes[number]
            try:
                outcome = _receive(connection)
                self._loaded.put(self._finish(outcome) if isinstance(outcome, list) else outcome)
            except (EOFError, OSError):
                process.join(1.0)
                self._loaded.put(_End(describe_end(process.exitcode), process.exitcode or 1))
                return
            except BaseException as error:
                self._loaded.put(error)
                return

    def close(self) -> None:
        """End the processes."""
        atexit.unregister(self.close)
        self._expected.put(None)
        for process, _ in self._processes:
            if process.pid is not None:
                process.kill()
        for process, connection in self._processes:
            if process.pid is not None:
                process.join()
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # wakes the thread
            connection.close()
        self._processes, self.started = [], 0


def _cuda_device() -> int | None:
    torch = torch_if_loaded()
    return torch.cuda.current_device() if torch is not None and torch.cuda.is_initialized() else None


def _work(pictures: Loads, connection: socket.socket) -> None:
    """In the process: load one batch after another."""
    if (torch := torch_if_loaded()) is not None:
        torch.set_num_threads(1)
    cv2.setNumThreads(0)
    while True:
        try:
            keys = _receive(connection)
        except (EOFError, OSError):
            return
        try:
            _send(connection, [pictures[key] for key in keys])
        except Exception as error:
            if tells_of_memory(error):
                _send(connection, _End("ran out of memory"))
                continue
            if isinstance(error, OSError):
                _send(connection, _End(f"failed: {error.strerror}"))
                continue
            _send(connection, RuntimeError(f"in a process that loads images:\n{traceback.format_exc()}"))


class _Pickler(pickle.Pickler):
    """Pickles tensors as NumPy arrays, whose bytes stay where they are until they are sent."""

    def reducer_override(self, value: Any) -> Any:
        if (torch := torch_if_loaded()) is not None and isinstance(value, torch.Tensor):
            return torch.from_numpy, (value.numpy(),)
        return NotImplemented


def _send(connection: socket.socket, value: Any) -> None:
    buffers: list[pickle.PickleBuffer] = []
    head = io.BytesIO()
    _Pickler(head, protocol=5, buffer_callback=buffers.append).dump(value)
    parts = [head.getbuffer(), *(buffer.raw() for buffer in buffers)]
    sizes = b"".join(_SIZE.pack(each) for each in (len(parts), *(part.nbytes for part in parts)))
    connection.sendall(sizes)
    for part in parts:
        if part.nbytes:
            connection.sendall(part)


def _receive(connection: socket.socket) -> Any:
    (count,) = _SIZE.unpack(_read(connection, _SIZE.size))
    sizes = [size for (size,) in _SIZE.iter_unpack(_read(connection, count * _SIZE.size))]
    head, *buffers = [_read(connection, size) for size in sizes]
    return pickle.loads(head, buffers=buffers)


def _read(connection: socket.socket, size: int) -> bytearray:
    content = bytearray(size)
    view = memoryview(content)
    while view:
        if not (count := connection.recv_into(view)):
            raise EOFError
        view = view[count:]
    return content
