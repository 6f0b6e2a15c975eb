"""Environment variables that fight each other, or slow a training down."""

import codecs
import sys
from collections.abc import Iterator, Mapping

from segkit.doctor.facts import Fact

_ALLOCATOR = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")  # the second is the old name


def check_settings(environment: Mapping[str, str], cores: int) -> Iterator[Fact]:
    """What the environment variables of a training mean for it.

    Args:
        environment: The variables.
        cores: How many processor cores this process may use.
    """
    yield from _check_allocator(environment)
    if environment.get("PYTORCH_NO_CUDA_MEMORY_CACHING", "0") not in ("", "0"):
        yield Fact(
            "settings",
            "note",
            "PYTORCH_NO_CUDA_MEMORY_CACHING is set: steps are slow, and memprofile sees other numbers",
            "unset it",
        )
    if environment.get("CUDA_LAUNCH_BLOCKING", "0") not in ("", "0"):
        yield Fact(
            "settings", "note", "CUDA_LAUNCH_BLOCKING is set: every step waits for the GPU many times", "unset it"
        )
    threads = environment.get("OMP_NUM_THREADS", "")
    if threads.isdigit() and int(threads) > cores:
        yield Fact(
            "settings",
            "note",
            f"OMP_NUM_THREADS={threads}, and this process may use {cores} cores: threads wait for each other",
            f"export OMP_NUM_THREADS={cores}",
        )
    if codecs.lookup(sys.getfilesystemencoding()).name != "utf-8":
        yield Fact(
            "settings",
            "problem",
            f"names of files are read as {sys.getfilesystemencoding()}: names with letters "
            "beyond ASCII will not be found",
            "export LC_ALL=C.UTF-8 or PYTHONUTF8=1",
        )


def _check_allocator(environment: Mapping[str, str]) -> Iterator[Fact]:
    given = {name: environment[name] for name in _ALLOCATOR if environment.get(name)}
    if len(set(given.values())) > 1:
        yield Fact(
            "settings",
            "problem",
            "PYTORCH_ALLOC_CONF and PYTORCH_CUDA_ALLOC_CONF say different things",
            "unset PYTORCH_CUDA_ALLOC_CONF, the old name",
        )
    for name, text in given.items():
        values = dict(part.strip().partition(":")[::2] for part in text.split(",") if part.strip())
        growing = values.get("expandable_segments", "").lower() == "true"
        if growing and "max_split_size_mb" in values:
            yield Fact(
                "settings",
                "problem",
                f"{name}: expandable_segments and max_split_size_mb together can make the "
                "reserved memory grow without bound",
                "drop max_split_size_mb",
            )
        if growing and values.get("backend", "native") != "native":
            yield Fact(
                "settings",
                "problem",
                f"{name}: expandable_segments does nothing with backend:{values['backend']}",
                "drop one of the two",
            )
        elif values.get("backend", "native") != "native":
            yield Fact(
                "settings",
                "note",
                f"{name}: with backend:{values['backend']} memprofile sees less of the memory",
                "drop it while you look for a leak",
            )
