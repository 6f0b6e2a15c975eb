"""The border between callers from Python and the core: every function of ``segkit`` answers as docs/api.md says."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from segkit.errors import ConfigError, user_error
from segkit.progress import Progress
from segkit.runtime.signals import imports_left_whole

Given = ParamSpec("Given")
Answer = TypeVar("Answer")


def from_python(function: Callable[Given, Answer]) -> Callable[Given, Answer]:
    """A function that raises ``SegkitError`` where the system refuses a file or memory, and checks its listener.

    Args:
        function: One of those that ``segkit`` offers, with the keyword ``progress``.
    """

    @wraps(function)
    def checked(*arguments: Given.args, **options: Given.kwargs) -> Answer:
        listener = options.get("progress")
        if "progress" in options and not isinstance(listener, Progress):
            raise ConfigError(
                f"progress: {listener!r} is no segkit.Progress", "derive a class from segkit.Progress, or leave it out"
            )
        try:
            with imports_left_whole():
                return function(*arguments, **options)
        except Exception as error:
            if (answer := user_error(error)) is None:
                raise
            raise answer from error

    return checked
