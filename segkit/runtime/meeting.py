"""Where the ranks of a run meet: a store of torch's, and a wait that says whom it waits for.

torch's own rendezvous waits half an hour in silence, and Ctrl-C does not end it: with variables that another program
has left behind, a run would seem to hang.
"""

import os
import socket
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from segkit.errors import DeviceError
from segkit.runtime.ranks import HINT

_LAUNCHERS = ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_USE_AGENT_STORE", "SLURM_STEP_ID")
_LAUNCHED_SECONDS = 600.0  # many nodes that load torch from one slow disk do not start together
_ALONE_SECONDS = 120.0  # where nothing tells of a launcher: ranks that are started by hand
_SILENT_SECONDS = 2.0
_BETWEEN_SECONDS = 0.1
_ATTEMPT = timedelta(seconds=5)  # to connect: a signal is heard after it


def seconds_to_meet() -> float:
    """How long ranks wait for each other: longer where a launcher has started this process."""
    return _LAUNCHED_SECONDS if any(name in os.environ for name in _LAUNCHERS) else _ALONE_SECONDS


def meet(rank: int, world_size: int, say: Callable[[str], None]) -> Any:
    """Wait until all ranks are there.

    Args:
        rank: This process's.
        world_size: How many there are.
        say: Shows whom this process waits for, soon after it has begun to wait.

    Returns:
        The ``torch.distributed`` store that all ranks share.

    Raises:
        DeviceError: Ranks do not come, or the address is wrong.
        RuntimeError: torch cannot open the store, for example as its port is in use.
    """
    host, port = _address()
    where = f"at {host}:{port} (MASTER_ADDR and MASTER_PORT)"
    waiting = _Wait(seconds_to_meet(), say)
    # Under torchrun, and under segkit's own launcher, the store is in the launcher.
    serves = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    if not serves:
        waiting.until(lambda: _answers(host, port), lambda: f"for the process {where} where ranks meet")
    opened = dist.TCPStore(  # type: ignore[attr-defined]
        host, port, world_size, is_master=serves, timeout=_ATTEMPT, wait_for_workers=False
    )
    # A launcher that starts failed ranks again keeps its store, which knows those of before.
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = dist.PrefixStore(f"segkit/{attempt}", opened)  # type: ignore[attr-defined]
    store.set(f"rank {rank}", "here")
    others = [each for each in range(world_size) if each != rank]
    waiting.until(
        lambda: all(store.check([f"rank {each}"]) for each in others),
        lambda: f"for {_named([each for each in others if not store.check([f'rank {each}'])])} {where}",
    )
    return store


def _address() -> tuple[str, int]:
    """The host and the port in the environment.

    Raises:
        DeviceError: A variable is missing, or is neither a host nor a port.
    """
    host, port = os.environ.get("MASTER_ADDR", ""), os.environ.get("MASTER_PORT", "")
    for name, value in (("MASTER_ADDR", host), ("MASTER_PORT", port)):
        if not value:
            raise DeviceError(f"the ranks cannot meet: {name} is not set, but RANK and WORLD_SIZE are", HINT)
    if not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise DeviceError(f"the ranks cannot meet: MASTER_PORT={port}: not a port", HINT)
    try:
        socket.getaddrinfo(host, None)  # torch asks for an unknown name again until its time is up
    except OSError as error:
        raise DeviceError(f"the ranks cannot meet: MASTER_ADDR={host}: {error.strerror}", HINT) from None
    return host, int(port)


def _answers(host: str, port: int) -> bool:
    """Whether a process listens there."""
    try:
        with socket.create_connection((host, port), timeout=_ATTEMPT.total_seconds()):
            return True
    except OSError:
        return False


def _named(ranks: list[int]) -> str:
    """Ranks in words; of many only the first ones."""
    if len(ranks) == 1:
        return f"rank {ranks[0]}"
    more = f" and {len(ranks) - 4} more" if len(ranks) > 4 else ""
    return f"ranks {', '.join(str(each) for each in ranks[:4])}{more}"


class _Wait:
    """A wait with an end, which says once what is waited for."""

    def __init__(self, seconds: float, say: Callable[[str], None]) -> None:
        self._seconds, self._say, self._began, self._said = seconds, say, time.monotonic(), False

    def until(self, ready: Callable[[], bool], what: Callable[[], str]) -> None:
        """Wait until something is ready.

        Raises:
            DeviceError: It was not in time.
        """
        while not ready():
            waited = time.monotonic() - self._began
            if waited >= self._seconds:
                raise DeviceError(f"the ranks cannot meet: waited {self._seconds:.0f} s {what()}", HINT)
            if waited >= _SILENT_SECONDS and not self._said:
                self._said = True
                self._say(f"waiting {what()}, {self._seconds:.0f} s at most; {HINT}")
            time.sleep(_BETWEEN_SECONDS)
