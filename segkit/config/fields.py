"""How a config record declares its options, and its TOML form.

One frozen dataclass per command is the only place where an option is written: its name, type, default,
bounds and help. ``segkit.commands.options`` derives the command line from it.
"""

import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, get_args, get_type_hints

import tomli_w

from segkit.config.parsers import to_toml
from segkit.config.values import of_python, value_of
from segkit.errors import ConfigError, InputError

_METADATA = "segkit"

MOST_STEPS, MOST_PROCESSES, MOST_PIXELS, MOST_SEED = 10**9, 1024, 32768, 2**63 - 1
MOST_REGIONS = 20_000
"""Bounds of options: beyond these a number is a slip, and arithmetic overflows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CommandConfig:
    """The options of a command.

    Attributes:
        given: The names of the options that the user gave, on the command line or in ``--config FILE``, also where the
            value equals the default. None for a record made in Python: then every value that differs from its default
            counts as given.
        first: The options that the help shows first, if it shows many.
    """

    first: ClassVar[tuple[str, ...]] = ()
    given: frozenset[str] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Read the values of a record made in Python, as those of every function are read, and check them.

        Raises:
            ConfigError: A value is not what its option takes, or options contradict each other.
        """
        if self.given is None:
            values = {each.name: of_python(getattr(self, each.name)) for each in options_of(type(self))}
            plain = {each.name: each.default for each in options_of(type(self))}
            changed = {name: value for name, value in values.items() if value != plain[name]}
            for name, value in given_values(type(self), changed).items():
                object.__setattr__(self, name, value)
        self._check()

    def _check(self) -> None:
        """Check that the options do not contradict each other.

        Raises:
            ConfigError: They do.
        """

    def given_options(self) -> frozenset[str]:
        """The names of the options that were given."""
        if self.given is not None:
            return self.given
        return frozenset(each.name for each in options_of(type(self)) if getattr(self, each.name) != each.default)


Record = TypeVar("Record", bound=CommandConfig)


Completion = Literal["model", "run", "dataset", "split", "category"] | tuple[str, ...]
"""What a value is, by which the shell completes it: a kind of file or name, or one of these words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Declaration:
    """What the command line needs to know about an option beyond its type and default.

    Attributes:
        help: What the option does, in a sentence; ``[default: ...]`` at its end where the default is computed.
        min: The least value.
        max: The largest value.
        parse: Reads the value from text; raises ``ValueError`` with the expected form.
        metavar: The placeholder for the value in the help.
        flag: The option as it is typed, if it is not the field's name with dashes.
        panel: The heading in the help.
        argument: Whether it is given by position.
        after_separator: Whether it holds the words after ``--``, or None where there is no ``--``.
        bare: The value of an option that is typed without one, as in ``--resume``; None if it needs a value.
        complete: What the shell offers for the value; None: its choices, or files.
    """

    help: str
    min: float | None = None
    max: float | None = None
    parse: Callable[[str], Any] | None = None
    metavar: str | None = None
    flag: str | None = None
    panel: str | None = None
    argument: bool = False
    after_separator: bool = False
    bare: str | None = None
    complete: Completion | None = None


def option(default: Any = MISSING, /, **declaration: Any) -> Any:
    """Declare a field that the command line offers as ``--name``.

    Args:
        default: The value where the option is not given.
        declaration: As in ``Declaration``.
    """
    return field(default=default, metadata={_METADATA: Declaration(**declaration)})


def argument(
    default: Any = MISSING, /, *, help: str, metavar: str | None = None, complete: Completion | None = None
) -> Any:
    """Declare a field that the command line takes by position."""
    return option(default, help=help, metavar=metavar, argument=True, complete=complete)


def options_of(record: type[CommandConfig]) -> list[Field[Any]]:
    """The fields that are options, in the order of the help: those that a record inherits come last."""
    found = [each for each in fields(record) if _METADATA in each.metadata]
    return sorted(found, key=lambda each: each.name not in record.__annotations__)


def declaration_of(record_field: Field[Any]) -> Declaration:
    """The declaration that a field was made with."""
    declared: Declaration = record_field.metadata[_METADATA]
    return declared


def flag_of(record_field: Field[Any]) -> str:
    """The option as it is typed: ``--max-size``; an argument by its name in the help."""
    declared = declaration_of(record_field)
    if declared.argument:
        return declared.metavar or record_field.name.upper()
    return declared.flag or "--" + record_field.name.replace("_", "-")


def words_of(config: CommandConfig, names: Collection[str]) -> list[str]:
    """Options as they are typed, in the order of the help: ``["--size", "64", "--deep"]``.

    Args:
        config: Whose options.
        names: Of the options that are wanted; arguments, and those that are None or False, are left out.
    """
    words: list[str] = []
    for each in options_of(type(config)):
        value, declared = getattr(config, each.name), declaration_of(each)
        if each.name in names and not declared.argument and not declared.after_separator and value not in (None, False):
            words += [flag_of(each)] if value is True else [flag_of(each), str(to_toml(value))]
    return words


def is_path(record: type[CommandConfig], record_field: Field[Any]) -> bool:
    """Whether an option names a file or a folder, as all arguments do."""
    hint = get_type_hints(record)[record_field.name]
    return Path in (hint, *get_args(hint)) or declaration_of(record_field).argument


def read_toml(path: Path) -> dict[str, Any]:
    """Read a flat table of option values.

    Raises:
        InputError: There is no such file, or it is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # Windows' Notepad begins with a mark
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid TOML: {error}") from error


def write_toml(config: CommandConfig, path: Path) -> None:
    """Write a config so that ``--config`` repeats it; what is None is left out."""
    values = {each.name: to_toml(getattr(config, each.name)) for each in options_of(type(config))}
    values = {name: value for name, value in values.items() if value is not None}
    path.write_text(tomli_w.dumps(values), encoding="utf-8")


def load_config(record: type[Record], path: Path) -> Record:
    """Rebuild a config record from the TOML that ``write_toml`` wrote.

    Raises:
        InputError: There is no such file, or it is not TOML.
        ConfigError: It has keys or values that the record does not know.
    """
    values = read_toml(path)
    if unknown := sorted(values.keys() - {each.name for each in options_of(record)}):
        raise ConfigError(f"{path}: unknown keys: {', '.join(unknown)}", "was it written by another version?")
    try:
        return record(**read_values(record, values))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path}: {error}") from error


def given_values(record: type[CommandConfig], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of options that a caller from Python gives, by the names of the record's fields.

    Raises:
        ConfigError: There is no such option, or a value is not what it takes.
    """
    try:
        return read_values(record, values)
    except ValueError as error:
        raise ConfigError(str(error), "docs/cli.md lists the options of each command") from None


def read_values(record: type[CommandConfig], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a record's options, by the names of its fields.

    Args:
        record: The record.
        values: As they were given, in TOML or in Python; see ``segkit.config.values``.

    Raises:
        ValueError: There is no such option, or a value is not what it takes; the message begins with its name.
    """
    hints, options = get_type_hints(record), {each.name: each for each in options_of(record)}
    found = {}
    for name, given in values.items():
        value = of_python(given)
        if name not in options:
            close = get_close_matches(name, options, n=1)
            raise ValueError(f"{name}: there is no such option" + (f"; is {close[0]} meant?" if close else ""))
        if options[name].default == () and value in ("", (), []):
            found[name] = ()
            continue
        try:
            found[name] = value_of(declaration_of(options[name]), hints[name], value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return found
