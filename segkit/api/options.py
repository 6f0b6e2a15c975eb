"""What a caller from Python gives -> the record of a command's options."""

import multiprocessing
import os
from collections.abc import Mapping
from dataclasses import MISSING, replace
from typing import Any, TypeVar

from segkit.config.fields import CommandConfig, declaration_of, given_values, options_of
from segkit.errors import ConfigError

Config = TypeVar("Config", bound=CommandConfig)
PathLike = str | os.PathLike[str]


def config_of(record: type[Config], first: Any, options: Mapping[str, Any]) -> Config:
    """The record of a command's options.

    Args:
        record: Its type.
        first: Such a record, which ``options`` change; or the option that the command takes by position; None: neither.
        options: By the names of the fields; None where a value is to be the default.

    Raises:
        ConfigError: There is no such option, a value is not what it takes, or options contradict each other.
    """
    defaults = {each.name: each.default for each in options_of(record)}
    values = {name: each for name, each in options.items() if each is not None or defaults.get(name, "") is not None}
    argument = next(each.name for each in options_of(record) if declaration_of(each).argument)
    given = frozenset(values)
    if isinstance(first, record):
        given |= first.given_options()
        # What the record holds, too: its maker may have taken text for a path, as everywhere else.
        values = {name: getattr(first, name) for name in defaults if getattr(first, name) != defaults[name]} | values
    elif first is not None:
        values, given = {argument: first, **values}, given | {argument}
    elif argument not in values and defaults[argument] is MISSING:
        raise ConfigError(
            f"{argument}: is missing", f"name it as the first argument of the function, or as {argument}="
        )
    values = given_values(record, values)
    return replace(first, given=given, **values) if isinstance(first, record) else record(given=given, **values)


def check_process() -> None:
    """Refuse to begin again in a process that segkit or the caller has started.

    Raises:
        ConfigError: The process is still importing the script that started it.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise ConfigError(
            "a process that was started imports this script, and would begin it again",
            'put the calls of segkit below if __name__ == "__main__":',
        )
