"""What it costs to bring batches from one loading process to the training: torch's DataLoader and segkit's processes.

The images are already decoded, so that only the transport is measured. Each loader runs in a process of its own, in
turn: ``python benchmarks/transport.py [--batches 60] [--runs 5]``.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time

import torch
from torch.utils.data import DataLoader

from segkit.data.records import Image
from segkit.loading.loader import load_batches
from segkit.loading.sampler import Key
from segkit.loading.whole import Sample

BATCH = 8  # images


class Decoded:
    """Images of 800 x 1333 with 20 instances."""

    image = torch.randint(0, 255, (3, 800, 1333), dtype=torch.uint8)

    def __getitem__(self, key):
        target = {"boxes": torch.rand(20, 4), "labels": torch.ones(20, dtype=torch.long)}
        return Sample(self.image.clone(), target, Image(0, "a.jpg", 800, 1333))


def as_list(samples):
    return samples


def batches(loader, count):
    keys = [[Key(0, number) for number in range(BATCH)] for _ in range(count)]
    if loader == "segkit":
        return load_batches(Decoded(), keys, workers=1)
    return DataLoader(Decoded(), batch_sampler=keys, num_workers=1, collate_fn=as_list, prefetch_factor=2)


def seconds(who):
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def measure(loader, count):
    began, own, children = time.monotonic(), seconds(resource.RUSAGE_SELF), seconds(resource.RUSAGE_CHILDREN)
    for batch in batches(loader, count):
        batch[0].image.sum()
    print(
        time.monotonic() - began,
        seconds(resource.RUSAGE_SELF) - own,
        seconds(resource.RUSAGE_CHILDREN) - children,
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--batches", type=int, default=60)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--loader", choices=("torch", "segkit"), help="measure this one, in this process")
    asked = parser.parse_args()
    if asked.loader is not None:
        measure(asked.loader, asked.batches)
        return
    figures = {"torch": [], "segkit": []}
    for _ in range(asked.runs):
        for loader, rows in figures.items():
            own = [sys.executable, __file__, "--batches", str(asked.batches), "--loader", loader]
            done = subprocess.run(own, capture_output=True, text=True, check=True)
            rows.append([float(each) for each in done.stdout.split()])
    for loader, rows in figures.items():
        for name, column in zip(("elapsed", "CPU, this process", "CPU, worker"), zip(*rows, strict=True), strict=True):
            print(f"{loader:7} {name:18} {statistics.median(column):6.2f} s ({min(column):.2f} to {max(column):.2f})")


if __name__ == "__main__":
    main()
