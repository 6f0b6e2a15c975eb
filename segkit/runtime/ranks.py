"""Processes that share a run. Only this module reads RANK and WORLD_SIZE."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from segkit.errors import ConfigError, DeviceError, SegkitError
from segkit.runtime.device import check_gpus, resolve_device, select_device
from segkit.runtime.meeting import HINT, meet

_TIMEOUT = timedelta(minutes=30)


class RankLost(DeviceError):
    """Another rank has ended, and this one cannot go on without it: why, that one says."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """The rank of this process, and how many share the run."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.world_size > 1:
            dist.barrier()

    def gather(self, value: Any) -> list[Any]:
        """The values of all ranks, on every rank."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def sum(self, values: Sequence[float]) -> list[float]:
        """Sum numbers over ranks, each with those in the same place; every rank gives as many."""
        if self.world_size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        total: list[float] = tensor.tolist()
        return total

    def raise_together(self, error: SegkitError | None) -> None:
        """Raise on every rank the error of one of them; every rank must call this.

        Raises:
            SegkitError: The first rank's error, marked as raised everywhere.
        """
        for each in self.gather(error):
            if each is not None:
                each.everywhere = True
                raise each


def launched_from_outside() -> bool:
    """Whether torchrun or srun started this process as one of several ranks.

    Raises:
        ConfigError: Variables are wrong, or only one of the two is set, and not to what a run by itself has.
    """
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        rank, world_size = _whole_number("RANK"), _whole_number("WORLD_SIZE", least=1)
        if rank >= world_size:
            raise ConfigError(f"RANK={rank}: there are only {world_size} ranks (WORLD_SIZE)", HINT)
        return world_size > 1  # one rank has nobody to meet
    if _whole_number("RANK", "0") > 0 or _whole_number("WORLD_SIZE", "1") > 1:
        raise ConfigError("only one of RANK and WORLD_SIZE is set", HINT)
    return False


def adopt_slurm() -> None:
    """Set torchrun's environment variables from srun's, where only srun's are set."""
    tasks = _whole_number("SLURM_STEP_NUM_TASKS", "1")  # of srun's step; an sbatch script itself has none
    if launched_from_outside() or tasks < 2 or "SLURM_PROCID" not in os.environ:
        return
    os.environ["RANK"], os.environ["WORLD_SIZE"] = str(_whole_number("SLURM_PROCID")), str(tasks)
    os.environ["LOCAL_RANK"] = str(_whole_number("SLURM_LOCALID", "0"))
    os.environ.setdefault("MASTER_ADDR", _first_host(os.environ.get("SLURM_STEP_NODELIST", "127.0.0.1")))
    job = os.environ.get("SLURM_JOB_ID", "")  # two jobs on one node must not meet
    os.environ.setdefault("MASTER_PORT", str(29500 + (int(job[-4:]) if re.fullmatch(r"\d+", job) else 0)))


def _whole_number(name: str, default: str | None = None, least: int = 0) -> int:
    """The number in an environment variable.

    Raises:
        ConfigError: It is none.
    """
    text = os.environ.get(name, default) or ""
    if not re.fullmatch(r"\d{1,9}", text) or int(text) < least:
        raise ConfigError(f"{name}={text}: not a number of ranks", HINT)
    return int(text)


def _first_host(nodes: str) -> str:
    """The first node of a Slurm list such as ``gpu[03-05,9],login``: rank 0 runs there."""
    match = re.match(r"([^\[,]+)(?:\[(\d+)[^\]]*\]([^,]*))?", nodes)
    return "".join(part or "" for part in match.groups()) if match else nodes


@contextmanager
def joined_ranks(
    device: str,
    gpus: tuple[int, ...] | None,
    say: Callable[[str], None] = lambda _: None,
    *,
    backend: str | None = None,
    timeout: timedelta = _TIMEOUT,
) -> Iterator[Ranks]:
    """Join the other ranks, and leave them at the end; without others, this process is the only rank.

    Args:
        device: The name of the device.
        gpus: The GPUs, one for each rank of this machine.
        say: Shows a message while this process waits for the others.
        backend: Of torch.distributed; None: the one for the device.
        timeout: How long a rank waits for the others.
    """
    check_gpus(gpus or ())
    if not launched_from_outside():
        chosen = torch.device("cuda", gpus[0]) if gpus else resolve_device(device)
        select_device(chosen)
        yield Ranks(0, 1, chosen)
        return
    rank, world_size = _whole_number("RANK"), _whole_number("WORLD_SIZE", least=1)
    local = _whole_number("LOCAL_RANK", "0")
    chosen, shared = torch.device("cpu"), False
    if gpus or resolve_device(device).type == "cuda":
        usable = gpus or range(torch.cuda.device_count())
        chosen = torch.device("cuda", usable[local % len(usable)])
        shared = _whole_number("LOCAL_WORLD_SIZE", "1") > len(usable)
    select_device(chosen)
    try:
        store = meet(rank, world_size, say)
        store.set_timeout(timeout)
        # NCCL refuses two ranks on one GPU; gloo does not.
        backend = backend or ("nccl" if chosen.type == "cuda" and not shared else "gloo")
        dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=timeout)
    except (RuntimeError, ValueError, OSError) as error:
        raise DeviceError(f"the ranks cannot meet: {str(error).splitlines()[0]}", HINT) from error
    try:
        yield Ranks(rank, world_size, chosen)
    finally:
        dist.destroy_process_group()
