"""Start one process per rank on this machine, wait for them, and pass on the user's requests to stop.

Ranks ignore signals: a request comes by their connection to this process, once, whichever ways a signal took. They die
with this process. The store that they meet at is in this process, so that no port can be taken by another program
between its choice and its use.
"""

import os
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from segkit.errors import DeviceError, Interrupted, SegkitError
from segkit.runtime.cores import cores_of_a_process
from segkit.runtime.processes import describe_end, worker_context
from segkit.runtime.ranks import RankLost
from segkit.runtime.signals import forwarded_requests, listen_to_launcher
from segkit.runtime.streams import make_streams_safe

Outcome = TypeVar("Outcome")

_HOST = "127.0.0.1"
_GRACE_SECONDS = 10.0  # for the other ranks when one has failed, and for all when they are to end at once


class _RankFailed(Exception):
    """A rank failed by what is not an error of the user."""

    def __init__(self, message: str, trace: str) -> None:
        super().__init__(message, trace)
        self.message, self.trace = message, trace


def launch_ranks(
    function: Callable[..., Outcome],
    arguments: tuple[Any, ...],
    num_ranks: int,
    hint: str = "if the run has a last.pt, go on with: segkit train --resume RUN",
) -> Outcome:
    """Call ``function(*arguments)`` in ``num_ranks`` processes; returns what rank 0 returned.

    When a rank fails, all are ended: no process stays behind and holds memory.

    Args:
        function: What to call; it is pickled.
        arguments: Its arguments.
        num_ranks: How many processes.
        hint: How to go on when one has died.

    Raises:
        SegkitError: A rank raised it, or died.
    """
    store = dist.TCPStore(  # type: ignore[attr-defined]
        _HOST, 0, is_master=True, wait_for_workers=False
    )
    ranks = _LaunchedRanks()
    with forwarded_requests(ranks.ask):
        try:
            ranks.start(function, arguments, num_ranks, store.port)
            outcomes = ranks.outcomes()
        finally:
            ranks.end()
    if all(not isinstance(outcome, BaseException) for outcome in outcomes):
        first: Outcome = outcomes[0]
        return first
    raise _cause(outcomes, hint)


class _LaunchedRanks:
    """The processes of the ranks, and a connection to each."""

    def __init__(self) -> None:
        self._processes: list[Any] = []
        self._connections: list[Connection] = []
        self._asked = 0
        self._deadline = float("inf")

    def start(self, function: Callable[..., Any], arguments: tuple[Any, ...], num_ranks: int, port: int) -> None:
        context = worker_context(fork=False)
        for rank in range(num_ranks):
            variables = {
                "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": num_ranks, "LOCAL_WORLD_SIZE": num_ranks,
                "MASTER_ADDR": _HOST, "MASTER_PORT": port, "TORCHELASTIC_USE_AGENT_STORE": True,
            }  # fmt: skip
            ours, theirs = context.Pipe()
            texts = {name: str(value) for name, value in variables.items()}
            process = context.Process(target=_in_rank, args=(function, arguments, texts, theirs))
            self._connections.append(ours)
            process.start()
            theirs.close()
            self._processes.append(process)

    def ask(self, count: int) -> None:
        """Pass the first or the second request to stop on; ranks that are not there yet hear it when they start."""
        self._asked = count
        if count == 2:
            self._deadline = time.monotonic() + _GRACE_SECONDS
        for connection in list(self._connections):
            try:
                connection.send(count)
            except OSError:  # the rank has ended
                continue

    def outcomes(self) -> list[Any]:
        """What every rank returned, or the error that it ended with.

        After an error the others have a moment to end, too.
        """
        outcomes: dict[int, Any] = {}
        while len(outcomes) < len(self._processes):
            running = [rank for rank in range(len(self._processes)) if rank not in outcomes]
            waited_for = [
                each for rank in running for each in (self._connections[rank], self._processes[rank].sentinel)
            ]
            wait(waited_for, timeout=0.5)
            for rank in running:
                if self._connections[rank].poll() or not self._processes[rank].is_alive():
                    outcomes[rank] = self._outcome(rank)
            if any(isinstance(outcome, BaseException) for outcome in outcomes.values()):
                self._deadline = min(self._deadline, time.monotonic() + _GRACE_SECONDS)
            if time.monotonic() > self._deadline:
                break
        late = Interrupted("interrupted") if self._asked == 2 else None
        return [outcomes.get(rank, late) for rank in range(len(self._processes))]

    def _outcome(self, rank: int) -> Any:
        process, connection = self._processes[rank], self._connections[rank]
        try:
            if connection.poll():
                return connection.recv()
        except (EOFError, OSError):
            pass
        process.join()
        return _Died(f"rank {rank} {describe_end(process.exitcode)}", process.exitcode == 1)

    def end(self) -> None:
        """Wait a moment for those that are about to end, and kill the others."""
        deadline = time.monotonic() + (_GRACE_SECONDS if self._deadline == float("inf") else 1.0)
        for process in self._processes:
            process.join(max(0.0, deadline - time.monotonic()))
            process.kill()
            process.join()
        for connection in self._connections:
            connection.close()


class _Died(Exception):
    """A rank ended without a word to the launcher; Python ends with code 1 when it has printed an error."""

    def __init__(self, message: str, printed: bool) -> None:
        super().__init__(message)
        self.printed = printed


def _in_rank(
    function: Callable[..., Any], arguments: tuple[Any, ...], variables: dict[str, str], launcher: Connection
) -> None:
    """Call the function in a rank, and send what it returns or raises to the launcher."""
    make_streams_safe()  # when nobody reads the messages any more, the run goes on
    os.environ.update(variables)
    listen_to_launcher(launcher)
    torch.set_num_threads(cores_of_a_process(int(variables["WORLD_SIZE"])))
    outcome: Any
    try:
        outcome = function(*arguments)
    except SegkitError as error:
        outcome = error
    except KeyboardInterrupt:
        outcome = Interrupted("interrupted")
    except BaseException as error:
        outcome = _RankFailed(f"{type(error).__name__}: {error}", traceback.format_exc())
    launcher.send(outcome)


def _cause(outcomes: list[Any], hint: str) -> Exception:
    """The error to show: an error in the user's input before any other error of a rank, and that before its death."""
    for kind in (Interrupted, SegkitError):
        for outcome in outcomes:
            if isinstance(outcome, kind) and not isinstance(outcome, RankLost):
                return outcome
    for outcome in outcomes:
        if isinstance(outcome, _Died):
            why = "what it printed before says why" if outcome.printed else f"was the machine out of memory? {hint}"
            return DeviceError(str(outcome), why)
    if not any(isinstance(outcome, _RankFailed) for outcome in outcomes):
        return next(outcome for outcome in outcomes if isinstance(outcome, RankLost))
    rank, failed = next((rank, each) for rank, each in enumerate(outcomes) if isinstance(each, _RankFailed))
    if "SEGKIT_DEBUG" in os.environ:
        return RuntimeError(failed.trace)
    return DeviceError(f"rank {rank} failed: {failed.message.splitlines()[0]}", "SEGKIT_DEBUG=1 shows where")
