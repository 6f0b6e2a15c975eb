"""What the figures were measured on: GPU, driver, versions, commit. Fails if a package that segkit needs is missing."""

import importlib
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from results import gib, stage

MODULES = (
    "cv2", "msgspec", "pybase64", "pycocotools", "ultrafast_pycocotools", "tomli_w", "yaml", "charset_normalizer",
    "psutil", "matplotlib", "rich", "typer", "pytest", "hypothesis", "segkit.training.train",
)  # fmt: skip
PACKAGES = ("torch", "torchvision", "numpy", "opencv-python", "opencv-python-headless", "pycocotools")


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    with stage("machine") as running:
        import torch

        with running.case("versions") as figures:
            figures |= {name: _version(name) for name in PACKAGES}
            figures |= {"python": platform.python_version(), "cuda": torch.version.cuda, "cores": os.cpu_count()}
            figures |= {"commit": _output("git", "log", "-1", "--format=%h"), "platform": platform.platform()}
        with running.case("imports") as figures:
            figures["missing"] = {}
            for name in MODULES:
                try:
                    importlib.import_module(name)
                except ImportError as error:
                    figures["missing"][name] = str(error)
            if figures["missing"]:
                raise SystemExit(f"missing: {', '.join(figures['missing'])}; gather wheels with gpu_wheels.sh")
        with running.case("device") as figures:
            if running.device == "cuda":
                free, total = torch.cuda.mem_get_info()
                figures |= {"memory_gib": gib(total), "used_gib": gib(total - free)}
                figures["name"] = torch.cuda.get_device_name()
                figures["driver"] = _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
            torch.ones(8, 8, device=running.device).matmul(torch.ones(8, 8, device=running.device)).sum().item()
