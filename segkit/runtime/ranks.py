"""Processes that share a run. Only this module and ``join`` read RANK and WORLD_SIZE.

It loads no PyTorch: a process by itself may predict without.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from segkit.errors import ConfigError, DeviceError, SegkitError

if TYPE_CHECKING:
    import torch

HINT = "torchrun and srun set RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT; unset them for a run by itself"


class RankLost(DeviceError):
    """Another rank has ended, and this one cannot go on without it: why, that one says."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """The rank of this process, and how many share the run."""

    rank: int
    world_size: int
    device: "torch.device"

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.world_size > 1:
            _distributed().barrier()

    def gather(self, value: Any) -> list[Any]:
        """The values of all ranks, on every rank."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        _distributed().all_gather_object(values, value)
        return values

    def sum(self, values: Sequence[float]) -> list[float]:
        """Sum numbers over ranks, each with those in the same place; every rank gives as many."""
        if self.world_size == 1:
            return list(values)
        import torch  # noqa: PLC0415 -- only several ranks need it

        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        _distributed().all_reduce(tensor)
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


def _distributed() -> Any:
    import torch.distributed as dist  # noqa: PLC0415 -- likewise

    return dist


def by_itself() -> Ranks:
    """This process by itself, where PyTorch computes nothing: it has no device."""
    return Ranks(0, 1, cast(Any, None))


def launched_from_outside() -> bool:
    """Whether torchrun or srun started this process as one of several ranks.

    Raises:
        ConfigError: Variables are wrong, or only one of the two is set, and not to what a run by itself has.
    """
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        rank, world_size = whole_number("RANK"), whole_number("WORLD_SIZE", least=1)
        if rank >= world_size:
            raise ConfigError(f"RANK={rank}: there are only {world_size} ranks (WORLD_SIZE)", HINT)
        return world_size > 1  # one rank has nobody to meet
    if whole_number("RANK", "0") > 0 or whole_number("WORLD_SIZE", "1") > 1:
        raise ConfigError("only one of RANK and WORLD_SIZE is set", HINT)
    return False


def adopt_slurm() -> None:
    """Set torchrun's environment variables from srun's, where only srun's are set."""
    tasks = whole_number("SLURM_STEP_NUM_TASKS", "1")  # of srun's step; an sbatch script itself has none
    if launched_from_outside() or tasks < 2 or "SLURM_PROCID" not in os.environ:
        return
    os.environ["RANK"], os.environ["WORLD_SIZE"] = str(whole_number("SLURM_PROCID")), str(tasks)
    os.environ["LOCAL_RANK"] = str(whole_number("SLURM_LOCALID", "0"))
    os.environ.setdefault("MASTER_ADDR", _first_host(os.environ.get("SLURM_STEP_NODELIST", "127.0.0.1")))
    job = os.environ.get("SLURM_JOB_ID", "")  # two jobs on one node must not meet
    os.environ.setdefault("MASTER_PORT", str(29500 + (int(job[-4:]) if re.fullmatch(r"\d+", job) else 0)))


def whole_number(name: str, default: str | None = None, least: int = 0) -> int:
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
