"""A command's options, derived from its config record."""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

import typer

from segkit.commands.output import Output
from segkit.config.fields import Declaration, declaration_of, read_toml
from segkit.errors import Interrupted

Config = TypeVar("Config")
BARE_OPTIONS: dict[tuple[str, str], str] = {}  # (command, option) that may stand without a value: what it then means


def _read_config_file(ctx: typer.Context, path: Path | None) -> Path | None:
    """Let the file's values stand in for the defaults, so that flags still win."""
    if path is not None:
        values = read_toml(path)
        known = {parameter.name for parameter in ctx.command.params}
        if unknown := sorted(values.keys() - known):
            raise typer.BadParameter(f"{path}: unknown keys: {', '.join(unknown)}")
        ctx.default_map = values
    return path


_COMMON = [
    inspect.Parameter(
        "config",
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[
            Path | None,
            typer.Option(
                help="TOML file of option values; flags win over it.",
                is_eager=True,
                callback=_read_config_file,
                rich_help_panel="Output",
            ),
        ],
    ),
    inspect.Parameter(
        "as_json",
        inspect.Parameter.KEYWORD_ONLY,
        default=False,
        annotation=Annotated[
            bool, typer.Option("--json", help="One JSON document on stdout.", rich_help_panel="Output")
        ],
    ),
    inspect.Parameter(
        "quiet",
        inspect.Parameter.KEYWORD_ONLY,
        default=False,
        annotation=Annotated[
            bool, typer.Option("--quiet", "-q", help="Only errors on stderr.", rich_help_panel="Output")
        ],
    ),
]


def configured_by(
    config_type: type[Config],
) -> Callable[[Callable[[Config, Output], int]], Callable[..., None]]:
    """Give a command one option per field of ``config_type``, and pass it the filled-in record.

    The command returns its exit code.
    """
    hints = get_type_hints(config_type)
    parameters = [
        inspect.Parameter(
            each.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if each.default is MISSING else _typed_default(each),
            annotation=_annotation(each.name, hints[each.name], each.default, declaration_of(each)),
        )
        for each in fields(config_type)  # type: ignore[arg-type]
    ]

    def decorate(command: Callable[[Config, Output], int]) -> Callable[..., None]:
        def from_options(*, config: Path | None, as_json: bool, quiet: bool, **values: Any) -> None:
            given = {name: value for name, value in values.items() if value is not None}
            output = Output(as_json=as_json, quiet=quiet)
            try:
                code = command(config_type(**given), output)
            except KeyboardInterrupt:
                raise Interrupted("interrupted") from None
            finally:
                output.close()
            if code:
                raise typer.Exit(code)

        for each in fields(config_type):  # type: ignore[arg-type]
            if (bare := declaration_of(each).bare) is not None:
                BARE_OPTIONS[command.__name__, "--" + each.name.replace("_", "-")] = bare
        from_options.__name__ = command.__name__
        from_options.__doc__ = command.__doc__
        from_options.__signature__ = inspect.Signature([*parameters, *_COMMON])  # type: ignore[attr-defined]
        from_options.__annotations__ = {p.name: p.annotation for p in (*parameters, *_COMMON)}
        return from_options

    return decorate


def _typed_default(each: Any) -> Any:
    """The default as it would be typed: values with a parser go through it again."""
    declared = declaration_of(each)
    if declared.parse is None or each.default is None:
        return each.default
    return ",".join(each.default) or None


def _annotation(name: str, hint: Any, default: Any, declared: Declaration) -> Any:
    text = declared.help.replace("[", "\\[")  # Rich would take [default: ...] for markup
    settings: dict[str, Any] = {"help": text, "show_default": "[default:" not in text}
    if declared.argument:
        return Annotated[hint, typer.Argument(metavar=declared.metavar, **settings)]
    for key in ("min", "max"):
        if (value := getattr(declared, key)) is not None:
            settings[key] = value
    settings["metavar"] = declared.metavar or _metavar(hint)
    settings["rich_help_panel"] = declared.panel or "Options"
    if declared.parse is not None:
        settings["parser"] = _parser(declared.parse)
        hint = str | None  # Typer must not look into the parsed type
    flags = [declared.flag] if declared.flag else ["--" + name.replace("_", "-")] if hint is bool else []
    if hint is bool and default is True:
        flags = [f"{flags[0]}/--no-{flags[0][2:]}"]
    return Annotated[hint, typer.Option(*flags, **settings)]


def _metavar(hint: Any) -> str | None:
    """A short word for a plain type; choices are spelled out by Typer."""
    kinds = (hint, *get_args(hint))
    return next((word for kind, word in _METAVARS.items() if kind in kinds), None)


_METAVARS = {int: "N", float: "X", Path: "PATH", str: "TEXT"}


def _parser(parse: Callable[[str], Any]) -> Callable[[Any], Any]:
    def parsed(value: Any) -> Any:
        if not isinstance(value, str | int | float):
            return value
        try:
            return parse(str(value))
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error

    return parsed
