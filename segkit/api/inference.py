"""``segkit.evaluate`` and ``segkit.predict``."""

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Unpack

from segkit.api.boundary import from_python
from segkit.api.options import PathLike, check_process, config_of
from segkit.config.evaluate import EvalConfig
from segkit.config.predict import PredictConfig
from segkit.errors import ConfigError
from segkit.progress import LOGGED, Progress
from segkit.runtime.address_space import warn_of_limit

if TYPE_CHECKING:
    from segkit.config.keywords import EvaluateOptions, PredictOptions
    from segkit.evaluation.evaluation import EvaluationSummary
    from segkit.inference.predict import PredictionSummary


@from_python
def evaluate(
    subject: EvalConfig | PathLike | None = None,
    /,
    *,
    progress: Progress = LOGGED,
    **options: Unpack["EvaluateOptions"],
) -> "EvaluationSummary":
    """Score a model, COCO results of any tool, or the annotations of a second person, as ``segkit eval``.

    Example:
        ``segkit.evaluate("runs/latest", data="dataset").metrics.primary()``

    Args:
        subject: A run, a checkpoint, an exported file, results or annotations, by default ``runs/latest``; or all
            options in a record.
        progress: Shows how far it is.
        options: Further options of ``EvalConfig``.

    Returns:
        The metrics, and the files that were written. Where no threshold keeps a promise that was asked for,
        ``refused_promise`` says why.

    Raises:
        InputError: There is no such model or data, or they do not go together.
        ConfigError: Options contradict each other, or there is no such option.
        DeviceError: A single image needs more memory than there is.
    """
    from segkit.inference.evaluate import evaluate

    config = config_of(EvalConfig, subject, options)
    check_process()
    return evaluate(config, progress)


@from_python
def predict(
    source: PredictConfig | PathLike | Iterable[PathLike] | None = None,
    /,
    *,
    progress: Progress = LOGGED,
    on_picture: Callable[[dict[str, Any]], None] | None = None,
    **options: Unpack["PredictOptions"],
) -> "PredictionSummary":
    """Predict pictures and write the results, as ``segkit predict``.

    Example:
        ``[len(each["instances"]) for each in segkit.predict("new-images").records()]``

    Args:
        source: Images, videos, folders or globs, one or several (a list, ``Path.glob``); or all options in a record.
        progress: Shows how many pictures are done.
        on_picture: Called with the line of ``--json`` of each picture, as soon as it is written; with several ranks it
            is pickled.
        options: Further options of ``PredictConfig``.

    Returns:
        Counts, and the files; ``records()`` are the lines of ``--json``. Pictures that could not be read are in
        ``failed``: they do not stop the others.

    Raises:
        InputError: There are no pictures, no model, or the output folder holds predictions already.
        ConfigError: Options contradict each other, or the model does not predict what is to be written.
        DeviceError: A single picture needs more memory than there is, or a rank has died.
        Interrupted: Ctrl-C was pressed; ``resume=True`` goes on.
    """
    if on_picture is not None and not callable(on_picture):
        raise ConfigError(f"on_picture: {on_picture!r} is no function", "name one that takes a dict")
    config = config_of(PredictConfig, source, options)
    check_process()
    warn_of_limit(progress)
    from segkit.inference.predict import pass_over, predict

    return predict(config, progress, on_picture or pass_over, sys.stdin or ())
