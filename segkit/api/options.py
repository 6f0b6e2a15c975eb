"""What a caller from Python gives -> the record of a command's options."""

import multiprocessing
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from segkit.config.fields import CommandConfig, declaration_of, options_of, read_values
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
    if not isinstance(first, record) and first is not None:
        name = next(each.name for each in options_of(record) if declaration_of(each).argument)
        values = {name: first, **values}
    try:
        values = read_values(record, values)
    except ValueError as error:
        raise ConfigError(str(error), "docs/cli.md lists the options of each command") from None
    if isinstance(first, record):
        return replace(first, given=first.given_options() | values.keys(), **values) if values else first
    return record(given=frozenset(values), **values)


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
