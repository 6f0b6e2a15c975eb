"""``segkit.check`` and ``segkit.label``."""

from typing import TYPE_CHECKING, Unpack

from segkit.api.boundary import from_python
from segkit.api.options import PathLike, check_process, config_of
from segkit.config.check import CheckConfig
from segkit.config.label import LabelConfig
from segkit.progress import LOGGED, Progress

if TYPE_CHECKING:
    from segkit.config.keywords import CheckOptions, LabelOptions
    from segkit.review.check import CheckSummary
    from segkit.review.label import LabelSummary


@from_python
def check(
    src: CheckConfig | PathLike | None = None,
    /,
    *,
    progress: Progress = LOGGED,
    **options: Unpack["CheckOptions"],
) -> "CheckSummary":
    """Look for what is wrong with annotations, as ``segkit check``.

    Example:
        ``segkit.check("dataset", model="runs/latest").to_json()["counts"]``

    Args:
        src: A dataset, or annotations in any format that ``convert`` reads; or all options in a record.
        progress: Shows how much is done.
        options: Further options of ``CheckConfig``.

    Returns:
        What was found, and the files that were written. A finding is no error: ``strict`` changes nothing here.

    Raises:
        InputError: There is nothing to check, or no model or results of that name.
        ConfigError: Options contradict each other, or there is no such option.
        DeviceError: A single image needs more memory than there is.
    """
    from segkit.review.check import check

    config = config_of(CheckConfig, src, options)
    check_process()
    return check(config, progress)


@from_python
def label(
    folder: LabelConfig | PathLike | None = None,
    /,
    *,
    progress: Progress = LOGGED,
    **options: Unpack["LabelOptions"],
) -> "LabelSummary":
    """Say which pictures to annotate next, or open LabelMe on them and wait until it is closed, as ``segkit label``.

    Example:
        ``segkit.label("pictures", next=20, model="runs/latest", list_only=True).plan``

    Args:
        folder: Of pictures and LabelMe files; or all options in a record.
        progress: Shows how many pictures are predicted.
        options: Further options of ``LabelConfig``.

    Returns:
        The pictures that were chosen, and what a person saved.

    Raises:
        InputError: There is no such folder or model, no LabelMe, or no display.
        ConfigError: Options contradict each other, or there is no such option.
        DeviceError: A single image needs more memory than there is.
    """
    from segkit.review.label import label

    config = config_of(LabelConfig, folder, options)
    check_process()
    return label(config, progress)
