"""Joins the ranks of a run, by ``torch.distributed``."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

from segkit.errors import DeviceError
from segkit.runtime.device import check_gpus, resolve_device, select_device
from segkit.runtime.meeting import meet
from segkit.runtime.ranks import HINT, Ranks, launched_from_outside, whole_number

_TIMEOUT = timedelta(minutes=30)


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
    rank, world_size = whole_number("RANK"), whole_number("WORLD_SIZE", least=1)
    local = whole_number("LOCAL_RANK", "0")
    chosen, shared = torch.device("cpu"), False
    if gpus or resolve_device(device).type == "cuda":
        usable = gpus or range(torch.cuda.device_count())
        chosen = torch.device("cuda", usable[local % len(usable)])
        shared = whole_number("LOCAL_WORLD_SIZE", "1") > len(usable)
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


def is_lost_connection(error: Exception) -> bool:
    """Whether an exchange with other ranks failed because one of them has ended; gloo has no type for it."""
    return isinstance(error, dist.DistBackendError) or (isinstance(error, RuntimeError) and "gloo" in str(error))
