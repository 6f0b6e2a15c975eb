"""``segkit.train`` and ``segkit.label_curve``."""

from typing import TYPE_CHECKING, Unpack

from segkit.api.boundary import from_python
from segkit.api.options import PathLike, check_process, config_of
from segkit.config.train import TrainConfig
from segkit.errors import ConfigError
from segkit.progress import LOGGED, Progress
from segkit.runtime.address_space import warn_of_limit

if TYPE_CHECKING:
    from segkit.config.keywords import TrainOptions
    from segkit.training.label_curve.curve import LabelCurve
    from segkit.training.summary import TrainingSummary


@from_python
def train(
    dataset: TrainConfig | PathLike | None = None,
    /,
    *,
    progress: Progress = LOGGED,
    **options: Unpack["TrainOptions"],
) -> "TrainingSummary":
    """Train a model, or go on with a run, as ``segkit train``.

    One rank trains in this process: it sets the seeds of Python, NumPy and PyTorch, and Ctrl-C in the main thread ends
    the run with a checkpoint and ``ended == "interrupted"``. With several ``gpus`` or ``ranks`` one process is started
    for each, in which the file of the script is imported: its calls must be below ``if __name__ == "__main__":``.

    Example:
        ``segkit.train("dataset", steps=100, device="cpu").run``

    Args:
        dataset: The folder of a dataset, by default ``dataset``; or all options in a record.
        progress: Shows how far the run is; with several ranks it is pickled.
        options: Further options of ``TrainConfig``.

    Returns:
        The folder of the run, how it ended, and its scores.

    Raises:
        SegkitError: Input, options or device do not allow it; what was reached is in the run's ``last.pt``.
    """
    config = config_of(TrainConfig, dataset, options)
    check_process()
    warn_of_limit(progress)
    from segkit.training.label_curve.curve import is_curve
    from segkit.training.train import train

    if is_curve(config):
        raise ConfigError("label_curve: train makes one run", "call segkit.label_curve")
    return train(config, progress)


@from_python
def label_curve(
    dataset: TrainConfig | PathLike | None = None,
    /,
    *,
    progress: Progress = LOGGED,
    **options: Unpack["TrainOptions"],
) -> "LabelCurve":
    """Train on parts of the labels, and say what twice as many would give, as ``segkit train --label-curve``.

    Example:
        ``segkit.label_curve("dataset", steps=500).document["twice"]``

    Args:
        dataset: As of ``train``.
        progress: Shows what the runs report.
        options: Further options of ``TrainConfig``, for every run.

    Raises:
        SegkitError: As ``train``; the runs that are done are in the folder of the curve.
    """
    given = dict(options) if "resume" in options else {**options, "label_curve": True}
    config = config_of(TrainConfig, dataset, given)
    check_process()
    warn_of_limit(progress)
    from segkit.training.label_curve.curve import train_curve

    return train_curve(config, progress)
