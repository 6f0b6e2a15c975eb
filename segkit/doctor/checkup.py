"""``segkit doctor``: what is wrong with this machine and this folder."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pynvml

from segkit.config.doctor import DoctorConfig
from segkit.doctor.facts import Checkup, Fact
from segkit.doctor.folder import check_folder
from segkit.doctor.gpus import check_driver, check_memory
from segkit.doctor.machine import check_machine
from segkit.doctor.packages import check_packages, check_python, versions
from segkit.doctor.programs import check_labelme, check_weights
from segkit.doctor.pytorch import check_pytorch, probe
from segkit.doctor.settings import check_settings
from segkit.errors import InputError
from segkit.progress import Progress
from segkit.runtime.cores import usable_cores


def examine(config: DoctorConfig, progress: Progress) -> Checkup:
    """Look at the machine and a folder.

    Raises:
        InputError: There is no such folder.
    """
    folder = Path(config.folder)
    if not config.folder or not folder.is_dir():  # Path("") is this folder
        raise InputError(f"{config.folder or 'an empty name'}: no such folder")
    progress.start("looking at packages, PyTorch, GPUs, LabelMe and the folder", None)
    pytorch, why = probe()
    nvml = driver()
    facts = [*check_python(), *check_packages(), *check_pytorch(pytorch, why), *_gpus(nvml, pytorch)]
    facts += [*check_machine(folder), *check_settings(os.environ, usable_cores())]
    facts += [*check_labelme(), *check_weights(pytorch), *check_folder(folder)]
    progress.done()
    return Checkup(tuple(facts), _environment(nvml, pytorch))


def _gpus(nvml: Any, pytorch: dict[str, Any] | None) -> Iterator[Fact]:
    yield from check_driver(nvml, pytorch)
    if nvml is not None:
        yield from check_memory(nvml)


def driver() -> Any:
    """NVIDIA's management library, ready to be asked; None where no driver answers."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


def _environment(nvml: Any, pytorch: dict[str, Any] | None) -> dict[str, str]:
    """Names and versions for a report of a fault: nothing of the user's files or names is in it."""
    found = versions()
    if pytorch is not None:
        found["cuda of torch"] = str(pytorch["cuda"])
        found["gpus"] = ", ".join(device["name"] for device in pytorch["devices"]) or "none"
    found["driver"] = nvml.nvmlSystemGetDriverVersion() if nvml is not None else "none"
    return found
