"""``memprofile --fit``: the estimate of reserved bytes beside what a GPU really reserved, and what it holds beyond."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import tomli_w
import torch
from data import draw_dataset
from results import Stage, gib, stage
from training import free_device_memory, train_run

DETECTOR = {"backbone": "resnet50", "size": 800, "max_size": 1333, "batch": 2, "precision": "bf16"}
UNET = {"model": "unet", "backbone": "resnet50", "size": 512, "batch": 8, "precision": "bf16"}
CONFIGURATIONS = {
    "Mask R-CNN, batch 2": DETECTOR,
    "Mask R-CNN, batch 2, memory low": DETECTOR | {"memory": "low"},
    "Mask R-CNN, batch 8, micro-batch 4": DETECTOR | {"batch": 8, "micro_batch": 4},
    "Mask R-CNN, batch 2, fp32, sgd": DETECTOR | {"precision": "fp32", "optimizer": "sgd"},
    "U-Net, batch 8": UNET,
    "U-Net, batch 8, group norm, fp32": UNET | {"norm": "group", "precision": "fp32"},
}
TINY = {
    "Mask R-CNN, tiny": {"backbone": "resnet18", "size": 96, "max_size": 128, "batch": 2, "precision": "fp32"},
    "U-Net, tiny": {"model": "unet", "backbone": "resnet18", "size": 64, "batch": 2, "precision": "fp32"},
}


def start_estimate(folder: Path, dataset: Path, options: dict[str, Any]) -> "subprocess.Popen[str]":
    """Estimate in a process that sees no GPU, while the GPU trains."""
    folder.mkdir(parents=True)
    config = folder / "config.toml"
    fixed = {"dataset": str(dataset), "weights": "none", "augment": "none"}
    config.write_text(tomli_w.dumps(fixed | options))
    command = [sys.executable, "-m", "segkit", "memprofile", "--fit", "--vram", "70GiB", "--quiet",
               str(config), "--out", str(folder)]  # fmt: skip
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def really(running: Stage, dataset: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Train a few steps; bytes that the allocator reserved, and that the driver counts beyond it."""
    steps = 8 if not running.rehearse else 1
    run = train_run(dataset, running.folder / "runs", steps=steps, device=running.device, **options)
    figures: dict[str, Any] = {"allocated": run.most("peak"), "reserved": run.most("reserved")}
    if running.device == "cuda":
        free_device_memory()
        free, total = torch.cuda.mem_get_info()
        figures["beyond_allocator"] = total - free - torch.cuda.memory_reserved()
    return figures


def beside(real: dict[str, Any], estimated: dict[str, Any]) -> dict[str, Any]:
    """Estimate over measurement, for allocated and reserved bytes; GiB beside them."""
    figures: dict[str, Any] = {}
    for name in ("allocated", "reserved"):
        for which in ("now", "at_most"):
            bytes_ = estimated[name][which]
            figures[f"{name}_{which}_gib"] = gib(bytes_)
            if real[name]:
                figures[f"{name}_{which}_ratio"] = round(bytes_ / real[name], 4)
        figures[f"{name}_real_gib"] = gib(real[name])
    return figures | {"needed_gib": gib(estimated["needed"]["at_most"]),
                      "beyond_allocator_gib": gib(real.get("beyond_allocator"))}  # fmt: skip


def calibrate(running: Stage, dataset: Path) -> dict[str, Any]:
    """What this GPU holds besides tensors, as ``--fit --calibrate`` measures and keeps it; bytes and a share."""
    folder = running.folder / "calibrated"
    command = [sys.executable, "-m", "segkit", "memprofile", "--fit", "--calibrate", "--vram", "70GiB", "--quiet",
               str(dataset), "--out", str(folder)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not (folder / "fit.json").is_file():
        raise SystemExit(f"no calibration: {done.stderr[-500:]}")
    found: dict[str, Any] = json.loads((folder / "fit.json").read_text())["overhead"]
    return found


def main() -> None:
    with stage("fit") as running:
        height, width = (800, 1333) if not running.rehearse else (96, 128)
        dataset = draw_dataset(running.folder / "data", images=8, height=height, width=width, instances=20)
        with running.case("calibrate") as figures:
            figures |= calibrate(running, dataset)
        configurations = CONFIGURATIONS if not running.rehearse else TINY
        estimates = {
            name: start_estimate(running.folder / "fit" / str(number), dataset, options)
            for number, (name, options) in enumerate(configurations.items())
        }
        for number, (name, options) in enumerate(configurations.items()):
            with running.case(name) as figures:
                real = really(running, dataset, options)
                figures |= {f"{what}_real_gib": gib(value) for what, value in real.items()}
                error = estimates[name].communicate()[1]
                file = running.folder / "fit" / str(number) / "fit.json"
                if not file.is_file():
                    raise SystemExit(f"no estimate: {error[-500:]}")
                figures |= beside(real, json.loads(file.read_text())["settings"][0])
        for process in estimates.values():
            process.kill()


if __name__ == "__main__":
    main()
