"""Batches of samples, loaded by worker processes; where those fail, by fewer of them or by this process."""

from collections.abc import Callable, Generator, Iterable
from itertools import chain

from segkit.errors import DeviceError, SegkitError, tells_of_memory
from segkit.loading.sampler import Key
from segkit.loading.whole import Loads, Sample
from segkit.loading.worker_pool import Batch, WorkerLost, load_in_processes
from segkit.runtime.processes import may_start_processes

_HINT = "use fewer --workers, or --workers 0; the causes are most often too little memory or a limit (ulimit -n, -u)"


def load_batches(
    pictures: Loads,
    batches: Iterable[list[Key]],
    *,
    workers: int,
    pin_memory: bool = False,
    warn: Callable[[str], None] = lambda message: None,
    alive: Callable[[str], None] = lambda doing: None,
) -> Generator[Batch]:
    """Load batches in order; an image that cannot be loaded comes as its error.

    What a key loads does not depend on the process. So the batches stay the same when a process dies: the others load
    what it has not, and at last this one.

    Args:
        pictures: What to load.
        batches: The keys of every batch.
        workers: Processes that load; 0: this process loads.
        pin_memory: Whether to put batches into pinned memory, for faster copies to a GPU.
        warn: Called with a message when a process is lost.
        alive: Called again and again while a batch is loaded, with how far it is.
    """
    source = iter(batches)
    finish: Callable[[Batch], Batch] = _pinning() if pin_memory else list
    if workers > 0 and not may_start_processes():
        warn("warning: --workers: a daemonic process, as of a Pool, may start no others: it loads the images itself")
        workers = 0
    while workers > 0:
        try:
            yield from load_in_processes(pictures, source, workers, finish, alive)
            return
        except WorkerLost as lost:
            unloaded, workers = lost.keys, lost.left
            if lost.crashed and not workers:  # what crashes the last process would crash this one
                yield [DeviceError(f"{_names(pictures, unloaded[0])}: a process that loads it {lost}", _HINT)]
                unloaded, workers = unloaded[1:], 1
            source = chain(unloaded, source)
            going_on = f"with {workers} of them" if workers else "without them"
            warn(f"warning: a process that loads images {lost}; going on {going_on} ({_HINT})")
    for keys in source:
        batch: Batch = []
        for key in keys:
            batch.append(_load(pictures, key))
            alive(f"{len(batch)} of the {len(keys)} images of a batch are loaded")
        yield batch


def _names(pictures: Loads, keys: list[Key]) -> str:
    names = [pictures.file_name(key) for key in keys]
    return names[0] if len(names) == 1 else f"one of {', '.join(names[:4])}{', ...' if len(names) > 4 else ''}"


def _load(pictures: Loads, key: Key) -> Sample | SegkitError:
    try:
        return pictures[key]
    except Exception as error:
        if not tells_of_memory(error):
            raise
        return DeviceError("out of memory while an image was loaded", "try a smaller --batch or --size")


def _pinning() -> Callable[[Batch], Batch]:
    from segkit.loading.dataset import pinned  # noqa: PLC0415 -- evaluation loads without PyTorch

    return pinned
