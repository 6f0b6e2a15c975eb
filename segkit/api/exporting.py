"""``segkit.export``, ``segkit.prune`` and ``segkit.bench``."""

from typing import TYPE_CHECKING, Unpack

from segkit.api.boundary import from_python
from segkit.api.options import PathLike, check_process, config_of
from segkit.config.export import ExportConfig
from segkit.errors import ConfigError
from segkit.progress import LOGGED, Progress
from segkit.runtime.address_space import warn_of_limit

if TYPE_CHECKING:
    from segkit.config.keywords import ExportOptions
    from segkit.exporting.bench import BenchSummary
    from segkit.exporting.export import ExportSummary
    from segkit.exporting.prune import PruneSummary


@from_python
def export(
    model: ExportConfig | PathLike | None = None,
    /,
    *,
    progress: Progress = LOGGED,
    **options: Unpack["ExportOptions"],
) -> "ExportSummary":
    """Write a model in another format, and compare it with the original, as ``segkit export``.

    Example:
        ``segkit.export("runs/latest", out="model.onnx").size``

    Args:
        model: A run or a checkpoint, by default ``runs/latest``; or all options in a record.
        progress: Shows how far it is.
        options: Further options of ``ExportConfig``.

    Returns:
        The file, and how far its predictions differ from those of the original.

    Raises:
        InputError: There is no such model, or the format cannot be written here.
        ConfigError: Options contradict each other, or there is no such option.
        SegkitError: The file differs from its source by more than the tolerance; it is not kept.
    """
    config = config_of(ExportConfig, model, options)
    for name, asked in (("bench", config.bench), ("prune", config.prune is not None)):
        if asked:
            raise ConfigError(f"{name}: export writes a model in another format", f"call segkit.{name}")
    check_process()
    warn_of_limit(progress)
    from segkit.exporting.export import export

    return export(config, progress)


@from_python
def prune(
    model: PathLike | None = None,
    /,
    *,
    share: float,
    unstructured: bool = False,
    data: PathLike | None = None,
    out: PathLike | None = None,
    progress: Progress = LOGGED,
) -> "PruneSummary":
    """Write a checkpoint without a share of a model's channels or weights, as ``segkit export --prune``.

    Example:
        ``segkit.prune("runs/latest", share=0.3).after.parameters``

    Args:
        model: A run or a checkpoint, by default ``runs/latest``.
        share: Of the channels of each layer.
        unstructured: Set this share of all weights to zero instead.
        data: A dataset to measure the scores on.
        out: The file to write.
        progress: Shows how far it is.

    Raises:
        SegkitError: There is no such model, it cannot be pruned, or what is left is not what it should be.
    """
    given = {"prune": share, "unstructured": unstructured, "data": data, "out": out}
    config = config_of(ExportConfig, model, given)
    check_process()
    warn_of_limit(progress)
    from segkit.exporting.prune import prune

    return prune(config, progress)


@from_python
def bench(
    model: PathLike | None = None,
    /,
    *,
    data: PathLike | None = None,
    trust: bool = False,
    progress: Progress = LOGGED,
) -> "BenchSummary":
    """Measure latency, throughput and memory of a model or an exported file, as ``segkit export --bench``.

    Example:
        ``[each.p50 for each in segkit.bench("model.onnx").timings]``

    Args:
        model: A run, a checkpoint or an exported file, by default ``runs/latest``.
        data: A dataset with the image to measure with.
        trust: Run a file that is a program (TorchScript, PT2).
        progress: Shows how far it is.

    Raises:
        SegkitError: There is no such model, or a process failed.
    """
    config = config_of(ExportConfig, model, {"bench": True, "data": data, "trust": trust})
    check_process()
    warn_of_limit(progress)
    from segkit.exporting.bench import bench

    return bench(config, progress)
