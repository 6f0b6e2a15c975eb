"""Device, precision and ranks: the only module that reads RANK or calls ``torch.cuda.set_*``."""

import gc
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from segkit.config.train import Precision
from segkit.errors import ConfigError, DeviceError, SegkitError

_TIMEOUT = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among those that share a run."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files and talks to the user."""
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

    def from_main(self, *values: float) -> tuple[float, ...]:
        """Figures whose sum over ranks is what they are on rank 0."""
        return values if self.is_main else (0.0,) * len(values)

    def sum(self, figures: Sequence[float]) -> list[float]:
        """The sums over ranks of some figures, as many on every rank."""
        if self.world_size == 1:
            return list(figures)
        values = torch.tensor(figures, dtype=torch.float64, device=self.device)
        dist.all_reduce(values)
        total: list[float] = values.tolist()
        return total

    def raise_together(self, error: SegkitError | None) -> None:
        """Raise on every rank what one of them has met; every rank must call this.

        Raises:
            SegkitError: The first rank's error, marked as raised everywhere.
        """
        for each in self.gather(error):
            if each is not None:
                each.everywhere = True
                raise each


def resolve_device(name: str) -> torch.device:
    """The device of a name: auto, cpu, cuda, cuda:1.

    Raises:
        DeviceError: It is not there.
    """
    if name == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"--device {name}: not a device", "use auto, cpu, cuda or cuda:1") from None
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"--device {name}: segkit runs on cpu and cuda")
    if device.type == "cuda":
        _check_gpu(device.index or 0)
        return torch.device("cuda", device.index or 0)  # set_device refuses a device without a number
    return device


def _check_gpu(index: int) -> None:
    if not torch.cuda.is_available():
        raise DeviceError("no CUDA device is available", "use --device cpu, or check the driver with nvidia-smi")
    if index >= torch.cuda.device_count():
        raise DeviceError(f"there is no GPU {index}: PyTorch sees {torch.cuda.device_count()}, numbered from 0")


def check_gpus(gpus: tuple[int, ...]) -> None:
    """Refuse GPUs that are not there, before any process is started."""
    for index in gpus:
        _check_gpu(index)


def launched_from_outside() -> bool:
    """Whether torchrun or srun has started this process as one of several ranks."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def adopt_slurm() -> None:
    """Translate srun's variables into torchrun's, where only srun's are there."""
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))  # of srun's step; an sbatch script itself has none
    if launched_from_outside() or tasks < 2 or "SLURM_PROCID" not in os.environ:
        return
    os.environ["RANK"], os.environ["WORLD_SIZE"] = os.environ["SLURM_PROCID"], str(tasks)
    os.environ["LOCAL_RANK"] = os.environ.get("SLURM_LOCALID", "0")
    os.environ.setdefault("MASTER_ADDR", _first_host(os.environ.get("SLURM_STEP_NODELIST", "127.0.0.1")))
    os.environ.setdefault("MASTER_PORT", "29500")


def _first_host(nodes: str) -> str:
    """The first of Slurm's list of nodes, such as ``gpu[03-05,9],login``: the one that has rank 0."""
    match = re.match(r"([^\[,]+)(?:\[(\d+)[^\]]*\]([^,]*))?", nodes)
    return "".join(part or "" for part in match.groups()) if match else nodes


@contextmanager
def joined_ranks(device: str, gpus: tuple[int, ...] | None) -> Iterator[Ranks]:
    """Join the ranks this process was started among, and leave them at the end; alone, there is one.

    Args:
        device: The device asked for.
        gpus: The GPUs asked for, one for each rank of this machine.
    """
    if not launched_from_outside():
        chosen = torch.device("cuda", gpus[0]) if gpus else resolve_device(device)
        _select(chosen)
        yield Ranks(0, 1, chosen)
        return
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    local = int(os.environ.get("LOCAL_RANK", "0"))
    check_gpus(gpus or ())
    on_gpu = gpus is not None or resolve_device(device).type == "cuda"
    if on_gpu:
        index = gpus[local % len(gpus)] if gpus else local % torch.cuda.device_count()
        chosen = torch.device("cuda", index)
        # NCCL refuses two ranks on one GPU; gloo does not mind.
        shared = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) > (len(gpus) if gpus else torch.cuda.device_count())
    else:
        chosen, shared = torch.device("cpu"), False
    _select(chosen)
    dist.init_process_group("nccl" if on_gpu and not shared else "gloo", timeout=_TIMEOUT)
    try:
        yield Ranks(rank, world_size, chosen)
    finally:
        dist.destroy_process_group()


def _select(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True


def resolve_precision(precision: Precision, device: torch.device) -> torch.dtype:
    """The dtype that autocast computes in; auto is bf16 where the hardware has it, else fp32.

    Raises:
        ConfigError: fp16 was asked for on a CPU.
    """
    if precision == "auto":
        native = torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else _cpu_has_bf16()
        return torch.bfloat16 if native else torch.float32
    if precision == "fp16" and device.type == "cpu":
        raise ConfigError("--precision fp16 needs a GPU", "use bf16 or fp32 on a CPU")
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def _cpu_has_bf16() -> bool:
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # private: where it goes, we lose speed only
    return bool(probe is not None and probe())


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[Any]:
    """Compute in ``dtype`` where that is safe."""
    return nullcontext() if dtype is torch.float32 else torch.autocast(device.type, dtype)


_SIGNS = ("out of memory", "can't allocate memory", "CUDNN_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there was no memory: torch has a class for that, and libraries below it words."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def free_memory(device: torch.device) -> None:
    """Give back what nothing uses: cycles of Python's, and the blocks that CUDA's allocator keeps."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def limit_memory(device: torch.device, budget: int) -> None:
    """Let a GPU's allocator refuse more than a number of bytes, as a smaller card would."""
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, budget / total), device)


@contextmanager
def out_of_memory_told(hint: str) -> Iterator[None]:
    """Turn the device's out-of-memory error into one that says what to do."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        first = str(error).partition(". GPU")[0].partition("\n")[0]
        raise DeviceError(f"out of memory: {first}", hint) from error


def device_name(device: torch.device) -> str:
    """A GPU's name, or cpu."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def seed_everything(seed: int, deterministic: bool) -> None:
    """Seed torch; pictures are varied by seeds of their own."""
    torch.manual_seed(seed)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
