"""What Typer's own command class lacks: optional values, the words after ``--``, and which options were given.

Overrides name ``typer.Context``, which alone is public; the methods of Typer's own copy of Click take its base class,
so that mypy refuses each of them without an ignore.
"""

from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from segkit.commands.plain_help import can_draw, write_plain_help
from segkit.config.fields import CommandConfig, declaration_of, flag_of, is_path, options_of
from segkit.config.values import path_text

_AFTER_SEPARATOR = "segkit.after_separator"


class ConfiguredCommand(TyperCommand):
    """A command with three features that Typer lacks.

    These are optional values, a field for the words after ``--``, and the refusal of an empty path: ``"$UNSET"`` would
    name the folder that one is in.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        paths = {each.name for each in options_of(self._config_type) if is_path(self._config_type, each)} | {"config"}
        for each in self.params:
            if each.name in paths:
                _refuse_empty(each)

    def make_parser(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Make the value optional for options with a ``bare`` value."""
        parser: Any = super().make_parser(ctx)
        for each in options_of(self._config_type):
            if (bare := declaration_of(each).bare) is not None:
                _make_value_optional(parser._long_opt[flag_of(each)], bare)
        return parser

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Keep the words after ``--`` apart if the config has a field for them."""
        if "--" in args and any(declaration_of(each).after_separator for each in options_of(self._config_type)):
            separator = args.index("--")
            args, ctx.meta[_AFTER_SEPARATOR] = args[:separator], args[separator + 1 :]
        return super().parse_args(ctx, args)

    def format_help(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        """Draw boxes only where they can be seen."""
        super().format_help(ctx, formatter) if can_draw() else write_plain_help(self, ctx, formatter)

    @property
    def _config_type(self) -> type[CommandConfig]:
        config_type: type[CommandConfig] = vars(self.callback)["config_type"]
        return config_type


class Program(TyperGroup):
    """The commands, with the same help."""

    def format_help(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        """Draw boxes only where they can be seen."""
        super().format_help(ctx, formatter) if can_draw() else write_plain_help(self, ctx, formatter)


def _refuse_empty(parameter: Any) -> None:
    """Make empty text a usage error of a parameter."""
    process = parameter.process_value

    def checked(ctx: typer.Context, value: Any) -> Any:
        try:
            for text in value if isinstance(value, list | tuple) else (value,):
                if isinstance(text, str):
                    path_text(text)
        except ValueError as error:
            raise typer.BadParameter(str(error), ctx=ctx, param=parameter) from error
        return process(ctx, value)

    parameter.process_value = checked


def _make_value_optional(parser_option: Any, bare: str) -> None:
    """Take the next word as the value, or ``bare`` if there is none or it is an option.

    In Click this is ``flag_value``. Typer does not pass it on, and the copy of Click inside Typer from 0.26 on is
    without it. With ``nargs`` 0 the parser, old and new, leaves the words to ``process``.
    """
    store = parser_option.process

    def process(_: object, state: Any) -> None:
        has_value = bool(state.rargs) and not state.rargs[0].startswith("-")
        store(state.rargs.pop(0) if has_value else bare, state)

    parser_option.nargs, parser_option.process = 0, process


def given_names(ctx: typer.Context) -> set[str]:
    """The names of the options that the user gave, on the command line or in a config file."""
    sources = {name: ctx.get_parameter_source(name) for name in ctx.params}
    return {name for name, source in sources.items() if source is not None and source.name != "DEFAULT"}


def words_after_separator(ctx: typer.Context) -> list[str] | None:
    """The words after ``--``; None where there is no ``--``, or the command makes no difference."""
    words: list[str] | None = ctx.meta.get(_AFTER_SEPARATOR)
    return words
