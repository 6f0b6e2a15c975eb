"""PyTorch, in a process of its own: libraries that do not fit together end a process without a word."""

import json
import sys
from collections.abc import Iterator
from typing import Any

from segkit.doctor.facts import Fact
from segkit.doctor.run import outcome_of

_PATIENCE = 180.0  # seconds: the first import from a network drive takes minutes

_PROBE = """
import json, pathlib
import torch
found = {"torch": torch.__version__, "cuda": torch.version.cuda, "archs": torch.cuda.get_arch_list()}
import torchvision
from torchvision.ops import nms
found["torchvision"] = torchvision.__version__
nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([0.5]), 0.5)
found["threads"] = torch.get_num_threads()
found["available"], found["devices"] = torch.cuda.is_available(), []
for number in range(torch.cuda.device_count() if found["available"] else 0):
    one = {"name": torch.cuda.get_device_name(number), "capability": torch.cuda.get_device_capability(number)}
    try:
        ones = torch.ones(64, 64).to(f"cuda:{number}")
        one["sum"] = float((ones @ ones).sum())
    except Exception as error:
        one["error"] = str(error).splitlines()[0]
    found["devices"].append(one)
folder = pathlib.Path(torch.hub.get_dir()) / "checkpoints"
found["weights"] = sorted(path.name for path in folder.glob("*.pth")) if folder.is_dir() else []
print(json.dumps(found))
"""


def probe(patience: float = _PATIENCE, program: str = _PROBE) -> tuple[dict[str, Any] | None, str]:
    """What PyTorch says of itself, and else why it says nothing.

    Args:
        patience: Seconds after which it is ended.
        program: What is run.
    """
    # -P: a file of the user's that is called torch.py is not what is tried.
    said, why = outcome_of([sys.executable, "-P", "-W", "ignore", "-c", program], patience)
    found: dict[str, Any] | None = None if said is None else json.loads(said.splitlines()[-1])
    return found, why


def check_pytorch(found: dict[str, Any] | None, why: str) -> Iterator[Fact]:
    """Whether PyTorch and torchvision load and work together, and on each GPU.

    Args:
        found: What ``probe`` found.
        why: Why it found nothing.
    """
    if found is None:
        yield Fact("pytorch", "problem", f"PyTorch does not work: {why}", "pip install --upgrade torch torchvision")
        return
    built = f"for CUDA {found['cuda']}" if found["cuda"] else "for CPUs only"
    yield Fact("pytorch", "ok", f"torch {found['torch']} ({built}) and torchvision {found['torchvision']} load")
    for number, device in enumerate(found["devices"]):
        capability = ".".join(map(str, device["capability"]))
        name = f"cuda:{number}, {device['name']} (compute capability {capability})"
        if "error" in device:
            built_for = ", ".join(found["archs"])
            yield Fact(
                "gpu",
                "problem",
                f"{name} does not compute: {device['error']}",
                f"this PyTorch is built for {built_for}: is the GPU too old or too new for it, or full?",
            )
        elif device["sum"] != 64.0**3:
            yield Fact(
                "gpu",
                "problem",
                f"{name} computes wrong numbers",
                "its memory or its driver is at fault: nvidia-smi -q",
            )
        else:
            yield Fact("gpu", "ok", f"{name} computes")
