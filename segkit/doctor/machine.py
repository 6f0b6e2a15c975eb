"""Memory, disks and limits of the machine."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil

from segkit.doctor.facts import Fact
from segkit.doctor.settings import cores_of_process
from segkit.runtime.address_space import limit_on_addresses
from segkit.runtime.available import left_in_groups
from segkit.units import format_bytes

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_SHARED, _FREE, _TIGHT, _MEMORY = 1 << 30, 1 << 30, 10 << 30, 4 << 30
_FILES = 1024  # that a process may have open


def check_machine(folder: Path, shared: Path = Path("/dev/shm")) -> Iterator[Fact]:
    """Processor cores, memory, shared memory, open files, free disk.

    Args:
        folder: Where runs would be written.
        shared: Where the memory that processes share is mounted.
    """
    yield Fact("machine", "ok", f"{cores_of_process()} processor cores")
    yield from _check_ram()
    if shared.is_dir() and (size := shutil.disk_usage(shared)).total < _SHARED:
        yield Fact(
            "machine",
            "note",
            f"{shared} has {format_bytes(size.total)}: processes that load images share it, and "
            "end with a bus error where it is full",
            "in a container: docker run --shm-size=8g",
        )
    if resource is not None and (limit := resource.getrlimit(resource.RLIMIT_NOFILE)[0]) < _FILES:
        yield Fact("machine", "note", f"a process may open {limit} files", f"ulimit -n {4 * _FILES}")
    if (warning := limit_on_addresses()) is not None:
        yield Fact("machine", "problem", warning, "ulimit -v unlimited")
    for name, place in (("this folder", folder), ("the temporary folder", Path(_temporary()))):
        yield from _check_disk(name, place)


def _temporary() -> str:
    import tempfile  # noqa: PLC0415 -- it looks for a folder that can be written to, and raises where there is none

    try:
        return tempfile.gettempdir()
    except OSError:
        return "/tmp"


def _check_ram() -> Iterator[Fact]:
    memory = psutil.virtual_memory()
    left = min([memory.available, *left_in_groups(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"))])
    text = f"{format_bytes(left)} of {format_bytes(memory.total)} of memory can be used"
    if left < _MEMORY:
        yield Fact(
            "machine",
            "note",
            text,
            "close other programs, or raise the limit of the job or container; smaller --size and --batch need less",
        )
    else:
        yield Fact("machine", "ok", text)


def _check_disk(name: str, place: Path) -> Iterator[Fact]:
    try:
        free = shutil.disk_usage(place).free
    except OSError as error:
        yield Fact("machine", "problem", f"{name}, {place}: {error.strerror}", "choose another folder")
        return
    text = f"{format_bytes(free)} are free on the disk of {name}"
    if free < _FREE:
        yield Fact("machine", "problem", text, "free some space: a run keeps three checkpoints of 50 to 500 MB")
    else:
        yield Fact("machine", "note" if free < _TIGHT else "ok", text)
