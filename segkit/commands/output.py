"""Output of a command: what it answers to stdout, all else to stderr, and progress bars only on a terminal.

Commands that were asked something (``eval``, ``check``, ``doctor``) answer on stdout, so that ``> file`` keeps it.
Those that were asked to make files say what they made on stderr.
"""

import json
import sys
import time
from dataclasses import dataclass, field, replace
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.measure import Measurement
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn
from rich.progress import Progress as RichProgress
from rich.table import Column, Table
from rich.text import Text

from segkit.progress import SILENT, Progress
from segkit.runtime.address_space import warn_of_limit
from segkit.text import visible
from segkit.units import format_duration


def shown(text: str) -> str:
    """Text of files for a Rich console: neither markup nor control characters in it are obeyed."""
    return escape(visible(text))


_LINE = 10_000  # columns


def _console(*, quiet: bool = False, stderr: bool = True) -> Console:
    """The console on stderr or stdout; names such as ``:bug:`` stay as they are."""
    width = None if stderr or sys.stdout.isatty() else _LINE  # in a file, a row of a table is one line
    return Console(stderr=stderr, quiet=quiet, highlight=False, soft_wrap=True, emoji=False, width=width)


@dataclass(frozen=True)
class Output:
    """Where a command writes, and how much.

    Attributes:
        as_json: One JSON document on stdout.
        quiet: Only errors on stderr, and of an answer only its gist.
        answers: What is shown and said goes to stdout, unless a document does: it is what the command was asked for.
        started: The progress displays that ``close`` ends.
    """

    as_json: bool = False
    quiet: bool = False
    answers: bool = False
    started: list[Progress] = field(default_factory=list)

    def answering(self) -> "Output":
        """The same, for a command whose result is what it says."""
        return replace(self, answers=True)

    @property
    def stderr(self) -> Console:
        """The console on stderr; silent when quiet."""
        return _console(quiet=self.quiet)

    def show(self, what: Table | str) -> None:
        """Print a table or a line of the result, unless quiet."""
        on_stdout = self.answers and not self.as_json
        _console(quiet=self.quiet, stderr=not on_stdout).print(what)
        if on_stdout:
            sys.stdout.flush()  # in order with stderr, where both go to one file

    def gist(self, line: str) -> None:
        """Print the one line of an answer that is left when quiet."""
        if self.quiet and self.answers and not self.as_json:
            _console(stderr=False).print(line)

    def progress(self) -> Progress:
        """The progress display for the core: bars on a terminal that moves its cursor, lines elsewhere."""
        if self.quiet:
            return SILENT
        self.started.append(_Lines() if _console().is_dumb_terminal or not sys.stderr.isatty() else _Bars())
        return self.started[-1]

    def before_pytorch(self) -> None:
        """Warn, before PyTorch is loaded, of what may end the process in it without a message."""
        warn_of_limit(self.progress())

    def close(self) -> None:
        """Restore the terminal, however the command ended."""
        for progress in self.started:
            progress.done()

    def json(self, document: Any) -> None:
        """Write one JSON document to stdout if ``--json`` was given."""
        if self.as_json:
            sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
            sys.stdout.flush()  # the reader of a pipe gets it at once

    def error(self, message: str) -> None:
        """Write an error to stderr, quiet or not."""
        _console().print(f"[red]error:[/red] {shown(message)}")

    def note(self, text: str) -> None:
        """Write a line to stderr unless quiet."""
        self.stderr.print(text)


_WIDE = 130  # columns of a terminal on which all figures of a training have room beside a long bar


class _Times(ProgressColumn):
    """How long it has taken, and how long it will: ``1m05s, 12s left``."""

    def render(self, task: Task) -> Text:
        taken, left = task.finished_time or task.elapsed, task.time_remaining
        text = format_duration(taken or 0)
        return Text(text if left is None or task.finished else f"{text}, {format_duration(left)} left")


