"""Start one process per rank on this machine, with PyTorch's launcher (torch.distributed.launcher)."""

import json
import logging
import os
import signal
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import psutil
import torch
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from segkit import errors
from segkit.errors import DeviceError, Interrupted, SegkitError
from segkit.runtime.signals import signal_handlers

Outcome = TypeVar("Outcome")


def launch_ranks(function: Callable[..., Outcome], arguments: tuple[Any, ...], num_ranks: int) -> Outcome:
    """Call ``function(*arguments)`` in ``num_ranks`` processes; returns what rank 0 returned.

    When a rank fails, all are ended: no process stays behind and holds memory.

    Args:
        function: What to call; it is pickled.
        arguments: Its arguments.
        num_ranks: How many processes.

    Raises:
        SegkitError: A rank raised it, or died.
    """
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    logging.getLogger("torch.distributed.launcher").setLevel(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=num_ranks,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        run_id=f"segkit-{os.getpid()}",
        max_restarts=0,
        monitor_interval=0.2,
        start_method="spawn",
        signals_to_handle="SIGHUP,SIGQUIT",
    )
    # The ranks answer Ctrl-C and SIGTERM: they save and end together, and this process waits for them. A terminal sends
    # Ctrl-C to all processes; a scheduler's SIGTERM reaches this process alone.
    handlers = signal_handlers({signal.SIGINT: signal.SIG_IGN, signal.SIGTERM: _pass_on_to_ranks})
    with tempfile.TemporaryDirectory(prefix="segkit-") as folder, handlers:
        try:
            outcomes = elastic_launch(config, _in_rank)(function, arguments, folder, num_ranks)
        except ChildFailedError as failed:
            raise _cause(Path(folder), failed) from None
        except SignalException:
            raise KeyboardInterrupt from None
    outcome: Outcome = outcomes[0]
    return outcome


def _pass_on_to_ranks(number: int, frame: FrameType | None) -> None:
    for child in psutil.Process().children():
        child.send_signal(number)


def _in_rank(function: Callable[..., Any], arguments: tuple[Any, ...], folder: str, num_ranks: int) -> Any:
    """Call the function in a rank; a failure is written to a file for the parent."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // num_ranks))
    try:
        return function(*arguments)
    except SegkitError as error:
        note = {"kind": type(error).__name__, "message": error.message, "hint": error.hint}
    except KeyboardInterrupt:
        note = {"kind": "Interrupted", "message": "interrupted", "hint": None}
    except BaseException as error:
        note = {"kind": None, "message": f"{type(error).__name__}: {error}", "hint": traceback.format_exc()}
    path = Path(folder) / f"{os.environ['RANK']}.json"
    path.write_text(json.dumps(note), encoding="utf-8")
    raise SystemExit(1)


def _cause(folder: Path, failed: ChildFailedError) -> SegkitError:
    """The error to show: an error in the user's input before any other error of a rank, and that before its death."""
    notes = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
    if any(note["kind"] == "Interrupted" for note in notes.values()):
        return Interrupted("interrupted")
    for note in notes.values():
        if note["kind"] is not None:
            kind: type[SegkitError] = getattr(errors, note["kind"])
            return kind(note["message"], note["hint"])
    rank, _ = failed.get_first_failure()
    killed = [number for number, each in failed.failures.items() if each.exitcode < 0 and str(number) not in notes]
    if killed or str(rank) not in notes:
        number = killed[0] if killed else rank
        code = failed.failures[number].exitcode
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        return DeviceError(f"rank {number} {how}", "was the machine out of memory? go on with: segkit train --resume")
    note = notes[str(rank)]
    if "SEGKIT_DEBUG" in os.environ:
        raise RuntimeError(note["hint"])
    return DeviceError(f"rank {rank} failed: {note['message'].splitlines()[0]}", "SEGKIT_DEBUG=1 shows where")
