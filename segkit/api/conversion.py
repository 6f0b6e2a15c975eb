"""``segkit.convert``."""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Unpack

from segkit.api.boundary import from_python
from segkit.api.options import PathLike, check_process, config_of
from segkit.config.convert import ConvertConfig
from segkit.config.values import of_python, path_text, text_of
from segkit.errors import ConfigError
from segkit.progress import LOGGED, Progress

if TYPE_CHECKING:
    from segkit.config.keywords import ConvertOptions
    from segkit.conversion.summary import ConversionSummary


@from_python
def convert(
    src: ConvertConfig | PathLike | Iterable[PathLike] | None = None,
    /,
    *,
    progress: Progress = LOGGED,
    **options: Unpack["ConvertOptions"],
) -> "ConversionSummary":
    """Convert annotations to a dataset folder, as ``segkit convert``.

    Example:
        ``segkit.convert("labelme-dir", out="dataset", val=0.2).categories``

    Args:
        src: A folder, a file, or several files, in a list or as ``Path.glob`` gives them; or all options in a record.
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
    paths: Iterable[str] = sys.stdin or ()  # None: pythonw, a service
    given: dict[str, Any] = dict(options)
    named = given.pop("src", src)
    if isinstance(listed := of_python(named), list | tuple):
        try:
            named, paths = "-", [path_text(text_of(each)) for each in listed]
        except ValueError as error:
            raise ConfigError(f"src: {error}", "name a folder, a file, or a list of files") from None
    if isinstance(src, ConvertConfig) and named is not src:
        given["src"], named = named, src
    return convert(config_of(ConvertConfig, named, given), progress, paths)