class _Count(ProgressColumn):
    """How many units are done, and of how many: ``12/40``; nothing where neither is known."""

    def render(self, task: Task) -> Text:
        of = "" if task.total is None else f"/{int(task.total)}"
        return Text(f"{int(task.completed)}{of}" if task.completed or of else "")


class _Figures(ProgressColumn):
    """As many figures as there is room for; none is cut off in the middle, so that each can be believed."""

    def render(self, task: Task) -> "_Fitting":
        return _Fitting(task.fields["figures"])


@dataclass(frozen=True)
class _Fitting:
    """Texts of which those are shown that fit into a line; the first one is shortened where not even it fits."""

    texts: tuple[str, ...]

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(0, options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        line = Text(no_wrap=True, overflow="ellipsis")
        for text in self.texts:
            more = Text(text if not line else f"  {text}")
            if line and line.cell_len + more.cell_len > options.max_width:
                break
            line.append_text(more)
        yield line


class _Bars(Progress):
    """Rich's progress bars."""

    def __init__(self) -> None:
        self._bars: RichProgress | None = None
        self._shown = 0.0

    def start(self, description: str, total: int | None) -> None:
        self.done()
        self._bars = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24 if _console().width >= _WIDE else 10),
            _Count(),
            _Times(),
            _Figures(table_column=Column(no_wrap=True, ratio=1)),
            console=_console(),
            transient=True,
            expand=True,
        )
        self._bars.start()
        self._bars.add_task(description, total=total, figures=())

    def advance(self, count: int = 1, **figures: str) -> None:
        if self._bars is not None:
            task = self._bars.task_ids[-1]
            self._bars.advance(task, count)
            self._shown = time.monotonic()
            if figures:
                shown = tuple(f"{name.replace('_', ' ')} {value}" for name, value in figures.items())
                self._bars.update(task, figures=shown)

    def alive(self, doing: str) -> None:
        now = time.monotonic()
        if self._bars is not None and now - self._shown >= 1.0:
            self._shown = now
            self._bars.update(self._bars.task_ids[-1], figures=(visible(doing),))

    def done(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def note(self, message: str) -> None:
        console = self._bars.console if self._bars is not None else _console()
        console.print(visible(message, keep="\n"), markup=False)


class _Lines(Progress):
    """A line every ten seconds, for logs."""

    seconds = 10.0

    def __init__(self) -> None:
        self._what, self._total, self._count, self._last, self._began = "", None, 0, 0.0, 0.0

    def start(self, description: str, total: int | None) -> None:
        self._what, self._total, self._count = description, total, 0  # type: ignore[assignment]
        self._began = self._last = time.monotonic()

    def advance(self, count: int = 1, **figures: str) -> None:
        self._count += count
        now = time.monotonic()
        if now - self._last >= self.seconds:
            self._last, of = now, self._of()
            shown = "".join(f"  {name.replace('_', ' ')} {value}" for name, value in figures.items())
            left = ""
            if self._total is not None and self._total > self._count > 0:
                left = f"  {format_duration((now - self._began) / self._count * (self._total - self._count))} left"
            print(f"{self._what} {self._count}{of}{shown}{left}", file=sys.stderr, flush=True)

    def alive(self, doing: str) -> None:
        now = time.monotonic()
        if self._what and now - self._last >= 2 * self.seconds:  # the line of a unit that is done says more
            self._last = now
            print(f"{self._what} {self._count}{self._of()}: {visible(doing)}", file=sys.stderr, flush=True)

    def _of(self) -> str:
        return "" if self._total is None else f"/{self._total}"

    def done(self) -> None:
        pass

    def note(self, message: str) -> None:
        print(visible(message, keep="\n"), file=sys.stderr, flush=True)


def table_of(title: str, *columns: str) -> Table:
    """A table without borders: the first column left-aligned, the others right-aligned."""
    table = Table(title=title, title_justify="left", box=None, header_style="dim", pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    return table
