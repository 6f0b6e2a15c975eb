"""How a config record declares its options, and its TOML form.

One frozen dataclass per command is the only place where an option is written: its name, type, default,
bounds and help. ``segkit.commands.options`` derives the command line from it.
"""

import tomllib
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import tomli_w

from segkit.config.parsers import write_units
from segkit.errors import ConfigError, InputError

METADATA = "segkit"
Record = TypeVar("Record")


@dataclass(frozen=True)
class Declaration:
    """What the shell needs to know of an option beyond its type and default."""

    help: str
    min: float | None = None
    max: float | None = None
    parse: Callable[[str], Any] | None = None
    metavar: str | None = None
    flag: str | None = None
    panel: str | None = None
    argument: bool = False
    bare: str | None = None  # the value of an option that stands without one, as in `--resume`


def option(
    default: Any = MISSING,
    /,
    *,
    help: str,
    min: float | None = None,
    max: float | None = None,
    parse: Callable[[str], Any] | None = None,
    metavar: str | None = None,
    flag: str | None = None,
    panel: str | None = None,
    bare: str | None = None,
) -> Any:
    """Declare a field that the command line offers as ``--name``."""
    declared = Declaration(help, min, max, parse, metavar, flag, panel, bare=bare)
    return field(default=default, metadata={METADATA: declared})


def argument(default: Any = MISSING, /, *, help: str, metavar: str | None = None) -> Any:
    """Declare a field that the command line takes by position."""
    return field(default=default, metadata={METADATA: Declaration(help, metavar=metavar, argument=True)})


def declaration_of(record_field: Any) -> Declaration:
    """The declaration that a field was made with."""
    declared: Declaration = record_field.metadata[METADATA]
    return declared


def read_toml(path: Path) -> dict[str, Any]:
    """Read a flat table of option values."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid TOML: {error}") from error


def write_toml(config: Any, path: Path) -> None:
    """Save a config so that ``--config`` repeats it; what is unset is left out."""
    values = {}
    for each in fields(config):
        value = getattr(config, each.name)
        if value is not None:
            values[each.name] = str(value) if isinstance(value, Path) else write_units(value)
    path.write_text(tomli_w.dumps(values), encoding="utf-8")


def load_config(record: type[Record], path: Path) -> Record:
    """Rebuild a config record from the TOML that ``write_toml`` saved."""
    values = read_toml(path)
    hints = get_type_hints(record)
    known = {each.name: declaration_of(each) for each in fields(record)}  # type: ignore[arg-type]
    if unknown := sorted(values.keys() - known.keys()):
        raise ConfigError(f"{path}: unknown keys: {', '.join(unknown)}", "was it written by another version?")
    for name, value in values.items():
        if (parse := known[name].parse) and isinstance(value, str):
            try:
                values[name] = parse(value)
            except ValueError as error:
                raise ConfigError(f"{path}: {name}: {error}") from error
        elif Path in (hints[name], *getattr(hints[name], "__args__", ())):
            values[name] = Path(value)
    try:
        return record(**values)
    except TypeError as error:
        raise ConfigError(f"{path}: {error}") from error
