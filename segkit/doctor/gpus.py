"""NVIDIA's driver, the GPUs, and who holds their memory."""

import os
from collections.abc import Iterator
from typing import Any

import psutil

from segkit.doctor.facts import Fact
from segkit.units import format_bytes

_HELD = 256 << 20  # bytes in use that nobody is seen to hold


def check_driver(nvml: Any, pytorch: dict[str, Any] | None) -> Iterator[Fact]:
    """Whether there is a driver that PyTorch can use.

    Args:
        nvml: The module ``pynvml``, initialised; None where no driver answers.
        pytorch: What PyTorch says of itself; None where it does not work.
    """
    built = pytorch and pytorch["cuda"]
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if nvml is None:
        yield Fact(
            "gpu",
            "note",
            "no NVIDIA driver answers: segkit computes on the CPU",
            "with an NVIDIA GPU in the machine: install its driver, and look at nvidia-smi",
        )
        return
    driver, newest = nvml.nvmlSystemGetDriverVersion(), nvml.nvmlSystemGetCudaDriverVersion_v2()
    newest_text = f"{newest // 1000}.{newest % 1000 // 10}"
    yield Fact("gpu", "ok", f"driver {driver}, for CUDA up to {newest_text}")
    if pytorch is None:
        return
    if not built:
        yield Fact(
            "gpu",
            "problem",
            "this PyTorch is built for CPUs only, and there is a GPU",
            "install the CUDA build: pip install --force-reinstall torch torchvision",
        )
    elif int(str(built).split(".")[0]) > newest // 1000:
        yield Fact(
            "gpu",
            "problem",
            f"PyTorch is built for CUDA {built}, and the driver knows CUDA up to {newest_text}",
            "update the driver, or install a PyTorch for an older CUDA",
        )
    elif not pytorch["available"]:
        if hidden is not None:
            yield Fact(
                "gpu", "problem", f"CUDA_VISIBLE_DEVICES={hidden!r} hides every GPU", "unset CUDA_VISIBLE_DEVICES"
            )
        else:
            yield Fact(
                "gpu",
                "problem",
                "PyTorch finds no GPU, though the driver answers",
                "in a container: start it with --gpus all; else restart the machine after a driver update",
            )


def check_memory(nvml: Any) -> Iterator[Fact]:
    """Of each GPU: its memory, and the processes that hold it, with name and user."""
    for number in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(number)
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        name = f"GPU {number}, {nvml.nvmlDeviceGetName(handle)}"
        yield Fact("gpu", "ok", f"{name}: {format_bytes(memory.free)} of {format_bytes(memory.total)} are free")
        held = 0
        for process in _processes(nvml, handle):
            held += process.usedGpuMemory or 0
            yield _holder(name, process.pid, process.usedGpuMemory)
        if (unseen := memory.used - held - _reserved(nvml, handle)) > _HELD and held == 0:
            yield Fact(
                "gpu",
                "note",
                f"{name}: {format_bytes(unseen)} are held by processes that cannot be seen from here",
                "another container or user, or a process that ended badly: sudo fuser -v /dev/nvidia*",
            )


def _processes(nvml: Any, handle: Any) -> list[Any]:
    """The processes on a GPU, each once."""
    found = {}
    for ask in (nvml.nvmlDeviceGetComputeRunningProcesses, nvml.nvmlDeviceGetGraphicsRunningProcesses):
        try:
            found.update({process.pid: process for process in ask(handle)})
        except nvml.NVMLError:  # not for this GPU, or not allowed
            continue
    return sorted(found.values(), key=lambda process: -(process.usedGpuMemory or 0))


def _reserved(nvml: Any, handle: Any) -> int:
    """Bytes that the driver keeps for itself."""
    try:
        return int(nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2).reserved)
    except (nvml.NVMLError, AttributeError, TypeError):
        return 0


def _holder(gpu: str, pid: int, used: int | None) -> Fact:
    """Who holds memory of a GPU."""
    much = format_bytes(used) if used is not None else "some memory"
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            who = f"process {pid} ({process.name()}, {process.username()})"
            dead = process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
            orphan = process.ppid() == 1 and process.terminal() is None and "python" in process.name()
    except psutil.NoSuchProcess:
        return Fact(
            "gpu use",
            "note",
            f"{gpu}: {much} held by process {pid}, which cannot be seen from here",
            "it runs in another container, or ended badly: sudo fuser -v /dev/nvidia*",
        )
    except psutil.Error:
        return Fact("gpu use", "ok", f"{gpu}: {much} held by process {pid}, of another user")
    if dead:
        return Fact(
            "gpu use", "note", f"{gpu}: {much} held by {who}, which has ended", "end its parent process to free it"
        )
    if orphan:
        return Fact(
            "gpu use",
            "note",
            f"{gpu}: {much} held by {who}, whose parent has ended",
            f"if nobody needs it any more: kill {pid}",
        )
    return Fact("gpu use", "ok", f"{gpu}: {much} held by {who}")
