"""``--vram``: Mask R-CNN at 800x1333 on a large GPU keeps to 4 and 6 GiB, with as many pictures at once as fit."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from data import draw_dataset
from results import Stage, gib, stage
from training import train_run

DETECTOR = {"backbone": "resnet50", "size": 800, "max_size": 1333, "batch": 8, "precision": "auto"}
CASES = {
    "6 GiB": DETECTOR | {"vram": 6 * 2**30},
    "4 GiB, memory low, sgd": DETECTOR | {"vram": 4 * 2**30, "memory": "low", "optimizer": "sgd"},
    "4 GiB": DETECTOR | {"vram": 4 * 2**30},
}
TINY = {"1 GiB, tiny": {"backbone": "resnet18", "size": 96, "max_size": 128, "batch": 2, "vram": 2**30}}


@contextmanager
def highest_use(device: str) -> Iterator[dict[str, int]]:
    """The most bytes that the allocator reserved and the driver counted at any time, looked at every 10 ms."""
    highest: dict[str, int] = {}
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.01):
            free, total = torch.cuda.mem_get_info()
            for name, value in (("reserved", torch.cuda.memory_reserved()), ("driver", total - free)):
                highest[name] = max(highest.get(name, 0), value)

    thread = threading.Thread(target=watch, daemon=True)
    if device == "cuda":
        torch.cuda.init()
        thread.start()
    try:
        yield highest
    finally:
        ended.set()
        if device == "cuda":
            thread.join()


def measure(running: Stage) -> None:
    """Train under each limit; what was reserved may never be more."""
    height, width = (800, 1333) if not running.rehearse else (96, 128)
    dataset = draw_dataset(running.folder / "data", images=8, height=height, width=width, instances=20)
    steps = 8 if not running.rehearse else 1
    for name, options in (CASES if not running.rehearse else TINY).items():
        with running.case(name) as figures:
            figures["limit_gib"] = gib(options["vram"])
            shared = options | {"micro_batch": "auto", "device": running.device, "steps": steps}
            with highest_use(running.device) as highest:
                figures |= train_run(dataset, running.folder / "runs", **shared).figures()
            figures |= {f"highest_{name}_gib": gib(value) for name, value in highest.items()}
            figures["kept"] = highest.get("reserved", 0) <= options["vram"]
            if not figures["kept"]:
                raise SystemExit(f"{highest['reserved']} bytes reserved, {options['vram']} allowed")


if __name__ == "__main__":
    with stage("vram") as running:
        measure(running)
