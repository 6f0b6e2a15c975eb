"""Run a user's script as it would run by itself, and watch it from inside.

The script runs in its own process, with its own Python, arguments, working folder, standard streams and exit code: a
crash of segkit or of the script does not stop the other. The session gets into that process through a
``sitecustomize`` on ``PYTHONPATH``, which launchers (torchrun, a shell script) pass on to the processes they start.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from segkit.data.locks import temporary_directory
from segkit.errors import InputError
from segkit.memory.process import FOLDER, HOME, SETTINGS
from segkit.memory.report.merge import merge, read_all
from segkit.runtime.signals import signal_handlers

SNAPSHOT = "snapshot.pickle"  # of CUDA's allocator, beside memory.json; for PyTorch's memory viewer
_FORWARDED = ("SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
_POLL_SECONDS = 0.25

Status = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ScriptRun:
    """How a script ended, and what was found in it.

    Attributes:
        code: Its exit code; 128 + n where signal n ended it.
        document: The report; None if there was no training in it.
        failures: Errors of the measuring itself.
    """

    code: int
    document: dict[str, Any] | None
    failures: tuple[str, ...]


def command_line(command: Sequence[str]) -> list[str]:
    """The command to execute: a script is run by this Python, anything else as it is.

    Raises:
        InputError: There is no such script or program.
    """
    first = command[0]
    if first == "-m" or (Path(first).exists() and not shutil.which(first)) or first.endswith(".py"):
        if first != "-m" and not Path(first).exists():
            raise InputError(f"{first}: no such script", "segkit memprofile -- train.py ARGS")
        return [sys.executable, *command]
    if re.fullmatch(r"python(\d(\.\d+)?)?", first):  # this Python; another one is named by its path
        return [sys.executable, *command[1:]]
    found = shutil.which(first)
    if found is None:
        raise InputError(f"{first}: no such program", "segkit memprofile -- train.py ARGS")
    return [found, *command[1:]]


def run_script(
    command: Sequence[str],
    *,
    every: int,
    steps: int | None,
    deep: bool,
    limit: int | None,
    snapshot: Path | None = None,
    stdout: int | None = None,
    on_status: Callable[[Status], None] = lambda status: None,
) -> ScriptRun:
    """Run a script to its end and collect what was found in it.

    Args:
        command: The script and its arguments, or a whole command.
        every: Optimiser steps that make one step (or passes, in a script without an optimiser).
        steps: End the script after so many; None: let it run.
        deep: Take a census of the host's containers at every step.
        limit: Bytes that may be used.
        snapshot: The file for the history of CUDA's allocator, of the first process that has one.
        stdout: The file descriptor for its standard output; None: that of this process.
        on_status: Called with the newest step, four times a second at most.
    """
    line = command_line(command)
    with temporary_directory("segkit-memprofile-") as folder:
        settings = {"every": every, "steps": steps, "deep": deep, "limit": limit}
        (folder / SETTINGS).write_text(json.dumps(settings), encoding="utf-8")
        sys.stdout.flush()
        # Through these variables the session gets into the script and finds its folder.
        paths = filter(None, [str(Path(__file__).parent / "startup"), os.environ.get("PYTHONPATH")])
        environment = os.environ | {
            FOLDER: str(folder), HOME: str(Path(__file__).parents[2]), "PYTHONPATH": os.pathsep.join(paths)
        }  # fmt: skip
        with subprocess.Popen(line, env=environment, stdout=stdout) as process, _forward_signals(process):
            while process.poll() is None:
                try:
                    process.wait(_POLL_SECONDS)
                except subprocess.TimeoutExpired:
                    status = _newest(folder)
                    if status is not None:
                        on_status(status)
        code = process.returncode
        document, failures = merge(folder)
        found = next(iter(sorted(folder.glob("snapshot-*.pickle"))), None)
        if found is not None and snapshot is not None:
            snapshot.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(found, snapshot)
    return ScriptRun(code if code >= 0 else 128 - code, document, failures)


def _forward_signals(process: "subprocess.Popen[bytes]") -> AbstractContextManager[None]:
    """Send the signals that this process gets on to the script; Ctrl-C in a terminal reaches both anyway."""

    def forward(number: int, frame: FrameType | None) -> None:
        process.send_signal(number)

    def interrupt(number: int, frame: FrameType | None) -> None:
        if not _is_in_foreground():  # else the terminal has sent it to the script as well
            process.send_signal(number)

    numbers = [getattr(signal, name) for name in _FORWARDED if hasattr(signal, name)]
    return signal_handlers(dict.fromkeys(numbers, forward) | {signal.SIGINT: interrupt})


def _is_in_foreground() -> bool:
    for stream in (0, 1, 2):
        with contextlib.suppress(OSError):
            if os.isatty(stream) and os.tcgetpgrp(stream) == os.getpgrp():
                return True
    return False


def _newest(folder: Path) -> Status | None:
    return max(read_all(folder, "status-*.json"), key=lambda status: int(status["step"]), default=None)
