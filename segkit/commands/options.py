"""A command's options, derived from its config record."""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import typer

from segkit.commands.complete import completer
from segkit.commands.output import Output
from segkit.commands.typer_command import given_names, words_after_separator
from segkit.config.fields import CommandConfig, Declaration, declaration_of, flag_of, options_of, read_toml, read_values
from segkit.config.parsers import to_toml
from segkit.config.values import number_of
from segkit.errors import Interrupted

Config = TypeVar("Config", bound=CommandConfig)


def _read_config_file(ctx: typer.Context, path: Path | None) -> Path | None:
    """Use the file's values as defaults, so that options on the command line win."""
    if path is not None:
        values = read_toml(path)
        known = {parameter.name for parameter in ctx.command.params}
        if unknown := sorted(values.keys() - known):
            raise typer.BadParameter(f"{path}: unknown keys: {', '.join(unknown)}")
        record: type[CommandConfig] = vars(ctx.command.callback)["config_type"]
        names = {each.name for each in options_of(record)}
        try:
            read = read_values(record, {name: value for name, value in values.items() if name in names})
        except ValueError as error:
            raise typer.BadParameter(f"{path}: {error}") from error
        # As it would be typed: Typer and the parsers read it again; an empty list is what the default is.
        typed = {name: to_toml(value) for name, value in read.items() if value != ()}
        ctx.default_map = {name: value for name, value in values.items() if name not in read} | typed
    return path


def _common_option(name: str, hint: Any, default: Any, *flags: str, **settings: Any) -> inspect.Parameter:
    annotation = Annotated[hint, typer.Option(*flags, rich_help_panel="Output", **settings)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


_COMMON = [
    _common_option(
        "config", Path | None, None,
        help="TOML file with values of options; options on the command line win.", is_eager=True,
        callback=_read_config_file,
    ),
    _common_option("as_json", bool, False, "--json", help="One JSON document on stdout."),
    _common_option("quiet", bool, False, "--quiet", "-q", help="Show only errors, and one line of an answer."),
    inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context),
]  # fmt: skip


def configured_by(
    config_type: type[Config],
) -> Callable[[Callable[[Config, Output], int]], Callable[..., None]]:
    """Give a command one option per field of ``config_type``, and call it with the record.

    The command returns its exit code.
    """
    hints = get_type_hints(config_type)
    first = config_type.first
    options = [each for each in options_of(config_type) if not declaration_of(each).after_separator]
    options.sort(key=lambda each: first.index(each.name) if each.name in first else len(first))
    panels = {each.name: _panel(each, first) for each in options}
    parameters = [*(_parameter(each, hints[each.name], panels[each.name]) for each in options), *_COMMON]

    def decorate(command: Callable[[Config, Output], int]) -> Callable[..., None]:
        def from_options(*, ctx: typer.Context, config: Path | None, as_json: bool, quiet: bool, **values: Any) -> None:
            output = Output(as_json=as_json, quiet=quiet)
            try:
                code = command(_record(config_type, ctx, values), output)
            except KeyboardInterrupt:
                raise Interrupted("interrupted") from None
            finally:
                output.close()
            if code:
                raise typer.Exit(code)

        from_options.__name__ = command.__name__
        from_options.__doc__ = command.__doc__
        from_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        from_options.__annotations__ = {each.name: each.annotation for each in parameters}
        from_options.config_type = config_type  # type: ignore[attr-defined]
        return from_options

    return decorate


def _record(config_type: type[Config], ctx: typer.Context, values: dict[str, Any]) -> Config:
    given = given_names(ctx) & values.keys()
    if (words := words_after_separator(ctx)) is not None:
        after_separator = {each.name for each in options_of(config_type) if declaration_of(each).after_separator}
        given |= after_separator
        values = values | dict.fromkeys(after_separator, words)
    return config_type(given=frozenset(given), **{name: value for name, value in values.items() if value is not None})


def _panel(each: Field[Any], first: tuple[str, ...]) -> str:
    """The heading of an option in the help; Typer shows those of the heading Options first of all."""
    if each.name in first:
        return "Most used; the others follow"
    return declaration_of(each).panel or ("Further options" if first else "Options")


def _parameter(each: Field[Any], hint: Any, panel: str) -> inspect.Parameter:
    default = inspect.Parameter.empty if each.default is MISSING else _typed_default(each)
    return inspect.Parameter(
        each.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=_annotation(each, hint, panel)
    )


def _typed_default(each: Field[Any]) -> Any:
    """The default as it would be typed: its parser reads it again."""
    return each.default if declaration_of(each).parse is None else to_toml(each.default) or None


def _annotation(each: Field[Any], hint: Any, panel: str) -> Any:
    declared = declaration_of(each)
    text = _with_choices(hint, declared.help).replace("[", "\\[")  # Rich would take [default: ...] for markup
    settings: dict[str, Any] = {"help": text, "show_default": "[default:" not in text}
    if declared.complete is not None:
        settings["autocompletion"] = completer(declared.complete)
    if declared.argument:
        return Annotated[hint, typer.Argument(metavar=declared.metavar, **settings)]
    settings["metavar"] = declared.metavar or _metavar(hint, declared)
    settings["rich_help_panel"] = panel
    parse = declared.parse
    for kind in (int, float):
        if parse is None and kind in (hint, *get_args(hint)):
            parse = partial(number_of, declared, kind)  # in our words, and not in those of Typer's validator
    if parse is not None:
        settings["parser"] = _parser(parse)
        hint = str | None  # Typer must not look into the parsed type
    flag = flag_of(each)
    if (hint is bool and each.default is True) or hint == (bool | None):
        flag = f"{flag}/--no-{flag[2:]}"
    return Annotated[hint, typer.Option(flag, **settings)]


def _metavar(hint: Any, declared: Declaration) -> str | None:
    """The placeholder for a plain type, with its bounds; Typer itself lists the choices of a Literal if few."""
    kinds = (hint, *get_args(hint))
    if bool in kinds or _many_choices(hint):
        return "" if bool in kinds else "NAME"
    word = next((word for kind, word in _METAVARS.items() if kind in kinds), None)
    low = None if declared.min is None else f"{declared.min:g}"
    high = None if declared.max is None or declared.max >= _NO_BOUND else f"{declared.max:g}"
    if low is not None and high is not None:
        return f"{word} ({low} to {high})"
    return word if low is None and high is None else f"{word} ({f'from {low}' if high is None else f'to {high}'})"


def _many_choices(hint: Any) -> tuple[str, ...]:
    """The choices of a Literal that would be cut off in the middle of a word between the option and its text."""
    choices = next((get_args(kind) for kind in (hint, *get_args(hint)) if get_origin(kind) is Literal), ())
    return choices if len("|".join(map(str, choices))) > _WIDEST else ()


def _with_choices(hint: Any, text: str) -> str:
    """The text of an option with its choices, which can be broken between words there."""
    if not (choices := _many_choices(hint)):
        return text
    text, default, of_default = text.partition("[default:")
    return f"{text.rstrip()} NAME is one of {', '.join(choices)}.  {default}{of_default}".rstrip()


_METAVARS = {int: "N", float: "X", Path: "PATH", str: "TEXT"}
_WIDEST = 18  # letters
_NO_BOUND = 10**6  # a bound beyond is there for slips


def _parser(parse: Callable[[str], Any]) -> Callable[[Any], Any]:
    def parsed(value: Any) -> Any:
        if not isinstance(value, str | int | float):
            return value
        try:
            return parse(str(value))
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error

    return parsed
