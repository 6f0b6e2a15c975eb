"""Memory, disks and limits of the machine."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

from segkit.doctor.facts import Fact
from segkit.runtime.address_space import limit_on_addresses
from segkit.runtime.available import available_on_host
from segkit.runtime.cores import usable_cores
from segkit.units import counted, format_bytes

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
    yield Fact("machine", "ok", counted(usable_cores(), "processor core", "processor cores"))
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
    yield from _check_disk("this folder", folder)
    try:
        yield from _check_disk("the temporary folder", Path(tempfile.gettempdir()))
    except OSError as error:
        yield Fact(
            "machine", "problem", f"there is no temporary folder: {error.strerror}", "set TMPDIR to a folder of yours"
        )


def _check_ram() -> Iterator[Fact]:
    memory = psutil.virtual_memory()
    left = available_on_host()
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
