"""Device and precision: the only module that calls ``torch.cuda.set_*``."""

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from segkit.choices import Precision
from segkit.errors import ConfigError, DeviceError
from segkit.runtime.device_names import NO_GPU, check_device_name
from segkit.runtime.torch_private import cpu_has_bf16

_LEAST_VRAM = 2**26  # bytes; below, a unit was forgotten


def resolve_device(name: str) -> torch.device:
    """The device of a name: auto, cpu, cuda, cuda:1.

    Raises:
        ConfigError: It is no such name.
        DeviceError: It does not exist.
    """
    check_device_name(name)
    if name == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    device = torch.device(name)
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
    """Check that GPUs exist, before any process is started.

    Raises:
        DeviceError: One does not.
    """
    for index in gpus:
        _check_gpu(index)


def select_device(device: torch.device) -> None:
    """Make a GPU this process's current device, and allow TF32."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True


def resolve_precision(precision: Precision, device: torch.device) -> torch.dtype:
    """The dtype for autocast; auto is bf16 where the hardware computes in it, else fp32.

    Raises:
        ConfigError: fp16 was asked for on a CPU.
    """
    if precision == "auto":
        native = torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else cpu_has_bf16()
        return torch.bfloat16 if native else torch.float32
    if precision == "fp16" and device.type == "cpu":
        raise ConfigError("--precision fp16 needs a GPU", "use bf16 or fp32 on a CPU")
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[Any]:
    """A context that computes in ``dtype`` where that is safe."""
    return nullcontext() if dtype is torch.float32 else torch.autocast(device.type, dtype)


def on_device(function: Callable[[Sequence[Tensor]], Any], device: torch.device) -> Callable[[Sequence[Any]], Any]:
    """A model as a function of images on the host, arrays or tensors; it computes in fp32, and without gradients."""

    def compute(images: Sequence[Any]) -> Any:
        with fp32_precision(device), torch.inference_mode():
            return function([torch.as_tensor(image).to(device) for image in images])

    return compute


@contextmanager
def fp32_precision(device: torch.device) -> Iterator[None]:
    """Compute in fp32 proper, in which predictions and scores are defined: on a GPU without TF32, as on a CPU."""
    if device.type != "cuda":
        yield
        return
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = False
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before


def free_memory(device: torch.device) -> None:
    """Free what nothing uses: Python's reference cycles, and the blocks that CUDA's allocator caches."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def limit_memory(device: torch.device, budget: int) -> None:
    """Let a GPU's allocator give out at most ``budget`` bytes, as a smaller GPU would."""
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, budget / total), device)


def keep_within(device: torch.device, vram: int | None) -> str | None:
    """Keep predictions within ``--vram``, in bytes; a warning where that does nothing.

    Raises:
        ConfigError: It is so little that a unit was forgotten.
    """
    if vram is None:
        return None
    if vram < _LEAST_VRAM:
        raise ConfigError(f"--vram: a GPU of {vram} bytes", "sizes take units: --vram 6GiB")
    limit_memory(device, vram)
    return None if device.type == "cuda" else NO_GPU


def device_name(device: torch.device) -> str:
    """A GPU's name, or cpu."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def seed_everything(seed: int, deterministic: bool) -> None:
    """Seed torch, and choose deterministic algorithms if asked; augmentation has seeds of its own."""
    torch.manual_seed(seed)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
