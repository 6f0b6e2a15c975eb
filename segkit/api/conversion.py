"""``segkit.convert``."""

import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Unpack

from segkit.api.options import PathLike, check_process, config_of
from segkit.config.convert import ConvertConfig
from segkit.progress import LOGGED, Progress

if TYPE_CHECKING:
    from segkit.config.keywords import ConvertOptions
    from segkit.conversion.summary import ConversionSummary


def convert(
    src: ConvertConfig | PathLike | Sequence[PathLike],
    /,
    *,
    progress: Progress = LOGGED,
    **options: Unpack["ConvertOptions"],
) -> "ConversionSummary":
    """Convert annotations to a dataset folder, as ``segkit convert``.

    Example:
        ``segkit.convert("labelme-dir", out="dataset", val=0.2).categories``

    Args:
        src: A folder, a file, or a list of files; or all options in a record.
        progress: Shows how much is read and written.
        options: Further options of ``ConvertConfig``.

    Returns:
        Counts, and a finding for every shape or file that was not converted exactly.

    Raises:
        InputError: Nothing can be converted, a label is unknown, or the target folder is in use.
        ConfigError: Options contradict each other, or there is no such option.
    """
    from segkit.conversion.convert import convert

    check_process()
    paths: Iterable[str] = sys.stdin
    if isinstance(src, list | tuple):
        src, paths = "-", [os.fspath(each) for each in src]
    return convert(config_of(ConvertConfig, src, options), progress, paths)
