"""``segkit.profile`` and ``segkit.estimate_memory``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from segkit.api.boundary import from_python
from segkit.api.options import PathLike, check_process, config_of
from segkit.config.memprofile import MemprofileConfig
from segkit.config.values import of_python
from segkit.errors import ConfigError
from segkit.progress import LOGGED, Progress
from segkit.runtime.address_space import warn_of_limit

if TYPE_CHECKING:
    from segkit.config.keywords import ProfileOptions
    from segkit.memprofile.estimate import MemoryEstimate
    from segkit.memprofile.profile import ProfileSummary

_STDERR = 2


@from_python
def profile(
    target: MemprofileConfig | PathLike | Sequence[PathLike] | None = None,
    /,
    *,
    progress: Progress = LOGGED,
    **options: Unpack["ProfileOptions"],
) -> "ProfileSummary":
    """Measure the memory of a training, and find leaks, as ``segkit memprofile``.

    A script runs in a process of its own; what it prints goes to stderr. A leak is no error: ``verdict`` names it, and
    ``code`` is the exit code of the command.

    Example:
        ``segkit.profile(["train.py", "--epochs", "3"], steps=30).verdict``

    Args:
        target: A run or its config.toml, by default ``runs/latest``; a script, or a list of a script or a command and
            its arguments; or all options in a record.
        progress: Shows the state of segkit's own training.
        options: Further options of ``MemprofileConfig``.

    Returns:
        The verdict, the document of ``memory.json``, and the files.

    Raises:
        SegkitError: There is no such run or script, or its config cannot be run here.
    """
    config = _profile_config(target, options)
    if config.fit:
        raise ConfigError("fit: profile measures", "call segkit.estimate_memory")
    check_process()
    if config.explain is None:
        warn_of_limit(progress)
    from segkit.memprofile.profile import memprofile

    return memprofile(config, progress, script_stdout=_STDERR)


@from_python
def estimate_memory(
    target: PathLike | None = None,
    /,
    *,
    vram: str | int | Sequence[int] | None = None,
    overhead: str | int | None = None,
    calibrate: bool = False,
    out: PathLike = Path("memprofile"),
    progress: Progress = LOGGED,
) -> "MemoryEstimate":
    """Estimate the peak GPU memory of a training without a GPU, as ``segkit memprofile --fit``.

    Example:
        ``segkit.estimate_memory("dataset", vram="6GiB,12GiB").document["verdict"]``

    Args:
        target: A run, its config.toml or a dataset, by default ``runs/latest``.
        vram: Memory of the GPUs to check, in bytes or as ``6GiB``.
        overhead: GPU memory that is not tensors, likewise.
        calibrate: Measure that on this GPU.
        out: The folder for fit.json.
        progress: Shows how far it is.

    Raises:
        SegkitError: There is no such run or dataset, or nothing to learn from in it.
    """
    given = {"fit": True, "vram": vram, "overhead": overhead, "calibrate": calibrate, "out": out}
    config = _profile_config(target, given)
    check_process()
    warn_of_limit(progress)
    from segkit.memprofile.estimate import estimate_memory

    return estimate_memory(config, progress)


def _profile_config(
    target: MemprofileConfig | PathLike | Sequence[PathLike] | None, options: Mapping[str, Any]
) -> MemprofileConfig:
    """The record: a list is what follows ``--`` on the command line."""
    if isinstance(words := of_python(target), list | tuple):
        return config_of(MemprofileConfig, None, {**options, "command": words})
    return config_of(MemprofileConfig, target, options)
