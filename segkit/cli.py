"""The segkit command line: the Typer app, the list of commands, and the one error boundary."""

import os
import sys
from typing import Annotated, Any

import typer
from typer.main import get_command

from segkit.commands.check import check
from segkit.commands.convert import convert
from segkit.commands.doctor import doctor
from segkit.commands.evaluate import evaluate
from segkit.commands.export import export
from segkit.commands.label import label
from segkit.commands.memprofile import memprofile
from segkit.commands.predict import predict
from segkit.commands.replay import replay
from segkit.commands.serve import serve
from segkit.commands.train import train
from segkit.commands.typer_command import ConfiguredCommand, Program
from segkit.errors import DONE, FAILED, INTERRUPTED, USAGE, SegkitError, user_error
from segkit.runtime.signals import end_quietly, raising_interrupts
from segkit.runtime.streams import lost_output, make_streams_safe
from segkit.text import visible
from segkit.version import __version__

app = typer.Typer(
    cls=Program,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS = {
    "convert": convert,
    "train": train,
    "eval": evaluate,
    "predict": predict,
    "memprofile": memprofile,
    "export": export,
    "label": label,
    "serve": serve,
    "replay": replay,
    "check": check,
    "doctor": doctor,
}
for name, command in COMMANDS.items():
    app.command(name, cls=ConfiguredCommand)(command)


def _print_version(requested: bool) -> None:
    if requested:
        from segkit.doctor.packages import versions  # noqa: PLC0415 -- not for every --help

        environment = ", ".join(f"{name} {version}" for name, version in versions().items() if name != "segkit")
        typer.echo(f"segkit {__version__}\n{environment}")
        raise typer.Exit


@app.callback()
def segkit(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Instance segmentation from LabelMe annotations to a trained, measured, exported model.

    convert  ->  train  ->  eval, predict, export;  memprofile shows where memory goes and finds leaks.
    """
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help(), nl=False)  # empty where Rich has printed it
        raise typer.Exit(USAGE)


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code; errors of the user are printed in one line, without a traceback."""
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] == ["help"]:  # segkit help, segkit help train
        words = [*words[1:2], "--help"]
    try:
        result = get_command(app).main(words, prog_name="segkit", standalone_mode=False)
        return result if isinstance(result, int) else DONE
    except SegkitError as error:
        if "SEGKIT_DEBUG" in os.environ:
            raise
        return _print_error(error.message, error.hint, error.exit_code)
    except KeyboardInterrupt:
        return _print_error("interrupted", None, INTERRUPTED)
    except Exception as error:
        return _answer(error, words)


def _answer(error: Exception, words: list[str]) -> int:
    """Print what is no ``SegkitError`` and not segkit's fault either, and return the exit code.

    Args:
        error: What was raised.
        words: The command line.

    Raises:
        Exception: It is a fault of segkit's.
    """
    if (answer := user_error(error)) is not None:
        if "SEGKIT_DEBUG" in os.environ:
            raise error
        return _print_error(answer.message, answer.hint, answer.exit_code)
    if not hasattr(error, "format_message"):  # Typer's usage errors have it; anything else is our bug
        raise error
    context: Any = getattr(error, "ctx", None)
    known = " ".join(["segkit", *(word for word in words[:1] if word in COMMANDS)])  # a parser's error has no context
    command = context.command_path if context is not None else known
    message = error.format_message().replace(": Value error, ", ": ", 1)  # pydantic's words, in Typer's of a choice
    return _print_error(message, f"see {command} --help", USAGE)


def _print_error(message: str, hint: str | None, code: int) -> int:
    sys.stdout.flush()
    typer.secho(f"error: {visible(message)}", fg="red", err=True)
    if hint:
        shown = visible(hint, keep="\n")  # a rank that failed gives its traceback
        typer.echo(f"hint: {shown}", err=True)
    return code


def run() -> None:
    """The console script: schedulers end jobs by SIGTERM, closed terminals by SIGHUP; both are answered like Ctrl-C."""
    make_streams_safe()
    with raising_interrupts():
        code = main()
    if (why := lost_output()) is not None and code == DONE:
        code = _print_error(f"standard output: {why}", "what is written to files is whole", FAILED)
    end_quietly(code)  # the work is done: a signal must not interrupt the end of the interpreter
    sys.exit(code)
