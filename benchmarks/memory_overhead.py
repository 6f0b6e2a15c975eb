"""The overhead of a memory session: blocks of steps, with and without it in turn, in one process; medians of CPU time.

    python benchmarks/memory_overhead.py [--blocks 6] [--steps 30]

``step`` is the median step (with the tracker), ``block`` the mean one (with what is done only in some steps: every
block begins a new session, with the censuses of the first steps). Before that, the meter of every training.
"""

import argparse
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles

import torch
import torch.nn.functional as F

from segkit.memory.measure.meter import CounterMeter
from segkit.memory.session import Session

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "zoo"))


def unet_step() -> Callable[[], None]:
    from parts import UNet

    model = UNet(24)
    optimizer = torch.optim.AdamW(model.parameters())
    x, y = torch.rand(4, 3, 96, 96), torch.randint(0, 2, (4, 96, 96))

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()

    return step


def detector_step() -> Callable[[], None]:
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    model = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=3, min_size=160, max_size=160)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9)
    masks = torch.zeros(1, 160, 160, dtype=torch.uint8)
    masks[0, 10:80, 10:80] = 1
    target = {"boxes": torch.tensor([[10.0, 10, 80, 80]]), "labels": torch.tensor([1]), "masks": masks}

    def step() -> None:
        optimizer.zero_grad()
        sum(model([torch.rand(3, 160, 160)], [target]).values()).backward()
        optimizer.step()

    return step


def measure_meter(phases: int = 5, steps: int = 2000) -> None:
    """The time that the always-on meter takes in a step: its phases are empty."""
    meter = CounterMeter(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    times = []
    for _ in range(steps):
        began = time.perf_counter()
        for phase in range(phases):
            with meter.phase(str(phase)):
                pass
        meter.step()
        times.append(time.perf_counter() - began)
    quarter, _, last = quantiles(times, n=4)
    print(
        f"always on: {1e6 * median(times):.0f} us a step of {phases} phases "
        f"(quartiles {1e6 * quarter:.0f} to {1e6 * last:.0f})"
    )


def measure(name: str, step: Callable[[], None], blocks: int, steps: int) -> None:
    times: dict[str, list[list[float]]] = {"bare": [], "watched": []}
    for _ in range(3):
        step()
    for _ in range(blocks):
        for how in random.sample(["bare", "watched"], 2):
            session = Session()
            if how == "watched":
                session.start()
            block = []
            for _ in range(steps):
                began = time.process_time()
                step()
                block.append(time.process_time() - began)
            session.finish()
            times[how].append(block)
    steps_of = {how: median(each for block in found for each in block) for how, found in times.items()}
    blocks_of = {how: median(sum(block) / len(block) for block in found) for how, found in times.items()}
    print(
        f"{name}: step {1000 * steps_of['bare']:.1f} -> {1000 * steps_of['watched']:.1f} ms "
        f"({steps_of['watched'] / steps_of['bare']:.2f}x), block {blocks_of['watched'] / blocks_of['bare']:.2f}x"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--blocks", type=int, default=6)
    parser.add_argument("--steps", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    measure_meter()
    measure("U-Net", unet_step(), options.blocks, options.steps)
    measure("Mask R-CNN", detector_step(), max(2, options.blocks // 2), max(6, options.steps // 4))


if __name__ == "__main__":
    main()
